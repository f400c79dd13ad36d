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
/// It reads forward once. Keys come in the same order again and again, so per object context it remembers
/// which key followed which, and compares the whole `"key":` at once with what it expects; only a wrong guess
/// takes the general way, which learns. A guess never decides what is valid: it costs time or saves it.
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
    /// After so many keys that could have been remembered had there been room, what was learned is dropped.
    static let missesUntilReset = 65536
    /// What the way of plain members reads ahead: a key's pattern, a quote and 16 bytes, rounded up.
    static let memberBytes = 64

    /// The plan it was made for.
    public let plan: JSONFieldPlan

    let table: KeyTable
    @usableFromInline
    let fields: UnsafeMutablePointer<JSONField>
    @usableFromInline
    let lastKeys: UnsafeMutablePointer<UInt16>
    @usableFromInline
    let pathCount: Int
    private let frames: UnsafeMutablePointer<Frame>
    private let maximumDepth: Int
    @usableFromInline
    var generation: UInt32 = 0
    private var duplicates = 0

    /// What must be known again when an inner object or array ends.
    private struct Frame {
        var previous: UnsafeMutablePointer<cscan_slot>
        var head: UnsafeMutablePointer<cscan_slot>
        var start: UInt32
        var field: Int16
        var isObject: Bool
    }

    /// Makes a scanner, with all the memory that it will ever use.
    ///
    /// - Parameters:
    ///   - plan: What to note.
    ///   - maximumDepth: How deep objects and arrays may nest.
    public init(_ plan: JSONFieldPlan, maximumDepth: Int = 128) {
        precondition(maximumDepth >= 1)
        self.plan = plan
        self.maximumDepth = maximumDepth
        table = KeyTable(plan)
        pathCount = plan.paths.count
        fields = .allocate(capacity: max(plan.keys.count, 1))
        fields.initialize(repeating: .absent, count: max(plan.keys.count, 1))
        lastKeys = .allocate(capacity: max(plan.paths.count, 1))
        lastKeys.initialize(repeating: 0, count: max(plan.paths.count, 1))
        for (path, key) in plan.lastKeys.enumerated() { lastKeys[path] = UInt16(key) }
        frames = .allocate(capacity: maximumDepth)
    }

    deinit {
        fields.deallocate()
        lastKeys.deallocate()
        frames.deallocate()
    }

    /// What the last scan noted for the path of that number; `.absent` when the text had no such value, or was
    /// not valid.
    @inlinable
    @inline(__always)
    public subscript(path: Int) -> JSONField {
        precondition(path >= 0 && path < pathCount)
        let field = fields[Int(lastKeys[path])]
        return field.generation == generation ? field : .absent
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
        table.dropIfStale()
        duplicates = 0
        do {
            return try bytes.withUnsafeBytes { (buffer) throws(JSONError) -> JSONScan in
                guard let base = buffer.baseAddress, buffer.count > 0 else {
                    throw JSONError(.unexpectedEnd, at: 0)
                }
                return try scan(base.assumingMemoryBound(to: UInt8.self), buffer.count)
            }
        } catch {
            // What a broken text had is not to be read.
            generation &+= 1
            if generation == 0 { forgetGenerations() }
            throw error
        }
    }

    private func forgetGenerations() {
        for index in 0..<max(plan.keys.count, 1) { fields[index] = .absent }
        generation = 1
    }

    // MARK: - The walk

    private func scan(_ p: UnsafePointer<UInt8>, _ n: Int) throws(JSONError) -> JSONScan {
        let slots = table.slots
        let generic = slots + KeyTable.genericHead
        let fields = self.fields
        let frames = self.frames
        let generation = self.generation
        let maximumDepth = self.maximumDepth
        var features = JSONFeatures()
        var root = JSONField.Kind.absent
        var depth = 0
        // The last key of the object we are in, or its context's head; the generic head in an array.
        var previous = slots + KeyTable.rootHolder
        var head = generic
        var isObject = false
        var field = Int16(-1)
        // The value, a string, is read and noted already.
        var isBehindString = false
        var i = 0

        document: while true {
            // A value.
            let kind: JSONField.Kind
            var opened = false
            value: do {
                if isBehindString {
                    isBehindString = false
                    kind = .string
                    break value
                }
                i = JSONLexer.skipSpace(p, i, n)
                guard i < n else { throw JSONError(.unexpectedEnd, at: n) }
                let start = i
                var hasEscapes = false
                var quote = 0
                switch p[i] {
                case 0x22:
                    i &+= 1
                    quote = 1
                    wide: do {
                        while n &- i >= 16 {
                            let mask = cscan_string_stops16(p + i)
                            if mask != 0 {
                                i &+= mask.trailingZeroBitCount
                                if p[i] == 0x22 { break wide }
                                break
                            }
                            i &+= 16
                        }
                        (i, hasEscapes) = try JSONLexer.string(p, i, n, &features)
                    }
                    i &+= 1
                    kind = .string
                case 0x7B:
                    guard depth < maximumDepth else { throw JSONError(.tooDeep, at: i) }
                    frames[depth] = Frame(
                        previous: previous, head: head, start: UInt32(truncatingIfNeeded: start),
                        field: field,
                        isObject: isObject)
                    depth &+= 1
                    let child = Int(previous.pointee.child)
                    head = child != 0 ? slots + child : table.newContext(under: previous)
                    previous = head
                    isObject = true
                    field = -1
                    i = JSONLexer.skipSpace(p, i &+ 1, n)
                    opened = !(i < n && p[i] == 0x7D)
                    kind = .object
                case 0x5B:
                    guard depth < maximumDepth else { throw JSONError(.tooDeep, at: i) }
                    frames[depth] = Frame(
                        previous: previous, head: head, start: UInt32(truncatingIfNeeded: start),
                        field: field,
                        isObject: isObject)
                    depth &+= 1
                    previous = generic
                    head = generic
                    isObject = false
                    field = -1
                    i = JSONLexer.skipSpace(p, i &+ 1, n)
                    if i < n, p[i] == 0x5D { kind = .array } else { continue document }
                case 0x2D, 0x30...0x39:
                    i = try JSONLexer.number(p, i, n, &features)
                    kind = .number
                case 0x74, 0x66, 0x6E:
                    i = try JSONLexer.literal(p, i, n)
                    kind = p[start] == 0x74 ? .true : p[start] == 0x66 ? .false : .null
                default: throw JSONError(.unexpectedByte, at: i)
                }
                // Objects and arrays are noted when they end.
                if field >= 0 {
                    fields[Int(field)] = JSONField(
                        offset: UInt32(truncatingIfNeeded: start &+ quote),
                        count: UInt32(truncatingIfNeeded: i &- start &- quote &- quote), kind: kind,
                        hasEscapes: hasEscapes, generation: generation)
                }
            }

            // What comes behind a value; closing brackets, one after the other.
            if !opened {
                after: while true {
                    if depth == 0 {
                        root = root == .absent ? kind : root
                        break document
                    }
                    guard i < n else { throw JSONError(.unexpectedEnd, at: n) }
                    var byte = p[i]
                    if byte <= 0x20 {
                        i = JSONLexer.skipSpace(p, i, n)
                        guard i < n else { throw JSONError(.unexpectedEnd, at: n) }
                        byte = p[i]
                    }
                    if byte == 0x2C {
                        i &+= 1
                        // `{,` and `[,` do not come here: an object's first key and an array's first value
                        // are read as such.
                        if isObject { break after }
                        continue document
                    }
                    guard byte == (isObject ? 0x7D : 0x5D) else { throw JSONError(.unexpectedByte, at: i) }
                    i &+= 1
                    depth &-= 1
                    let frame = frames[depth]
                    if frame.field >= 0 {
                        fields[Int(frame.field)] = JSONField(
                            offset: frame.start,
                            count: UInt32(truncatingIfNeeded: i) &- frame.start,
                            kind: isObject ? .object : .array, hasEscapes: false, generation: generation)
                    }
                    if depth == 0 { root = isObject ? .object : .array }
                    previous = frame.previous
                    head = frame.head
                    isObject = frame.isObject
                    field = -1
                }
            }

            // Most of an event is this, over and over: a key that was expected, a plain string, a comma. Kept
            // tight: with all of the walk's state in reach the same costs nearly three times the instructions.
            members: while n &- i >= JSONFieldScanner.memberBytes {
                let guess = slots + Int(previous.pointee.next.0)
                guard cscan_slot_match(p + i, guess) != 0 else { break members }
                previous = guess
                i &+= Int(guess.pointee.length)
                field = guess.pointee.field
                if field >= 0, fields[Int(field)].generation == generation { repeated(Int(field)) }
                guard p[i] == 0x22 else { continue document }
                var end = i &+ 1
                var mask = cscan_string_stops16(p + end)
                while mask == 0, n &- end >= 32 {
                    end &+= 16
                    mask = cscan_string_stops16(p + end)
                }
                guard mask != 0 else { continue document }
                end &+= mask.trailingZeroBitCount
                guard p[end] == 0x22 else { continue document }
                if field >= 0 {
                    fields[Int(field)] = JSONField(
                        offset: UInt32(truncatingIfNeeded: i &+ 1),
                        count: UInt32(truncatingIfNeeded: end &- i &- 1), kind: .string, hasEscapes: false,
                        generation: generation)
                }
                i = end &+ 1
                guard i < n, p[i] == 0x2C else {
                    isBehindString = true
                    continue document
                }
                i &+= 1
            }

            // A key.
            guard i < n else { throw JSONError(.unexpectedEnd, at: n) }
            if p[i] <= 0x20 {
                i = JSONLexer.skipSpace(p, i, n)
                guard i < n else { throw JSONError(.unexpectedEnd, at: n) }
            }
            let guess = slots + Int(previous.pointee.next.0)
            if n &- i >= 32, cscan_slot_match(p + i, guess) != 0 {
                i &+= Int(guess.pointee.length)
                previous = guess
            } else {
                let second = slots + Int(previous.pointee.next.1)
                if n &- i >= 32, cscan_slot_match(p + i, second) != 0 {
                    i &+= Int(second.pointee.length)
                    previous = second
                } else {
                    previous = try table.key(p, &i, n, after: previous, in: head, &features)
                }
            }
            field = previous.pointee.field
            if field >= 0, fields[Int(field)].generation == generation { repeated(Int(field)) }
        }

        i = JSONLexer.skipSpace(p, i, n)
        guard i == n else { throw JSONError(.trailingBytes, at: i) }
        return JSONScan(root: root, features: features, duplicateKeys: duplicates)
    }
    /// The key was met before in the same object: what was noted within its value is forgotten.
    @inline(never)
    private func repeated(_ key: Int) {
        duplicates += 1
        for inner in (key + 1)..<max(plan.keys[key].end, key + 1) {
            fields[inner].generation = generation &- 1
        }
        fields[key].generation = generation &- 1
    }
}
