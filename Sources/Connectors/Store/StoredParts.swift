import CallEngine
package import Protocols

/// What a call's row says that was derived from its legs (`CallFacts`); durations are whole microseconds.
package struct StoredFacts: Sendable, Hashable {
    /// Some of the call was not seen.
    package var isPartial = false
    /// Which derivation this is of; `nil`: the row has none.
    package var derivedAt: Timestamp?
    /// See `OutcomeRule`.
    package var outcomeRule: String?
    /// See `HungUpBy`.
    package var hungUpBy: String?
    package var sipCode: Int?
    package var ringStartedAt: Timestamp?
    package var talkStartedAt: Timestamp?
    package var wait: Int64?
    package var ring: Int64?
    package var talk: Int64?
    package var hold: Int64?
    package var postDial: Int64?
    package var answeredBy: String?
    package var operatorNumber: String?
    package var transferredBy: String?
    package var transferredTo: String?
    package var queue: String?
    package var attempts: Int?
    /// The call that it became part of.
    package var mergedInto: String?
    /// Legs or marks were too many to keep all.
    package var isIncomplete = false

    /// A row without.
    package init() {}
}

/// A row of `call_legs`.
package struct StoredLeg: Sendable, Hashable {
    package var number: Int
    package var channelID: String
    package var name: String?
    /// The number at this end.
    package var endNumber: String?
    /// See `LegRoles`.
    package var role: String
    /// See `LegResult`.
    package var result: String?
    /// See `LegEvidence`.
    package var evidence: String?
    package var pbx: String?
    package var dialedBy: String?
    /// The call it was of before that became part of this one.
    package var cameFrom: String?
    /// The segment that it was an attempt of.
    package var segment: Int?
    package var startedAt: Timestamp
    package var dialedAt: Timestamp?
    package var ringingAt: Timestamp?
    package var answeredAt: Timestamp?
    package var talkStartedAt: Timestamp?
    package var endedAt: Timestamp?
    package var ring: Int64
    package var talk: Int64
    package var hold: Int64
    package var cause: Int?
    package var sipCode: Int?
    package var endedEstimated: Bool
}

/// A row of `call_segments`.
package struct StoredSegment: Sendable, Hashable {
    package var number: Int
    /// See `SegmentKind`.
    package var kind: String
    package var name: String?
    /// See `LegResult`.
    package var result: String?
    /// Who answered, or handed the call on.
    package var by: String?
    /// See `TransferKind`.
    package var transfer: String?
    package var startedAt: Timestamp
    package var endedAt: Timestamp
}

/// Legs and parts of a call, each in their order.
package struct StoredParts: Sendable, Hashable {
    /// Legs of one call that are read; more are never kept.
    package static let maximumLegs = CallGraph.maximumLegsPerCall * 2

    package var legs: [StoredLeg] = []
    package var segments: [StoredSegment] = []

    package init() {}

    /// Only rows of the derivation that the call's row is of: what an older one of another daemon left counts nothing.
    static func legs(_ place: (Int) -> String) -> String {
        """
        SELECT \(LegColumn.allCases.filter(\.isRead).map { "p.\($0.column)" }.joined(separator: ", "))
        FROM call_legs AS p JOIN calls AS c ON c.call_id = p.call_id AND c.derived_at = p.derived_at
        WHERE p.call_id = \(place(1)) ORDER BY p.leg_no LIMIT \(maximumLegs)
        """
    }

    /// The same of several calls, with the call's key as the last column.
    static func legs(ofAll callIDs: String) -> String {
        """
        SELECT \(LegColumn.allCases.filter(\.isRead).map { "p.\($0.column)" }.joined(separator: ", ")), p.call_id
        FROM call_legs AS p JOIN calls AS c ON c.call_id = p.call_id AND c.derived_at = p.derived_at
        WHERE p.call_id = ANY (\(callIDs)) ORDER BY p.call_id, p.leg_no
        """
    }

    /// The same of several calls, with the call's key as the last column.
    static func segments(ofAll callIDs: String) -> String {
        """
        SELECT \(SegmentColumn.allCases.filter(\.isRead).map { "p.\($0.column)" }.joined(separator: ", ")), p.call_id
        FROM call_segments AS p JOIN calls AS c ON c.call_id = p.call_id AND c.derived_at = p.derived_at
        WHERE p.call_id = ANY (\(callIDs)) ORDER BY p.call_id, p.segment_no
        """
    }

    /// Where the key stands in these.
    static let legKeyPlace = LegColumn.allCases.filter(\.isRead).count
    static let segmentKeyPlace = SegmentColumn.allCases.filter(\.isRead).count

    static func segments(_ place: (Int) -> String) -> String {
        """
        SELECT \(SegmentColumn.allCases.filter(\.isRead).map { "p.\($0.column)" }.joined(separator: ", "))
        FROM call_segments AS p JOIN calls AS c ON c.call_id = p.call_id AND c.derived_at = p.derived_at
        WHERE p.call_id = \(place(1)) ORDER BY p.segment_no LIMIT \(CallSegment.maximumCount)
        """
    }
}

extension LegColumn {
    /// Whether it is part of `StoredLeg`; these are read in their order.
    var isRead: Bool { self != .callID && self != .derivedAt }
}

extension SegmentColumn {
    /// Whether it is part of `StoredSegment`.
    var isRead: Bool { self != .callID && self != .derivedAt }
}

/// One row of a result, whichever database it comes from; columns are read from the first on.
protocol StoredRow {
    func text(_ column: Int) -> String?
    func number(_ column: Int) -> Int64?
    func time(_ column: Int) -> Timestamp?
    func flag(_ column: Int) -> Bool?
    func id(_ column: Int) -> CallUUID?
}

extension StoredRow {
    /// A row of `CallListQuery.columns`.
    var call: StoredCall {
        func at(_ column: CallColumn) -> Int { CallListQuery.place(of: column) }
        var call = StoredCall(
            id: id(at(.id)) ?? CallUUID(high: 0, low: 0), callID: text(at(.callID)) ?? "",
            direction: text(at(.direction)), callerNumber: text(at(.callerNumber)),
            calleeNumber: text(at(.calleeNumber)), status: text(at(.status)) ?? "",
            startedAt: time(at(.startedAt)), answeredAt: time(at(.answeredAt)), endedAt: time(at(.endedAt)),
            insertedAt: time(at(.insertedAt)) ?? .zero, updatedAt: time(at(.updatedAt)) ?? .zero,
            bitrixCallID: text(CallListQuery.bitrixPlace), outcome: text(at(.outcome)),
            hangupCause: number(at(.hangupCause)).map { Int($0) }, pbx: text(at(.pbx)),
            endedEstimated: flag(at(.endedEstimated)) == true)
        call.facts.isPartial = flag(at(.partial)) == true
        call.facts.derivedAt = time(at(.derivedAt))
        call.facts.outcomeRule = text(at(.outcomeRule))
        call.facts.hungUpBy = text(at(.hungUpBy))
        call.facts.sipCode = number(at(.sipCode)).map { Int($0) }
        call.facts.ringStartedAt = time(at(.ringStartedAt))
        call.facts.talkStartedAt = time(at(.talkStartedAt))
        call.facts.wait = number(at(.wait))
        call.facts.ring = number(at(.ring))
        call.facts.talk = number(at(.talk))
        call.facts.hold = number(at(.hold))
        call.facts.postDial = number(at(.postDial))
        call.facts.answeredBy = text(at(.answeredBy))
        call.facts.operatorNumber = text(at(.operatorNumber))
        call.facts.transferredBy = text(at(.transferredBy))
        call.facts.transferredTo = text(at(.transferredTo))
        call.facts.queue = text(at(.queue))
        call.facts.attempts = number(at(.attempts)).map { Int($0) }
        call.facts.mergedInto = text(at(.mergedInto))
        call.facts.isIncomplete = flag(at(.incomplete)) == true
        return call
    }

    /// A row of `StoredParts.legs`.
    var leg: StoredLeg {
        func at(_ column: LegColumn) -> Int { column.rawValue - 1 }
        return StoredLeg(
            number: Int(number(at(.number)) ?? 0), channelID: text(at(.channelID)) ?? "",
            name: text(at(.name)), endNumber: text(at(.endNumber)), role: text(at(.role)) ?? "",
            result: text(at(.result)), evidence: text(at(.evidence)), pbx: text(at(.pbx)),
            dialedBy: text(at(.dialedBy)),
            cameFrom: text(at(.cameFrom)), segment: number(at(.segment)).map { Int($0) },
            startedAt: time(at(.startedAt)) ?? .zero, dialedAt: time(at(.dialedAt)),
            ringingAt: time(at(.ringingAt)), answeredAt: time(at(.answeredAt)),
            talkStartedAt: time(at(.talkStartedAt)), endedAt: time(at(.endedAt)),
            ring: number(at(.ring)) ?? 0, talk: number(at(.talk)) ?? 0, hold: number(at(.hold)) ?? 0,
            cause: number(at(.cause)).map { Int($0) }, sipCode: number(at(.sipCode)).map { Int($0) },
            endedEstimated: flag(at(.endedEstimated)) == true)
    }

    /// A row of `StoredParts.segments`.
    var segment: StoredSegment {
        func at(_ column: SegmentColumn) -> Int { column.rawValue - 1 }
        return StoredSegment(
            number: Int(number(at(.number)) ?? 0), kind: text(at(.kind)) ?? "", name: text(at(.name)),
            result: text(at(.result)), by: text(at(.by)), transfer: text(at(.transfer)),
            startedAt: time(at(.startedAt)) ?? .zero, endedAt: time(at(.endedAt)) ?? .zero)
    }
}
