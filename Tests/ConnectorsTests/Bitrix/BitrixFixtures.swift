import CallEngine
import Connectors
import Protocols

/// Calls and configurations as the tests of this folder use them.
enum BitrixFixtures {
    static let secret = "s3cr3tt0k3n"
    /// 2026-09-21 14:13:20 UTC.
    static let start = Timestamp(microseconds: 1_790_000_000_000_000)

    static func configuration(
        _ change: (inout BitrixConfiguration) -> Void = { _ in }
    ) throws -> BitrixConfiguration {
        let webhook = try BitrixWebhook("https://portal.example/rest/1/\(secret)/")
        var configuration = BitrixConfiguration(webhook: webhook)
        change(&configuration)
        return configuration
    }

    static func call(
        _ id: String = "1790000000.31", _ direction: CallDirection = .inbound,
        from caller: String? = "+79995550101",
        to callee: String? = "101"
    ) -> CRMCall {
        CRMCall(
            callID: id, direction: direction, callerNumber: caller, calleeNumber: callee, startedAt: start)
    }

    /// The call ended after `seconds` from its start, having talked the last `talk` of them.
    static func ended(
        _ call: CRMCall, _ outcome: CallOutcome = .answered, after seconds: Int64 = 70, talk: Int64? = 61,
        cause: UInt16 = 16
    ) -> CRMCall {
        var call = call
        let end = Timestamp(microseconds: call.startedAt.microseconds + seconds * 1_000_000)
        call.endedAt = end
        call.answeredAt = talk.map { Timestamp(microseconds: end.microseconds - $0 * 1_000_000) }
        call.outcome = outcome
        call.hangupCause = cause
        return call
    }
}
