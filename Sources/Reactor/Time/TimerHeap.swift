/// Names a scheduled timer; a timer that fired or was cancelled is simply not found any more.
public struct TimerID: Hashable, Sendable {
    let index: UInt32
    let generation: UInt32
}

/// Timers of one loop: a binary heap by deadline, then by order of scheduling.
///
/// Scheduling and cancelling cost O(log n); asking for the next deadline O(1). Each entry keeps its place in
/// the heap, so that cancelling needs no search.
struct TimerHeap {
    private struct Entry {
        var deadline: MonotonicInstant
        var sequence: UInt64
        var generation: UInt32
        /// Place in `heap` while scheduled; else the next free entry.
        var position: Int
        var body: (() -> Void)?
    }

    private var entries: [Entry] = []
    private var heap: [UInt32] = []
    private var firstFree = -1
    private var nextSequence: UInt64 = 0

    /// How many timers are scheduled.
    var count: Int { heap.count }

    /// Timers scheduled from now on have this number or a higher one.
    var mark: UInt64 { nextSequence }

    /// When the first timer is due.
    var nextDeadline: MonotonicInstant? { heap.first.map { entries[Int($0)].deadline } }

    mutating func schedule(at deadline: MonotonicInstant, _ body: @escaping () -> Void) -> TimerID {
        let index: Int
        if firstFree >= 0 {
            index = firstFree
            firstFree = entries[index].position
            entries[index].deadline = deadline
            entries[index].sequence = nextSequence
            entries[index].body = body
        } else {
            index = entries.count
            entries.append(
                Entry(deadline: deadline, sequence: nextSequence, generation: 1, position: 0, body: body))
        }
        nextSequence += 1
        entries[index].position = heap.count
        heap.append(UInt32(index))
        siftUp(heap.count - 1)
        return TimerID(index: UInt32(index), generation: entries[index].generation)
    }

    /// Takes the timer out; false when it has fired, was cancelled or never was.
    @discardableResult
    mutating func cancel(_ timer: TimerID) -> Bool {
        let index = Int(timer.index)
        guard index < entries.count else { return false }
        guard entries[index].generation == timer.generation else { return false }
        guard entries[index].body != nil else { return false }
        remove(at: entries[index].position)
        _ = release(index)
        return true
    }

    /// Takes out the first timer if it is due at `now` and was scheduled before `mark`.
    ///
    /// The caller runs the body: it may schedule and cancel.
    mutating func popDue(at now: MonotonicInstant, before mark: UInt64 = .max) -> (() -> Void)? {
        guard let first = heap.first else { return nil }
        guard entries[Int(first)].deadline <= now, entries[Int(first)].sequence < mark else { return nil }
        remove(at: 0)
        return release(Int(first))
    }

    /// Drops all timers with their bodies.
    mutating func removeAll() {
        while let first = heap.first {
            remove(at: 0)
            _ = release(Int(first))
        }
    }

    private mutating func release(_ index: Int) -> (() -> Void)? {
        let body = entries[index].body
        entries[index].body = nil
        entries[index].generation &+= 1
        entries[index].position = firstFree
        firstFree = index
        return body
    }

    private func precedes(_ left: UInt32, _ right: UInt32) -> Bool {
        let (a, b) = (Int(left), Int(right))
        if entries[a].deadline != entries[b].deadline { return entries[a].deadline < entries[b].deadline }
        return entries[a].sequence < entries[b].sequence
    }

    private mutating func place(_ entry: UInt32, at position: Int) {
        heap[position] = entry
        entries[Int(entry)].position = position
    }

    private mutating func remove(at position: Int) {
        let last = heap.removeLast()
        guard position < heap.count else { return }
        place(last, at: position)
        siftDown(position)
        siftUp(position)
    }

    private mutating func siftUp(_ start: Int) {
        var position = start
        let moving = heap[position]
        while position > 0 {
            let parent = (position - 1) / 2
            guard precedes(moving, heap[parent]) else { break }
            place(heap[parent], at: position)
            position = parent
        }
        place(moving, at: position)
    }

    private mutating func siftDown(_ start: Int) {
        var position = start
        let moving = heap[position]
        while true {
            var child = 2 * position + 1
            guard child < heap.count else { break }
            if child + 1 < heap.count, precedes(heap[child + 1], heap[child]) { child += 1 }
            guard precedes(heap[child], moving) else { break }
            place(heap[child], at: position)
            position = child
        }
        place(moving, at: position)
    }
}
