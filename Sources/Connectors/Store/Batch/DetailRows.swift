import CallEngine

/// What was derived from calls' legs, beside the rows of a batch: facts for the calls' own rows, and rows of `call_legs`
/// and `call_segments`.
///
/// Flat arrays that are used again, so that nothing is allocated for another call. Legs and segments of a state that a
/// newer one replaced stay there unused until the batch is emptied.
struct DetailRows {
    /// One call's.
    struct Entry {
        var facts: CallFacts
        /// The call has ended: its legs and segments are to be written.
        var isOver: Bool
        /// They were written before, maybe more of them.
        var isRepeated: Bool
        fileprivate(set) var legs: Range<Int>
        fileprivate(set) var segments: Range<Int>
    }

    private(set) var legs: [LegRecord] = []
    /// Beside `legs`: the segment of the call that the leg was an attempt of; -1: none.
    private(set) var segmentOfLeg: [Int32] = []
    private(set) var segments: [CallSegment] = []
    private var entries: [Entry] = []
    /// For each row of calls its place in `entries`; -1: none.
    private var entryOfRow: [Int32] = []

    /// Memory, not to the byte.
    var byteCount: Int {
        entries.count * MemoryLayout<Entry>.stride + legs.count * (MemoryLayout<LegRecord>.stride + 4)
            + segments.count * MemoryLayout<CallSegment>.stride
    }

    /// Whether no row has details.
    var isEmpty: Bool { entries.isEmpty }

    /// Whether legs or segments are to be written.
    var hasParts: Bool {
        !legs.isEmpty || !segments.isEmpty || entries.contains { $0.isRepeated && $0.isOver }
    }

    func entry(of row: Int) -> Entry? {
        let index = entryOfRow[row]
        return index < 0 ? nil : entries[Int(index)]
    }

    /// Takes notice of another row, as yet without details.
    mutating func appendRow() { entryOfRow.append(-1) }

    /// Takes the details of a call in place of any that its row has.
    ///
    /// Legs and segments are kept only of a call that has ended: before that they change with every event, and the engine
    /// has them.
    mutating func append(_ details: CallDetails, at row: Int, isOver: Bool) {
        var entry = Entry(
            facts: details.facts, isOver: isOver, isRepeated: details.isRepeated,
            legs: legs.count..<legs.count, segments: segments.count..<segments.count)
        if isOver {
            for leg in details.legs {
                legs.append(leg)
                segmentOfLeg.append(-1)
            }
            for (number, segment) in details.segments.enumerated() {
                segments.append(segment)
                for attempt in segment.attempts {
                    segmentOfLeg[entry.legs.lowerBound + Int(details.attempts[Int(attempt)])] = Int32(number)
                }
            }
            entry.legs = entry.legs.lowerBound..<legs.count
            entry.segments = entry.segments.lowerBound..<segments.count
        }
        set(entry, at: row)
    }

    private mutating func set(_ entry: Entry, at row: Int) {
        let known = entryOfRow[row]
        guard known < 0 else {
            let wasRepeated = entries[Int(known)].isRepeated
            entries[Int(known)] = entry
            // What came before the one replaced is still in the database.
            if wasRepeated { entries[Int(known)].isRepeated = true }
            return
        }
        entryOfRow[row] = Int32(truncatingIfNeeded: entries.count)
        entries.append(entry)
    }

    /// Takes over those of another batch's row.
    mutating func append(copying from: Int, of other: DetailRows, at row: Int) {
        guard var entry = other.entry(of: from) else { return }
        let (legStart, segmentStart) = (legs.count, segments.count)
        legs.append(contentsOf: other.legs[entry.legs])
        segmentOfLeg.append(contentsOf: other.segmentOfLeg[entry.legs])
        segments.append(contentsOf: other.segments[entry.segments])
        entry.legs = legStart..<legs.count
        entry.segments = segmentStart..<segments.count
        set(entry, at: row)
    }

    /// Takes what the spool had for a row; `legs` and `segments` of `entry` are told by the counts.
    mutating func append(
        facts: CallFacts, isOver: Bool, isRepeated: Bool, legs newLegs: [LegRecord], segmentOfLeg: [Int32],
        segments newSegments: [CallSegment], at row: Int
    ) {
        let (legStart, segmentStart) = (legs.count, segments.count)
        legs += newLegs
        self.segmentOfLeg += segmentOfLeg
        segments += newSegments
        set(
            Entry(
                facts: facts, isOver: isOver, isRepeated: isRepeated, legs: legStart..<legs.count,
                segments: segmentStart..<segments.count), at: row)
    }

    mutating func removeAll(keepingUpTo keptBytes: Int) {
        let keep = legs.capacity * MemoryLayout<LegRecord>.stride <= keptBytes
        legs.removeAll(keepingCapacity: keep)
        segmentOfLeg.removeAll(keepingCapacity: keep)
        segments.removeAll(keepingCapacity: keep)
        entries.removeAll(keepingCapacity: keep)
        entryOfRow.removeAll(keepingCapacity: keep)
    }
}
