package import CallEngine

extension CRMCall {
    /// A call as it stands in the database; nil when it has no start, which only another daemon's can lack.
    package init?(stored: StoredCall) {
        guard let startedAt = stored.startedAt else { return nil }
        let direction = CallDirection.allCases.first { "\($0.name)" == stored.direction } ?? .unknown
        let outcome = CallOutcome.allCases.first { "\($0.name)" == stored.outcome } ?? .none
        self.init(
            callID: stored.callID, direction: direction, callerNumber: stored.callerNumber,
            calleeNumber: stored.calleeNumber, startedAt: startedAt, answeredAt: stored.answeredAt,
            endedAt: stored.endedAt, outcome: outcome,
            hangupCause: stored.hangupCause.flatMap { UInt16(exactly: $0) } ?? 0)
    }
}
