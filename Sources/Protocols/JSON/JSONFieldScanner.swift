import CScan

/// What a scan found out about a text as a whole.
public struct JSONScan: Sendable, Equatable {
    /// What the outermost value is.
    public var root: JSONField.Kind
    /// What the text holds that not every reader takes.
    public var features: JSONFeatures
    /// How often a key of the plan stood again in the same object.
    ///
    /// The last one wins.
    public var duplicateKeys: Int
}

/// Checks a JSON text in full (RFC 8259) and notes where the values of a plan stand.
///
/// It reads forward once. What stands between two strings, commas, keys, brackets, comes in the same bytes
/// again and again. So it remembers such stretches of text that it walked, by the key that they came behind,
/// and compares the whole stretch at once with what stands there; only where none fits it takes the general
/// way, which learns. A guess never decides what is valid: what is taken in one step is, byte for byte, what
/// was checked before in the same place.
///
/// - A scan allocates nothing, and uses no recursion: nesting is bounded by a number.
/// - It reads no byte outside what it is given.
/// - It is for one thread. What was noted stays readable until the next scan.
///
/// ```swift
/// let scanner = JSONFieldScanner(JSONFieldPlan([["type"], ["channel", "id"]]))
/// _ = try scanner.scan(payload)
/// if scanner[0].equals("StasisStart", in: payload) { keep(scanner[1].string(in: payload)) }
/// ```
public final class JSONFieldScanner {
    /// The longest text in bytes; positions are kept in 32 bits.
    public static let maximumBytes = 1 << 30
    /// How many keys that are not of the plan are remembered.
    public static let learnedKeys = 512
    /// How many keys are remembered in one context.
    static let keysPerContext = 64
    /// How many stretches are remembered, and how many of them that begin with the same bytes behind the same key.
    static let learnedStretches = 512
    static let stretchesPerBucket = 8
    /// After so many keys, or stretches, that could have been remembered had there been room, what was learned
    /// is dropped.
    static let missesUntilReset = 65536
    /// Blocks of 64 bytes that are indexed at a time.
    static let indexedBlocks = 128

    /// The plan it was made for.
    public let plan: JSONFieldPlan

    let table: KeyTable
    let stretches: StretchTable
    @usableFromInline
    let fields: UnsafeMutablePointer<JSONField>
    @usableFromInline
    let lastKeys: UnsafeMutablePointer<UInt16>
    /// For each key whether a path ends with it.
    let isLast: UnsafeMutablePointer<Bool>
    @usableFromInline
    let pathCount: Int
    let frames: UnsafeMutablePointer<Frame>
    let maximumDepth: Int
    @usableFromInline
    var generation: UInt32 = 0
    var duplicates = 0
    /// Where the scan is, for `cscan_follow`.
    let follower: UnsafeMutablePointer<cscan_follower>

    /// What must be known again when an inner object or array ends.
    struct Frame {
        /// The key whose value it is; the generic head within arrays.
        var previous: KeyTable.Slot
        /// The context of the object that it lies in; the generic one within arrays.
        var head: KeyTable.Slot
        /// Where it starts.
        var start: UInt32
        /// Whether it lies in an object.
        var isInObject: Bool
    }

    /// Makes a scanner, with all the memory that it will ever use.
    ///
    /// - Parameters:
    ///   - plan: What to note.
    ///   - maximumDepth: How deep objects and arrays may nest.
    public convenience init(_ plan: JSONFieldPlan, maximumDepth: Int = 128) {
        self.init(plan, maximumDepth: maximumDepth, form: cscan_widest())
    }

    /// How many forms of the wide steps this machine can do, the plainest first; the last is used.
    ///
    /// All give the same results.
    package static var forms: Int { Int(cscan_widest()) + 1 }

    /// A scanner with one of the forms, for tests of them all.
    package init(_ plan: JSONFieldPlan, maximumDepth: Int = 128, form: Int32) {
        precondition(maximumDepth >= 1)
        precondition((0..<JSONFieldScanner.forms).contains(Int(form)))
        self.plan = plan
        self.maximumDepth = maximumDepth
        table = KeyTable(plan)
        stretches = StretchTable()
        pathCount = plan.paths.count
        fields = .allocate(capacity: max(plan.keys.count, 1))
        fields.initialize(repeating: .absent, count: max(plan.keys.count, 1))
        isLast = .allocate(capacity: max(plan.keys.count, 1))
        isLast.initialize(repeating: false, count: max(plan.keys.count, 1))
        for key in plan.lastKeys { isLast[key] = true }
        lastKeys = .allocate(capacity: max(plan.paths.count, 1))
        lastKeys.initialize(repeating: 0, count: max(plan.paths.count, 1))
        for (path, key) in plan.lastKeys.enumerated() { lastKeys[path] = UInt16(key) }
        frames = .allocate(capacity: maximumDepth)
        follower = .allocate(capacity: 1)
        follower.initialize(to: cscan_follower())
        follower.pointee.index = .allocate(capacity: JSONFieldScanner.indexedBlocks + 1)
        follower.pointee.index_words = JSONFieldScanner.indexedBlocks
        follower.pointee.stretches = stretches.records
        follower.pointee.first = UnsafePointer(stretches.first)
        follower.pointee.form = form
        precondition(JSONFieldScanner.isFieldAsInC)
        follower.pointee.fields = UnsafeMutableRawPointer(fields).assumingMemoryBound(to: cscan_field.self)
    }

    deinit {
        fields.deallocate()
        lastKeys.deallocate()
        isLast.deallocate()
        frames.deallocate()
        follower.pointee.index.deallocate()
        follower.deallocate()
    }

    /// What the last scan noted for the path of that number; `.absent` when the text had no such value, or was
    /// not valid.
    @inlinable
    @inline(__always)
    public subscript(path: Int) -> JSONField { values[path] }

    /// What the last scan noted, for readers of many fields: valid until the next scan, and as long as the
    /// scanner lives.
    @inlinable
    public var values: Values {
        @inline(__always) get {
            Values(fields: fields, lastKeys: lastKeys, count: pathCount, generation: generation)
        }
    }

    /// The values of one scan, by the numbers of their paths.
    public struct Values {
        @usableFromInline let fields: UnsafePointer<JSONField>
        @usableFromInline let lastKeys: UnsafePointer<UInt16>
        @usableFromInline let count: Int
        @usableFromInline let generation: UInt32

        @inlinable
        @inline(__always)
        init(
            fields: UnsafePointer<JSONField>, lastKeys: UnsafePointer<UInt16>, count: Int, generation: UInt32
        ) {
            self.fields = fields
            self.lastKeys = lastKeys
            self.count = count
            self.generation = generation
        }

        /// `.absent` when the text had no such value, or was not valid.
        @inlinable
        public subscript(path: Int) -> JSONField {
            @inline(__always) get {
                precondition(path >= 0 && path < count)
                let field = fields + Int(lastKeys[path])
                return field.pointee.generation == generation ? field.pointee : .absent
            }
        }
    }

    /// How many keys took the general way since the scanner was made.
    public var misses: Int { table.misses }

    /// Scans a text: one value with white space round it.
    ///
    /// - Parameter bytes: The text, UTF-8 without a byte order mark.
    /// - Throws: When it is not JSON or over a limit, with the offset of the wrong byte.
    public func scan(_ bytes: RawSpan) throws(JSONError) -> JSONScan {
        guard bytes.byteCount <= JSONFieldScanner.maximumBytes else {
            throw JSONError(.tooLong, at: JSONFieldScanner.maximumBytes)
        }
        generation &+= 1
        if generation == 0 { forgetGenerations() }
        if table.isStale || stretches.isStale { forgetLearned() }
        duplicates = 0
        do {
            return try bytes.withUnsafeBytes { (buffer) throws(JSONError) -> JSONScan in
                guard let base = buffer.baseAddress, buffer.count > 0 else {
                    throw JSONError(.unexpectedEnd, at: 0)
                }
                return try read(base.assumingMemoryBound(to: UInt8.self), buffer.count)
            }
        } catch {
            // What a broken text had is not to be read.
            generation &+= 1
            if generation == 0 { forgetGenerations() }
            throw error
        }
    }

    private func forgetLearned() {
        table.drop()
        stretches.drop()
    }

    private func forgetGenerations() {
        for index in 0..<max(plan.keys.count, 1) { fields[index] = .absent }
        generation = 1
    }

    /// The key was met before in the same object: what was noted within its value is forgotten.
    @inline(never)
    func repeated(_ key: Int) {
        duplicates += 1
        stretches.giveUp()
        for inner in (key + 1)..<max(plan.keys[key].end, key + 1) {
            fields[inner].generation = generation &- 1
        }
        fields[key].generation = generation &- 1
    }
}
