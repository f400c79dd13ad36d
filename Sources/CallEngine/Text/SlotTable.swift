/// Records in numbered slots, found by the hash of their key: open addressing, linear probing.
///
/// One owner, no locks. Slot numbers are stable while a record lives; records move when the table grows, so
/// pointers to them must not be kept. Removal shifts later entries back, so there are no tombstones and
/// look-ups stay short for ever. Growth doubles the index: amortised O(1).
///
/// Room for records is reserved at the start and taken when it is first used, so that a table that grows to its usual size
/// copies none of them and holds no more memory than it has records.
struct SlotTable<Record: BitwiseCopyable>: ~Copyable {
    private var hashes: UnsafeMutablePointer<UInt64>
    private var slots: UnsafeMutablePointer<UInt32>
    private var indexCapacity: Int
    private var records: UnsafeMutablePointer<Record>
    private var recordCapacity: Int
    private var freeSlots: [UInt32] = []
    private var usedSlots = 0
    private(set) var count = 0

    /// Most memory that is reserved; beyond it records are copied when the table doubles.
    static var maximumReservedBytes: Int { 256 << 20 }

    /// Room for `minimumCapacity` records before the first growth of the index, and for `reserved` before they are copied.
    init(minimumCapacity: Int, reserving reserved: Int = 0) {
        var capacity = 16
        while capacity < minimumCapacity { capacity *= 2 }
        indexCapacity = capacity * 2
        recordCapacity = max(capacity, min(reserved, Self.maximumReservedBytes / MemoryLayout<Record>.stride))
        records = .allocate(capacity: recordCapacity)
        slots = .allocate(capacity: indexCapacity)
        hashes = .allocate(capacity: indexCapacity)
        hashes.initialize(repeating: 0, count: indexCapacity)
    }

    deinit {
        records.deallocate()
        slots.deallocate()
        hashes.deallocate()
    }

    /// The record in a slot that is in use.
    subscript(slot: Int) -> Record {
        @inline(__always) unsafeAddress {
            precondition(slot >= 0 && slot < usedSlots)
            return UnsafePointer(records + slot)
        }
        @inline(__always) unsafeMutableAddress {
            precondition(slot >= 0 && slot < usedSlots)
            return records + slot
        }
    }

    /// The slot of the record with this hash for which `matches` holds.
    @inline(__always)
    func find(_ hash: UInt64, where matches: (UnsafePointer<Record>) -> Bool) -> Int? {
        let mask = indexCapacity &- 1
        var position = Int(truncatingIfNeeded: hash) & mask
        while hashes[position] != 0 {
            if hashes[position] == hash, matches(UnsafePointer(records + Int(slots[position]))) {
                return Int(slots[position])
            }
            position = (position &+ 1) & mask
        }
        return nil
    }

    /// Puts a record in; its key must not be there yet.
    ///
    /// - Returns: The slot, valid until `remove`.
    mutating func insert(_ hash: UInt64, _ record: Record) -> Int {
        if (count + 1) * 3 > indexCapacity * 2 { growIndex() }
        let slot: Int
        if let free = freeSlots.popLast() {
            slot = Int(free)
        } else {
            if usedSlots == recordCapacity { growRecords() }
            slot = usedSlots
            usedSlots += 1
        }
        (records + slot).initialize(to: record)
        place(hash, UInt32(slot))
        count += 1
        return slot
    }

    /// Takes the record in `slot` out; the slot will be used again.
    mutating func remove(_ hash: UInt64, slot: Int) {
        let mask = indexCapacity &- 1
        var position = Int(truncatingIfNeeded: hash) & mask
        while hashes[position] != hash || slots[position] != UInt32(slot) {
            precondition(hashes[position] != 0, "the record is in the table")
            position = (position &+ 1) & mask
        }
        // Shift back whatever would no longer be found past the hole.
        var hole = position
        var next = (hole &+ 1) & mask
        while hashes[next] != 0 {
            let home = Int(truncatingIfNeeded: hashes[next]) & mask
            if ((next &- home) & mask) >= ((next &- hole) & mask) {
                hashes[hole] = hashes[next]
                slots[hole] = slots[next]
                hole = next
            }
            next = (next &+ 1) & mask
        }
        hashes[hole] = 0
        freeSlots.append(UInt32(slot))
        count -= 1
    }

    /// Calls `body` with every slot in use.
    func forEachSlot(_ body: (Int) -> Void) {
        for position in 0..<indexCapacity where hashes[position] != 0 { body(Int(slots[position])) }
    }

    private func place(_ hash: UInt64, _ slot: UInt32) {
        let mask = indexCapacity &- 1
        var position = Int(truncatingIfNeeded: hash) & mask
        while hashes[position] != 0 { position = (position &+ 1) & mask }
        hashes[position] = hash
        slots[position] = slot
    }

    private mutating func growIndex() {
        let (oldHashes, oldSlots, oldCapacity) = (hashes, slots, indexCapacity)
        indexCapacity *= 2
        hashes = .allocate(capacity: indexCapacity)
        hashes.initialize(repeating: 0, count: indexCapacity)
        slots = .allocate(capacity: indexCapacity)
        for position in 0..<oldCapacity where oldHashes[position] != 0 {
            place(oldHashes[position], oldSlots[position])
        }
        oldHashes.deallocate()
        oldSlots.deallocate()
    }

    private mutating func growRecords() {
        let grown = UnsafeMutablePointer<Record>.allocate(capacity: recordCapacity * 2)
        grown.moveInitialize(from: records, count: usedSlots)
        records.deallocate()
        records = grown
        recordCapacity *= 2
    }
}
