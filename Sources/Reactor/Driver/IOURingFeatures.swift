internal import CReactor

/// What of io_uring a loop may use, or uses; without one of them, an older way is taken.
///
/// Each names the Linux that first has it. The kernel is asked at start, so nothing has to be set for an older
/// one; leaving features out shows what they are worth, and what an older kernel would do.
public struct IOURingFeatures: OptionSet, Hashable, Sendable {
    /// Bits of the shim, `CREACTOR_RING_`.
    public let rawValue: UInt32

    /// The set of these bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Only one thread submits, which saves a lock (6.0).
    public static let singleIssuer = IOURingFeatures(rawValue: CREACTOR_RING_SINGLE_ISSUER)
    /// Completions are made inside the wait and not by interrupting the thread (6.1); with `singleIssuer`.
    public static let deferTaskRun = IOURingFeatures(rawValue: CREACTOR_RING_DEFER_TASKRUN)
    /// No interrupt of the thread for each completion (5.19).
    public static let coopTaskRun = IOURingFeatures(rawValue: CREACTOR_RING_COOP_TASKRUN)
    /// One submission accepts connections for good (5.19).
    public static let multishotAccept = IOURingFeatures(rawValue: CREACTOR_RING_MULTISHOT_ACCEPT)
    /// One submission receives for good (6.0).
    public static let multishotReceive = IOURingFeatures(rawValue: CREACTOR_RING_MULTISHOT_RECEIVE)
    /// Receive buffers shared by all connections (5.19); io_uring is not used without.
    public static let bufferRing = IOURingFeatures(rawValue: CREACTOR_RING_BUFFER_RING)
    /// The ring's descriptor is looked up once (5.18).
    public static let registeredRing = IOURingFeatures(rawValue: CREACTOR_RING_REGISTERED_RING)
    /// Receives fill a large buffer one behind another (6.12).
    public static let incrementalBuffers = IOURingFeatures(rawValue: CREACTOR_RING_INCREMENTAL)
    /// The wait itself gathers completions for a while (6.12).
    public static let minimumWait = IOURingFeatures(rawValue: CREACTOR_RING_MINIMUM_WAIT)

    /// All of them.
    public static let all: IOURingFeatures = [
        .singleIssuer, .deferTaskRun, .coopTaskRun, .multishotAccept, .multishotReceive, .bufferRing,
        .registeredRing, .incrementalBuffers, .minimumWait,
    ]

    /// What Linux 5.19 has, the oldest that io_uring is used on.
    public static let linux5_19: IOURingFeatures = [
        .coopTaskRun, .multishotAccept, .bufferRing, .registeredRing,
    ]
    /// What Linux 6.1 has, Debian 12's own.
    public static let linux6_1: IOURingFeatures = [
        .linux5_19, .singleIssuer, .deferTaskRun, .multishotReceive,
    ]

    /// Each feature's name for the log, in the kernel's words.
    public var names: [String] {
        IOURingFeatures.known.filter { contains($0.feature) }.map(\.name)
    }

    private static let known: [(feature: IOURingFeatures, name: String)] = [
        (.singleIssuer, "SINGLE_ISSUER"), (.deferTaskRun, "DEFER_TASKRUN"), (.coopTaskRun, "COOP_TASKRUN"),
        (.multishotAccept, "multishot accept"), (.multishotReceive, "multishot receive"),
        (.bufferRing, "buffer ring"), (.registeredRing, "registered ring"),
        (.incrementalBuffers, "incremental buffers"), (.minimumWait, "minimum wait"),
    ]
}
