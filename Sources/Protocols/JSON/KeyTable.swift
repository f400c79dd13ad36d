import CScan

/// The keys that a ``JSONFieldScanner`` knows, by context, and which it expects after which.
///
/// One block of memory, laid out when the scanner is made and never grown:
///
/// ```
/// 0            matches nothing: "no guess"
/// 1            generic head: the context of objects whose keys are not remembered
/// 2            root holder: its child is the outermost object's context
/// 3 …          the plan's contexts (heads) and keys
/// … capacity   learned contexts and keys, first come first served
/// ```
final class KeyTable {
    typealias Slot = UnsafeMutablePointer<cscan_slot>

    static let noGuess = 0
    static let genericHead = 1
    static let rootHolder = 2
    /// The longest key whose pattern, two quotes and a colon round it, fits in a slot.
    static let longestPattern = 32
    static let longestPredictedKey = longestPattern - 3

    let slots: Slot
    /// Keys that went the general way.
    private(set) var misses = 0

    /// The table as the plan makes it, to go back to.
    private let planned: Slot
    private let plannedCount: Int
    private let capacity: Int
    private var count: Int
    private var missesSinceFull = 0
    private let longKeys: UnsafeMutablePointer<UInt8>
    private let longestPlannedKey: Int
    private var scratch: [UInt8] = []

    init(_ plan: JSONFieldPlan) {
        let heads = plan.contextCount
        plannedCount = 3 + heads + plan.keys.count
        capacity = plannedCount + JSONFieldScanner.learnedKeys
        count = plannedCount
        slots = KeyTable.allocate(capacity)
        planned = KeyTable.allocate(plannedCount)
        let long = plan.keys.map(\.bytes).filter { $0.count > KeyTable.longestPredictedKey }
        longKeys = .allocate(capacity: max(long.reduce(0) { $0 + $1.count }, 1))
        longestPlannedKey = plan.keys.map(\.bytes.count).max() ?? 0
        // An escaped character takes up to six bytes.
        scratch.reserveCapacity(longestPlannedKey * 6 + 4)

        for index in 0..<capacity { KeyTable.makeHead(slots + index) }
        for index in 1..<(3 + heads) { slots[index].context = UInt16(index) }
        slots[3].owner = UInt16(KeyTable.rootHolder)
        slots[3].depth = 1
        slots[KeyTable.genericHead].child = UInt16(KeyTable.genericHead)
        slots[KeyTable.rootHolder].context = UInt16(KeyTable.genericHead)
        slots[KeyTable.rootHolder].child = UInt16(3)
        var longOffset = 0
        var lastOfContext = (0..<heads).map { 3 + $0 }
        for (index, key) in plan.keys.enumerated() {
            let slot = 3 + heads + index
            KeyTable.makeKey(slots + slot, key.bytes)
            slots[slot].field = Int16(index)
            slots[slot].context = UInt16(3 + key.context)
            if let child = key.child {
                slots[slot].child = UInt16(3 + child)
                slots[3 + child].owner = UInt16(slot)
                // Contexts are numbered outside in: this one's depth is known.
                slots[3 + child].depth = slots[3 + key.context].depth + 1
            }
            if key.bytes.count > KeyTable.longestPredictedKey {
                slots[slot].long_key = UInt32(longOffset)
                for byte in key.bytes {
                    longKeys[longOffset] = byte
                    longOffset += 1
                }
            }
            slots[lastOfContext[key.context]].sibling = UInt16(slot)
            lastOfContext[key.context] = slot
            slots[3 + key.context].key_count += 1
        }
        planned.update(from: slots, count: plannedCount)
    }

    deinit {
        slots.deallocate()
        planned.deallocate()
        longKeys.deallocate()
    }

    private static func allocate(_ count: Int) -> Slot {
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: count * MemoryLayout<cscan_slot>.stride, alignment: 64)
        return memory.initializeMemory(as: cscan_slot.self, repeating: cscan_slot(), count: count)
    }

    /// Makes a slot that matches no text: its pattern would begin with 0x00, where a quote must stand.
    private static func makeHead(_ slot: Slot) {
        slot.pointee = cscan_slot()
        slot.pointee.need_low = .max
        slot.pointee.need_high = .max
        slot.pointee.field = -1
    }

    /// Makes a slot for a key.
    ///
    /// One that is too long, or can only be written with escapes, is found by the general way alone.
    private static func makeKey(_ slot: Slot, _ key: [UInt8]) {
        makeHead(slot)
        slot.pointee.key_count = UInt16(truncatingIfNeeded: key.count)
        guard key.count <= longestPredictedKey else { return }
        withUnsafeMutableBytes(of: &slot.pointee.pattern) { pattern in
            pattern[0] = 0x22
            for (index, byte) in key.enumerated() { pattern[index + 1] = byte }
            pattern[key.count + 1] = 0x22
            pattern[key.count + 2] = 0x3A
        }
        guard !key.contains(where: { $0 < 0x20 || $0 == 0x22 || $0 == 0x5C }) else { return }
        let length = key.count + 3
        slot.pointee.length = UInt16(length)
        slot.pointee.need_low = UInt16(truncatingIfNeeded: (1 << min(length, 16)) - 1)
        slot.pointee.need_high = UInt16(truncatingIfNeeded: (1 << max(length - 16, 0)) - 1)
    }

    // MARK: - While scanning

    /// Whether what was learned has been of little use for long.
    ///
    /// A peer that once filled the table with names of its own would slow the scanner down for ever.
    var isStale: Bool {
        @inline(__always) get { missesSinceFull >= JSONFieldScanner.missesUntilReset }
    }

    /// The number of a slot.
    @inline(__always)
    func index(of slot: Slot) -> Int { slot - slots }

    /// Between scans: forgets all that was learned.
    @inline(never)
    func drop() {
        slots.update(from: planned, count: plannedCount)
        for index in plannedCount..<capacity { KeyTable.makeHead(slots + index) }
        count = plannedCount
        missesSinceFull = 0
    }

    /// The context of an object that is the value of a key for the first time.
    @inline(never)
    func newContext(under slot: Slot) -> Slot {
        guard count < capacity else { return slots + KeyTable.genericHead }
        let head = count
        count += 1
        slot.pointee.child = UInt16(head)
        slots[head].context = UInt16(head)
        slots[head].owner = UInt16(truncatingIfNeeded: slot - slots)
        slots[head].depth = slots[Int(slot.pointee.context)].depth + 1
        return slots + head
    }

    /// Reads the key at `i` and the colon behind it in the general way, and learns.
    ///
    /// - Parameters:
    ///   - i: Where the key's quote must stand; then behind the colon.
    ///   - previous: The object's last key, or its context's head.
    ///   - head: The context.
    /// - Returns: The key's slot; the generic head for one that is not remembered.
    @inline(never)
    func key(
        _ p: UnsafePointer<UInt8>, _ i: inout Int, _ n: Int, after previous: Slot, in head: Slot,
        _ features: inout JSONFeatures
    ) throws(JSONError) -> Slot {
        if let guess = laterGuess(p + i, n - i, previous) {
            i += Int(guess.pointee.length)
            return guess
        }
        misses &+= 1
        guard p[i] == 0x22 else { throw JSONError(.unexpectedByte, at: i) }
        let start = i + 1
        let (end, hasEscapes) = try JSONLexer.string(p, start, n, &features)
        i = JSONLexer.skipSpace(p, end + 1, n)
        guard i < n else { throw JSONError(.unexpectedEnd, at: n) }
        guard p[i] == 0x3A else { throw JSONError(.unexpectedByte, at: i) }
        i += 1
        if hasEscapes { return escapedKey(p + start, end - start, head) }
        guard let slot = known(p + start, end - start, head) ?? learned(p + start, end - start, head) else {
            return slots + KeyTable.genericHead
        }
        link(previous, slot)
        return slot
    }

    /// The guesses that the scanner has not tried: the rarer ones, and near the end of the text all.
    private func laterGuess(_ p: UnsafePointer<UInt8>, _ remaining: Int, _ previous: Slot) -> Slot? {
        let next = previous.pointee.next
        if remaining >= 32 {
            if cscan_slot_match(p, slots + Int(next.2)) != 0 { return slots + Int(next.2) }
            if cscan_slot_match(p, slots + Int(next.3)) != 0 { return slots + Int(next.3) }
            return nil
        }
        if cscan_slot_match_near_end(p, remaining, slots + Int(next.0)) != 0 { return slots + Int(next.0) }
        if cscan_slot_match_near_end(p, remaining, slots + Int(next.1)) != 0 { return slots + Int(next.1) }
        if cscan_slot_match_near_end(p, remaining, slots + Int(next.2)) != 0 { return slots + Int(next.2) }
        if cscan_slot_match_near_end(p, remaining, slots + Int(next.3)) != 0 { return slots + Int(next.3) }
        return nil
    }

    private func known(_ key: UnsafePointer<UInt8>, _ count: Int, _ head: Slot) -> Slot? {
        var index = Int(head.pointee.sibling)
        while index != 0 {
            let slot = slots + index
            if Int(slot.pointee.key_count) == count, isKey(slot, key, count) { return slot }
            index = Int(slot.pointee.sibling)
        }
        return nil
    }

    private func isKey(_ slot: Slot, _ key: UnsafePointer<UInt8>, _ count: Int) -> Bool {
        if count > KeyTable.longestPredictedKey {
            return cscan_equal(longKeys + Int(slot.pointee.long_key), key, count) != 0
        }
        return withUnsafeBytes(of: &slot.pointee.pattern) { pattern in
            guard let base = pattern.baseAddress else { return false }
            return cscan_equal(base + 1, key, count) != 0
        }
    }

    private func learned(_ key: UnsafePointer<UInt8>, _ count: Int, _ head: Slot) -> Slot? {
        guard head != slots + KeyTable.genericHead, count <= KeyTable.longestPredictedKey else { return nil }
        guard self.count < capacity, Int(head.pointee.key_count) < JSONFieldScanner.keysPerContext else {
            missesSinceFull &+= 1
            return nil
        }
        let slot = slots + self.count
        slot.pointee = cscan_slot()
        slot.pointee.field = -1
        slot.pointee.context = UInt16(truncatingIfNeeded: head - slots)
        slot.pointee.key_count = UInt16(count)
        withUnsafeMutableBytes(of: &slot.pointee.pattern) { pattern in
            pattern[0] = 0x22
            for index in 0..<count { pattern[index + 1] = key[index] }
            pattern[count + 1] = 0x22
            pattern[count + 2] = 0x3A
        }
        let length = count + 3
        slot.pointee.length = UInt16(length)
        slot.pointee.need_low = UInt16(truncatingIfNeeded: (1 << min(length, 16)) - 1)
        slot.pointee.need_high = UInt16(truncatingIfNeeded: (1 << max(length - 16, 0)) - 1)
        slot.pointee.sibling = head.pointee.sibling
        head.pointee.sibling = UInt16(self.count)
        head.pointee.key_count += 1
        self.count += 1
        return slot
    }

    private func escapedKey(_ key: UnsafePointer<UInt8>, _ count: Int, _ head: Slot) -> Slot {
        let generic = slots + KeyTable.genericHead
        // Longer than any key of the plan even with every character escaped: not worth unescaping.
        guard count <= longestPlannedKey * 6 else { return generic }
        scratch.removeAll(keepingCapacity: true)
        JSONLexer.unescape(UnsafeRawBufferPointer(start: key, count: count), into: &scratch)
        return scratch.withUnsafeBufferPointer { plain in
            guard let base = plain.baseAddress else { return generic }
            return known(base, plain.count, head) ?? generic
        }
    }

    /// Makes `slot` the first guess after `previous`.
    private func link(_ previous: Slot, _ slot: Slot) {
        guard slot.pointee.length > 0, previous != slots + KeyTable.genericHead else { return }
        let index = UInt16(truncatingIfNeeded: slot - slots)
        let next = previous.pointee.next
        // Known already: white space before the colon kept the guess from matching.
        if next.0 == index || next.1 == index || next.2 == index || next.3 == index { return }
        previous.pointee.next = (index, next.0, next.1, next.2)
    }
}
