public import Protocols
import Synchronization

/// The live calls of one shard, readable from any thread without a lock.
///
/// One writer, the shard's loop; any number of readers. A record is published as words under a sequence counter
/// (seqlock): odd while it is written, so a reader that saw a change in between reads again. All shared words are atomics;
/// nothing is undefined, at worst a reader repeats.
///
///     tags   [hash | 0 empty | 1 removed]   open addressing, twice the capacity
///     slots  [record number]                beside the tags
///     chunks [pointer to 256 records]       made when first used, kept until the end
///     words  [sequence][record as words]    one line of words a record
///
/// Readers get copies. The order of records is not defined.
public final class CallRegistry: Sendable {
    /// Records at most.
    public let capacity: Int

    private struct Shared: @unchecked Sendable {
        let tags: UnsafeMutablePointer<Atomic<UInt64>>
        let slots: UnsafeMutablePointer<Atomic<UInt32>>
        let chunks: UnsafeMutablePointer<Atomic<UInt>>
    }

    private static let wordsPerRecord = (MemoryLayout<CallRecord>.size + 7) / 8
    private static let stride = wordsPerRecord + 1
    private static let recordsPerChunk = 256
    private static let removed: UInt64 = 1
    /// The word of a record that says when the call began, in microseconds.
    private static let startWord = wordOfStart()

    private static func wordOfStart() -> Int {
        guard let offset = MemoryLayout<CallRecord>.offset(of: \.startedAt), offset % 8 == 0,
            MemoryLayout<Timestamp>.size == 8
        else { preconditionFailure("the begin of a call is one word of its record") }
        return offset / 8
    }

    private let shared: Shared
    private let mask: Int
    private let hasher: TextHash
    /// Odd while the writer rebuilds the tags.
    private let epoch = Atomic<UInt64>(0)
    private let used = Atomic<Int>(0)
    private let highestSlot = Atomic<Int>(0)
    private let tombstones = Atomic<Int>(0)

    /// Reserves room for `capacity` records; `hasher` must be the shard's.
    public init(capacity: Int, hasher: TextHash) {
        self.capacity = capacity
        self.hasher = hasher
        var size = 32
        while size < capacity * 2 { size *= 2 }
        mask = size - 1
        shared = Shared(
            tags: Self.zeroed(size), slots: Self.zeroed(size),
            chunks: Self.zeroed(capacity / Self.recordsPerChunk + 1))
    }

    deinit {
        shared.tags.deallocate()
        shared.slots.deallocate()
        for chunk in 0...capacity / Self.recordsPerChunk { self.chunk(chunk)?.deallocate() }
        shared.chunks.deallocate()
    }

    private func chunk(_ number: Int) -> UnsafeMutablePointer<Atomic<UInt64>>? {
        UnsafeMutablePointer(bitPattern: shared.chunks[number].load(ordering: .acquiring))
    }

    private func words(of slot: Int) -> UnsafeMutablePointer<Atomic<UInt64>>? {
        chunk(slot / Self.recordsPerChunk).map { $0 + slot % Self.recordsPerChunk * Self.stride }
    }

    private func makeWords(of slot: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
        if let words = words(of: slot) { return words }
        let made: UnsafeMutablePointer<Atomic<UInt64>> = Self.zeroed(Self.recordsPerChunk * Self.stride)
        shared.chunks[slot / Self.recordsPerChunk].store(UInt(bitPattern: made), ordering: .releasing)
        return made + slot % Self.recordsPerChunk * Self.stride
    }

    private static func zeroed<Word: ~Copyable>(_ count: Int) -> UnsafeMutablePointer<Word> {
        let raw = UnsafeMutableRawPointer.allocate(
            byteCount: count * MemoryLayout<Word>.stride, alignment: 64)
        raw.initializeMemory(as: UInt8.self, repeating: 0, count: count * MemoryLayout<Word>.stride)
        return raw.bindMemory(to: Word.self, capacity: count)
    }

    /// Calls published now.
    public var count: Int { used.load(ordering: .relaxed) }

    // MARK: Writer

    /// Makes the record in `slot` visible, new or changed.
    ///
    /// The writer's thread only.
    public func publish(_ record: borrowing CallRecord, slot: Int, hash: UInt64, isNew: Bool) {
        precondition(slot < capacity)
        let words = makeWords(of: slot)
        let sequence = words[0].load(ordering: .relaxed)
        words[0].store(sequence &+ 1, ordering: .relaxed)
        atomicMemoryFence(ordering: .releasing)
        withUnsafeBytes(of: record) { bytes in
            for word in 0..<Self.wordsPerRecord - 1 {
                words[1 + word].store(
                    bytes.loadUnaligned(fromByteOffset: word * 8, as: UInt64.self), ordering: .relaxed)
            }
            var last: UInt64 = 0
            withUnsafeMutableBytes(of: &last) {
                $0.copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: bytes[((Self.wordsPerRecord - 1) * 8)...]))
            }
            words[Self.wordsPerRecord].store(last, ordering: .relaxed)
        }
        words[0].store(sequence &+ 2, ordering: .releasing)
        if isNew { insertTag(hash, slot) }
    }

    /// Takes the record in `slot` away.
    ///
    /// The writer's thread only.
    public func retire(slot: Int, hash: UInt64) {
        var position = Int(truncatingIfNeeded: hash) & mask
        while true {
            let tag = shared.tags[position].load(ordering: .relaxed)
            precondition(tag != 0, "the record was published")
            if tag == hash, shared.slots[position].load(ordering: .relaxed) == UInt32(slot) { break }
            position = (position + 1) & mask
        }
        shared.tags[position].store(Self.removed, ordering: .releasing)
        used.store(used.load(ordering: .relaxed) - 1, ordering: .relaxed)
        let dead = tombstones.load(ordering: .relaxed) + 1
        tombstones.store(dead, ordering: .relaxed)
        if dead * 4 > mask { rebuild() }
    }

    private func insertTag(_ hash: UInt64, _ slot: Int) {
        var position = Int(truncatingIfNeeded: hash) & mask
        while true {
            let tag = shared.tags[position].load(ordering: .relaxed)
            if tag == 0 { break }
            if tag == Self.removed {
                tombstones.store(tombstones.load(ordering: .relaxed) - 1, ordering: .relaxed)
                break
            }
            position = (position + 1) & mask
        }
        shared.slots[position].store(UInt32(slot), ordering: .relaxed)
        shared.tags[position].store(hash, ordering: .releasing)
        used.store(used.load(ordering: .relaxed) + 1, ordering: .relaxed)
        if slot >= highestSlot.load(ordering: .relaxed) { highestSlot.store(slot + 1, ordering: .relaxed) }
    }

    /// Puts every tag at its best place again; readers that look meanwhile read again.
    private func rebuild() {
        var live: [(UInt64, UInt32)] = []
        live.reserveCapacity(used.load(ordering: .relaxed))
        for position in 0...mask {
            let tag = shared.tags[position].load(ordering: .relaxed)
            if tag > Self.removed { live.append((tag, shared.slots[position].load(ordering: .relaxed))) }
        }
        let before = epoch.load(ordering: .relaxed)
        epoch.store(before &+ 1, ordering: .relaxed)
        atomicMemoryFence(ordering: .releasing)
        for position in 0...mask { shared.tags[position].store(0, ordering: .relaxed) }
        for (hash, slot) in live {
            var position = Int(truncatingIfNeeded: hash) & mask
            while shared.tags[position].load(ordering: .relaxed) != 0 { position = (position + 1) & mask }
            shared.slots[position].store(slot, ordering: .relaxed)
            shared.tags[position].store(hash, ordering: .relaxed)
        }
        tombstones.store(0, ordering: .relaxed)
        epoch.store(before &+ 2, ordering: .releasing)
    }

    // MARK: Readers

    /// A copy of the call with this id, or `nil`.
    ///
    /// Any thread.
    public func find(callID: String) -> CallRecord? {
        var callID = callID
        let key = callID.withUTF8 { CallKey(UnsafeRawBufferPointer($0), hasher) }
        while true {
            let before = epoch.load(ordering: .acquiring)
            let found = before & 1 == 0 ? look(for: key) : nil
            atomicMemoryFence(ordering: .acquiring)
            if before & 1 == 0, epoch.load(ordering: .relaxed) == before { return found }
        }
    }

    private func look(for key: CallKey) -> CallRecord? {
        var position = Int(truncatingIfNeeded: key.hash) & mask
        for _ in 0...mask {
            let tag = shared.tags[position].load(ordering: .acquiring)
            if tag == 0 { return nil }
            if tag == key.hash, let record = read(slot: Int(shared.slots[position].load(ordering: .relaxed))),
                record.callID == key.text,
                // The slot may have gone to another call between the tag and the record.
                shared.tags[position].load(ordering: .acquiring) == tag
            {
                return record
            }
            position = (position + 1) & mask
        }
        return nil
    }

    /// Calls `body` with a copy of each live call that began at `since` or later, until it returns false.
    ///
    /// Any thread; O(capacity in use), of which a call that began earlier takes one word.
    ///
    /// Calls that begin or end meanwhile may or may not be met; none is met torn.
    public func forEach(
        since: Timestamp = Timestamp(microseconds: .min), _ body: (CallRecord) -> Bool
    ) {
        for position in 0...mask {
            let tag = shared.tags[position].load(ordering: .acquiring)
            guard tag > Self.removed else { continue }
            let slot = Int(shared.slots[position].load(ordering: .relaxed))
            guard slot < capacity, let words = words(of: slot),
                Int64(bitPattern: words[1 + Self.startWord].load(ordering: .relaxed)) >= since.microseconds,
                let record = read(slot: slot), shared.tags[position].load(ordering: .acquiring) == tag
            else {
                continue
            }
            if !body(record) { return }
        }
    }

    private func read(slot: Int) -> CallRecord? {
        guard slot < capacity, let words = words(of: slot) else { return nil }
        return withUnsafeTemporaryAllocation(of: UInt64.self, capacity: Self.wordsPerRecord) { copy in
            for _ in 0..<10_000 {
                let before = words[0].load(ordering: .acquiring)
                for word in 0..<Self.wordsPerRecord { copy[word] = words[1 + word].load(ordering: .relaxed) }
                atomicMemoryFence(ordering: .acquiring)
                if before & 1 == 0, words[0].load(ordering: .relaxed) == before {
                    return UnsafeRawPointer(copy.baseAddress).map { $0.loadUnaligned(as: CallRecord.self) }
                }
            }
            return nil
        }
    }
}
