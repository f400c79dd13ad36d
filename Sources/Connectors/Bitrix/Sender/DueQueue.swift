/// Elements with the time each is due; the earliest comes first, and of equal times the one put in first.
///
/// A binary heap: O(log n) to put in and take out.
struct DueQueue<Element> {
    private struct Item {
        let due: Duration
        let order: UInt64
        let element: Element

        func isBefore(_ other: Item) -> Bool {
            due < other.due || (due == other.due && order < other.order)
        }
    }

    private var heap: [Item] = []
    private var nextOrder: UInt64 = 0

    /// When the first element is due.
    var firstDue: Duration? { heap.first?.due }
    var count: Int { heap.count }

    mutating func insert(_ element: Element, due: Duration) {
        heap.append(Item(due: due, order: nextOrder, element: element))
        nextOrder += 1
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].isBefore(heap[parent]) else { break }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    /// Takes the first element out if it is due.
    mutating func popFirst(dueBy now: Duration) -> Element? {
        guard let first = heap.first, first.due <= now else { return nil }
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            siftDown()
        }
        return first.element
    }

    private mutating func siftDown() {
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < heap.count && heap[child].isBefore(heap[least]) {
                least = child
            }
            guard least != parent else { return }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}

/// The last few values that were put in; a bounded memory.
struct RecentSet<Value: Hashable> {
    private let capacity: Int
    private var members: Set<Value> = []
    private var ring: [Value] = []
    private var oldest = 0

    init(capacity: Int) {
        self.capacity = capacity
    }

    func contains(_ value: Value) -> Bool { members.contains(value) }

    mutating func insert(_ value: Value) {
        guard members.insert(value).inserted else { return }
        if ring.count < capacity {
            ring.append(value)
        } else {
            members.remove(ring[oldest])
            ring[oldest] = value
            oldest = (oldest + 1) % capacity
        }
    }
}

/// A small generator for jitter: not for secrets.
struct SplitMix64: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
