/// What a bridge is for, which decides whether being in it is talking.
public enum BridgeKind: UInt8, Sendable, BitwiseCopyable {
    /// Two or more talk.
    case talking
    /// A room that calls enter on their own: talking, but not one call (ConfBridge).
    case conference
    /// Music; nobody hears another.
    case holding
    /// Parked calls, each for itself.
    case parking
}

/// A bridge with legs in it.
///
///     empty → gone; a bridge is remembered from the first leg that enters to the last one that leaves
struct Bridge: BitwiseCopyable {
    var key: ChannelKey
    var hash: UInt64
    var kind: BridgeKind
    var firstMember = UInt32.max
    var memberCount: UInt32 = 0
    /// Members that are up: they hear one another.
    var activeCount: UInt32 = 0
    /// Calls that were joined on this bridge's evidence alone.
    var joinedCalls: UInt16 = 0
}

/// Both halves of a Local channel.
struct LocalStem: BitwiseCopyable {
    var hash: UInt64
    var first = LegReference.none
    var second = LegReference.none
}
