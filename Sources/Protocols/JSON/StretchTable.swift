import CScan

/// The stretches of text that a ``JSONFieldScanner`` remembers, and the one that it is about to learn.
///
/// A stretch reaches from behind the value of one key to the next value that is a string or is noted: for
/// `"id":"7","caller":{"name":"Ann"` that is `,"caller":{"name":"`, from `id` to `caller.name`. It may close
/// and open objects, and pass over values that are not noted: numbers, `true`, `false`, `null`, and strings that
/// have always been the same.
///
/// Both ends are keys that the ``KeyTable`` remembers, and those lie on paths through objects only. So a key
/// says which objects are open, and where its value has ended the walk is always in the same state: the same
/// bytes lead to the same place.
///
/// One block of memory, laid out when the scanner is made. Number 0 is none. Each remembers which came behind it
/// the last time, and that is tried first.
final class StretchTable {
    typealias Stretch = UnsafeMutablePointer<cscan_stretch>

    let records: Stretch
    /// The first of each bucket.
    let first: UnsafeMutablePointer<UInt16>

    /// The stretch that is being walked; its `from` is 0 when there is none.
    private let draft: Stretch
    /// What it was at the last string where it could have ended; the same.
    private let shorter: Stretch
    /// Where it began.
    private var start = 0
    private var count = 1
    private var refusals = 0

    init() {
        records = StretchTable.allocate(JSONFieldScanner.learnedStretches)
        draft = StretchTable.allocate(1)
        shorter = StretchTable.allocate(1)
        first = .allocate(capacity: CSCAN_BUCKETS)
        first.initialize(repeating: 0, count: CSCAN_BUCKETS)
    }

    deinit {
        records.deallocate()
        draft.deallocate()
        shorter.deallocate()
        first.deallocate()
    }

    private static func allocate(_ count: Int) -> Stretch {
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: count * MemoryLayout<cscan_stretch>.stride, alignment: 64)
        return memory.initializeMemory(as: cscan_stretch.self, repeating: cscan_stretch(), count: count)
    }

    /// Whether what was learned leaves no room for what comes.
    var isStale: Bool {
        @inline(__always) get { refusals >= JSONFieldScanner.missesUntilReset }
    }

    /// Between scans: forgets all that was learned.
    @inline(never)
    func drop() {
        for index in 0..<JSONFieldScanner.learnedStretches { records[index] = cscan_stretch() }
        for index in 0..<CSCAN_BUCKETS { first[index] = 0 }
        count = 1
        refusals = 0
    }

    // MARK: - Learning

    /// Whether a stretch is being walked.
    var isLearning: Bool {
        @inline(__always) get { draft.pointee.from != 0 }
    }

    /// Begins to learn at `i`, behind the value of `slot`.
    @inline(__always)
    func begin(_ slot: Int, at i: Int) {
        draft.pointee.from = UInt16(truncatingIfNeeded: slot)
        draft.pointee.acts = 0
        start = i
    }

    /// What was met cannot be part of a stretch.
    ///
    /// What could have ended before it is learned.
    @inline(__always)
    func giveUp() {
        draft.pointee.from = 0
        if shorter.pointee.from != 0 { add(shorter) }
    }

    /// An object begins that is the value of a key; `field` is the key's, or -1.
    @inline(__always)
    func open(_ field: Int16) {
        guard field >= 0 else { return }
        guard Int(draft.pointee.acts) < CSCAN_STRETCH_OPENS else { return giveUp() }
        cscan_stretch_add_opened(draft, UInt16(truncatingIfNeeded: field))
    }

    /// The stretch ends at `end`, where the value of a key stands, or behind the quote that opens it.
    ///
    /// - Parameters:
    ///   - slot: The key's number.
    ///   - field: Where its value is noted; -1: nowhere.
    ///   - isString: Whether it is a string, to be read on the quick way.
    @inline(never)
    func learn(_ p: UnsafePointer<UInt8>, to slot: Int, _ field: Int16, end: Int, isString: Bool) {
        if finish(p, to: slot, field, end: end, isString: isString) {
            shorter.pointee.from = 0
            add(draft)
        }
        giveUp()
    }

    /// A string that is not noted: the stretch may end behind its quote, at `end`, or go on over it.
    ///
    /// What is not noted is often always the same: a language, an application's name, nothing at all. So the
    /// stretch goes on for the first time; when the same comes with another string, it ends before it.
    @inline(never)
    func learnOrPass(_ p: UnsafePointer<UInt8>, to slot: Int, end: Int) {
        guard finish(p, to: slot, -1, end: end, isString: true) else { return giveUp() }
        var index = Int(first[bucket(of: draft)])
        while index != 0 {
            if begins(records + index, with: draft) {
                shorter.pointee.from = 0
                add(draft)
                return giveUp()
            }
            index = Int(records[index].sibling)
        }
        shorter.pointee = draft.pointee
    }

    /// Fills in where the draft ends; false when it is too long.
    private func finish(
        _ p: UnsafePointer<UInt8>, to slot: Int, _ field: Int16, end: Int, isString: Bool
    ) -> Bool {
        let length = end - start
        // Behind the outermost value nothing follows; the root's holder stands for the place before it.
        guard (CSCAN_STRETCH_LEAST...CSCAN_STRETCH_BYTES).contains(length), slot != KeyTable.rootHolder else {
            return false
        }
        withUnsafeMutableBytes(of: &draft.pointee.pattern) { pattern in
            for k in 0..<pattern.count { pattern[k] = k < length ? p[start + k] : 0 }
        }
        draft.pointee.need = length == 64 ? .max : (1 << UInt64(length)) - 1
        draft.pointee.length = UInt8(length)
        draft.pointee.target = UInt16(truncatingIfNeeded: slot)
        draft.pointee.field = field
        if isString == false { draft.pointee.acts |= UInt8(CSCAN_TO_OTHER) }
        return true
    }

    /// Adds what was learned, unless it is known: then it stands too near the end of the text to be compared.
    private func add(_ learned: Stretch) {
        defer { learned.pointee.from = 0 }
        let bucket = bucket(of: learned)
        var siblings = 0
        var index = Int(first[bucket])
        while index != 0 {
            let sibling = records + index
            if sibling.pointee.length == learned.pointee.length, begins(sibling, with: learned) { return }
            siblings += 1
            index = Int(sibling.pointee.sibling)
        }
        guard count < JSONFieldScanner.learnedStretches, siblings < JSONFieldScanner.stretchesPerBucket else {
            return refusals &+= 1
        }
        let record = records + count
        record.pointee = learned.pointee
        record.pointee.sibling = first[bucket]
        first[bucket] = UInt16(count)
        count += 1
    }

    private func bucket(of stretch: Stretch) -> Int {
        withUnsafeBytes(of: &stretch.pointee.pattern) { pattern in
            pattern.baseAddress.map { Int(cscan_bucket(stretch.pointee.from, $0)) } ?? 0
        }
    }

    /// Whether one comes behind the same key as another, and its text begins with the other's.
    private func begins(_ stretch: Stretch, with other: Stretch) -> Bool {
        let length = Int(other.pointee.length)
        guard stretch.pointee.from == other.pointee.from, Int(stretch.pointee.length) >= length else {
            return false
        }
        return withUnsafeBytes(of: &stretch.pointee.pattern) { pattern in
            withUnsafeBytes(of: &other.pointee.pattern) { others in
                guard let left = pattern.baseAddress, let right = others.baseAddress else { return false }
                return cscan_equal(left, right, length) != 0
            }
        }
    }
}
