/// Why two calls are taken for one.
enum MergeEvidence: UInt8, BitwiseCopyable {
    case none
    /// A channel names the other call (linkedid).
    case linkedID
    case dial, transfer, replacement
    /// They talk on one bridge and nothing names either.
    case bridge
}

/// A call as the graph keeps it: the public record and what only the graph needs.
///
///     ringing    a leg is Up, or enters a talking bridge while Up → answered; last leg gone → finished
///     answered   last leg gone → finished
///     finished   a leg comes back into the application: it ends again, later; the record goes `linger` after the end
///     merged     (finished, with a survivor) the evidence turns out wrong → as its own legs say
///     error      never set by events; rows of the old daemon may have it
struct CallState: BitwiseCopyable {
    var record: CallRecord
    /// Of the call's id; the text is the record's.
    var keyHash: UInt64
    var keyIsFolded: Bool
    var hash: UInt64
    var stamp: UInt32
    var firstLeg = UInt32.max
    var legCount: UInt32 = 0
    /// Legs of its own that are open.
    var openLegs: UInt32 = 0
    /// The same with those of the calls that became part of it.
    var totalOpen: UInt32 = 0
    /// The earliest Up of its legs, before it is held against the start.
    var upAt = PBXTime.none
    var startedAt: PBXTime
    /// Calls that became part of it, directly or not.
    var mergedCount: UInt32 = 0
    /// The call that this one became part of.
    var survivor = UInt32.max
    /// Calls that became part of this one, as a list.
    var firstMerged = UInt32.max
    var nextMerged = UInt32.max
    var evidence = MergeEvidence.none
    var evidenceBridge: UInt64 = 0
    var root = LegReference.none
    /// The leg that entered our application first without being dialled: its numbers count most.
    var starter = LegReference.none
    /// First talk between the root and a person.
    var talkStartedAt = PBXTime.none
    var answeredBy = LegReference.none
    /// What a variable said of the direction stands above the context.
    var directionIsTold = false
    /// A leg that is no mere dialled one acted in it.
    var hasCaller = false
    var hasOriginated = false
    var isRegistered = false
    /// A telephone of it began to ring, was answered, or stopped.
    var telephonesChanged = false
    /// Hash of the telephones that the CRM was told of; 0: of none.
    var telephonesTold = 0
    var finishIsTold = false
    /// The channel that it is named after was seen: what follows from its legs' ends is not for want of it.
    var hasNamed = false
    /// Changed since it was last given to the store.
    var needsSave = false
    /// Its legs and segments are to be given to the store.
    var needsDetails = false
    /// They were given with the call's end before.
    var hasGivenEnd = false
    var isTouched = false
    var isPublished = false
    var isIncomplete = false
    var isCustomerKnown = false
    /// An earlier run knew its numbers.
    var isAdopted = false
    var wasFinished = false
    var wasAnswered = false
    /// What its end gives the CRM is still to be told.
    var isEnding = false
    /// When to forget it; monotonic nanoseconds, 0 while the call lives.
    var forgetAt: UInt64 = 0

    init(record: CallRecord, key: CallKey, hash: UInt64, stamp: UInt32, startedAt: PBXTime) {
        self.record = record
        self.record.callID = key.text
        keyHash = key.hash
        keyIsFolded = key.isFolded
        self.hash = hash
        self.stamp = stamp
        self.startedAt = startedAt
    }

    var isMerged: Bool { survivor != .max }

    /// The call's id as the key of tables.
    var key: CallKey { CallKey(text: record.callID, hash: keyHash, isFolded: keyIsFolded) }

    /// Whether that is the key; nothing is copied for it.
    @inline(__always)
    func has(_ key: CallKey) -> Bool { keyHash == key.hash && record.callID == key.text }
}
