package import Protocols

/// What the portal did: the judge of every test.
package struct PortalEffect: Sendable, Hashable {
    package var at: Timestamp
    package var kind: Kind

    package enum Kind: Sendable, Hashable {
        case callRegistered(ActiveCall)
        case registrationRepeated(callID: String)
        case callFinished(StatisticsRow)
        case entityCreated(kind: PortalSettings.Entity.Kind, id: Int, callID: String)
        case activityCreated(id: Int, callID: String)
        case responsibleMoved(entityID: Int, userID: Int)
        case cardShown(callID: String, userID: Int)
        case cardHidden(callID: String, userID: Int)
        case missed(callID: String)
        case calledBack(number: String)
        case chatNote(callID: String)
        case lineCreated(number: String)
        /// An employee clicked a number in the portal.
        case clicked(callID: String, userID: Int)
        case tokensRenewed
        case transcriptionAttached(callID: String, messageCount: Int)
        case recordAttached(callID: String, fileID: Int, name: String, byteCount: Int)
    }
}

/// A request that the portal refused.
package struct PortalRefusal: Sendable, Hashable {
    package var at: Timestamp
    package var method: String
    package var status: Int
    package var code: String
    package var text: String
}

/// A call that is registered and not finished.
package struct ActiveCall: Sendable, Hashable {
    package var callID: String
    package var externalCallID: String?
    package var userID: Int
    /// As sent.
    package var phoneNumber: String
    /// Digits and `# * + , ;` only.
    package var strippedNumber: String
    package var type: Int
    package var line: String?
    /// Seconds since 1970.
    package var startDate: Int
    package var registeredAt: Timestamp
    package var isInternal: Bool
    /// What the call is bound to in the CRM.
    package var binding: PortalSettings.Entity?
    /// What was made for it.
    package var created: [PortalSettings.Entity] = []
    package var showsCard: Bool
    package var createsLead: Bool
    /// The key that registered it; webhooks share one.
    package var application: String
}

/// A finished call: a row of the portal's statistics.
package struct StatisticsRow: Sendable, Hashable {
    package var id: Int
    package var call: ActiveCall
    package var userID: Int
    package var duration: Int
    package var statusCode: String
    package var failedReason: String
    package var activityID: Int?
    package var activityError: String?
    package var finishedAt: Timestamp
    /// The file attached to the call.
    package var fileID: Int?
    package var transcriptID: Int?

    /// The portal's own idea of success: nothing but the duration decides.
    package var callStatus: Int { duration > 0 ? 1 : 0 }
    /// Whether the row is in the list of missed calls.
    package var isMissed: Bool { statusCode == "304" && (call.type == 2 || call.type == 3) }
}

/// A list that keeps the newest entries only.
package struct BoundedLog<Entry: Sendable>: Sendable {
    private let capacity: Int
    private var stored: [Entry] = []
    /// How many entries were ever put in.
    package private(set) var total = 0

    init(capacity: Int) {
        self.capacity = max(1, capacity)
    }

    /// The entries, oldest first.
    package var entries: ArraySlice<Entry> { stored.suffix(capacity) }
    /// How many entries have left.
    package var forgotten: Int { total - entries.count }

    mutating func append(_ entry: Entry) {
        stored.append(entry)
        total += 1
        // Removed in bulk, so that the cost per entry stays constant.
        if stored.count >= 2 * capacity { stored.removeFirst(stored.count - capacity) }
    }
}
