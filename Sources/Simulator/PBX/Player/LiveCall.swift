/// A call that is being played.
struct LiveCall: Sendable {
    var sequence: UInt64
    var plan: CallPlan
    /// Index into the player's scripts.
    var script: Int
    /// The step that comes next.
    var step = 0
    /// When that is due, in milliseconds since 1970.
    var due: Int64
    /// Number behind the dot of each channel's unique id; 0 while there is no such channel.
    var numbers: InlineArray<3, UInt32> = [0, 0, 0]
    /// Creation times of channels and bridges, in milliseconds since 1970.
    var created: InlineArray<3, Int64> = [0, 0, 0]
    var bridgeCreated: InlineArray<2, Int64> = [0, 0]
    var startedAt: Int64 = 0
    var answeredAt: Int64 = 0
    var isInStasis = false
    /// Whether the next step waits for the application, and so is in no bucket of the wheel.
    var isParked = false
    /// Events played, and those that at least one application got.
    var events: UInt16 = 0
    var delivered: UInt16 = 0
    /// Neighbours in a bucket of the wheel, -1 for none.
    ///
    /// `next` also chains free slots.
    var next: Int32 = -1
    var previous: Int32 = -1
}

/// Calls by the millisecond in which they go on: a hashed timing wheel over indices of an array.
///
/// A bucket holds the calls of all milliseconds that are equal modulo the wheel's size, so a call that is
/// further away than one turn is looked at once a turn.
struct TimingWheel: Sendable {
    static let bucketCount = 8192
    private var heads = [Int32](repeating: -1, count: TimingWheel.bucketCount)

    private static func bucket(_ due: Int64) -> Int { Int(due & Int64(bucketCount - 1)) }

    /// First call of the bucket of `millisecond`; -1 for none.
    func first(at millisecond: Int64) -> Int32 { heads[Self.bucket(millisecond)] }

    mutating func insert(_ index: Int32, into calls: inout [LiveCall]) {
        let bucket = Self.bucket(calls[Int(index)].due)
        let head = heads[bucket]
        calls[Int(index)].next = head
        calls[Int(index)].previous = -1
        if head >= 0 { calls[Int(head)].previous = index }
        heads[bucket] = index
    }

    mutating func remove(_ index: Int32, from calls: inout [LiveCall]) {
        let next = calls[Int(index)].next
        let previous = calls[Int(index)].previous
        if previous >= 0 {
            calls[Int(previous)].next = next
        } else {
            heads[Self.bucket(calls[Int(index)].due)] = next
        }
        if next >= 0 { calls[Int(next)].previous = previous }
        calls[Int(index)].next = -1
        calls[Int(index)].previous = -1
    }
}
