/// Simulated time in microseconds: what is to happen happens in the order of its time, and of its planning.
final class TruthTime {
    private struct Entry {
        var at: Int64
        var order: Int
        var body: () -> Void
    }

    private var heap: [Entry] = []
    private var planned = 0
    private(set) var now: Int64 = 0
    /// Things that happened.
    private(set) var steps = 0

    /// Plans `body` for `time`, or for now when that is over.
    func at(_ time: Int64, _ body: @escaping () -> Void) {
        planned += 1
        heap.append(Entry(at: max(time, now), order: planned, body: body))
        var place = heap.count - 1
        while place > 0, isBefore(place, (place - 1) / 2) {
            heap.swapAt(place, (place - 1) / 2)
            place = (place - 1) / 2
        }
    }

    /// Plans `body` for so many microseconds from now.
    func after(_ delay: Int64, _ body: @escaping () -> Void) { at(now + delay, body) }

    /// Does the next thing.
    ///
    /// - Returns: `false` when nothing is to happen any more.
    func step() -> Bool {
        guard let next = heap.first else { return false }
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            sink()
        }
        now = next.at
        steps += 1
        next.body()
        return true
    }

    private func isBefore(_ one: Int, _ other: Int) -> Bool {
        heap[one].at != heap[other].at ? heap[one].at < heap[other].at : heap[one].order < heap[other].order
    }

    private func sink() {
        var place = 0
        while true {
            var least = place
            for child in [2 * place + 1, 2 * place + 2] where child < heap.count && isBefore(child, least) {
                least = child
            }
            guard least != place else { return }
            heap.swapAt(place, least)
            place = least
        }
    }
}

extension Int64 {
    /// Milliseconds as microseconds.
    static func milliseconds(_ count: Int) -> Int64 { Int64(count) * 1000 }
}
