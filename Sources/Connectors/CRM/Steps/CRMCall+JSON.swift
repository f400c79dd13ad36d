package import CallEngine
import Protocols

extension CRMCall {
    /// The call as a step's row keeps it: an object of what is known, times in microseconds since 1970 UTC.
    ///
    /// Reads back what it wrote; members that it does not know are passed over, so that a newer version's rows can
    /// be read, and those that lack are unknown.
    package var json: [UInt8] {
        var writer = JSONWriter(appendingTo: Self.buffer())
        writer.beginObject()
        writer.member("id", callID)
        writer.known("part_of", wholeID)
        if isCallBack { writer.member("callback", true) }
        writer.member("direction", "\(direction.name)")
        writer.known("caller", callerNumber)
        writer.known("callee", calleeNumber)
        writer.member("started_us", startedAt.microseconds)
        writer.known("answered_us", answeredAt?.microseconds)
        writer.known("ended_us", endedAt?.microseconds)
        if outcome != .none { writer.member("outcome", "\(outcome.name)") }
        if hangupCause != 0 { writer.member("cause", hangupCause) }
        if outcomeRule != .none { writer.member("rule", outcomeRule.rawValue) }
        if sipCode != 0 { writer.member("sip", sipCode) }
        if hungUpBy != .nobody { writer.member("hung_up_by", "\(hungUpBy.name)") }
        writer.known("talk_us", talkMicroseconds)
        writer.known("talk_started_us", talkStartedAt?.microseconds)
        writer.known("answered_by", answeredBy)
        writer.known("operator", operatorNumber)
        writer.known("transferred_by", transferredBy)
        writer.known("transferred_to", transferredTo)
        writer.known("queue", queue)
        writer.known("last_rung", lastRung)
        if !talks.isEmpty {
            writer.array("talks") { list in
                for talk in talks {
                    list.object {
                        $0.member("number", talk.number)
                        $0.member("started_us", talk.startedAt.microseconds)
                        $0.member("ended_us", talk.endedAt.microseconds)
                    }
                }
            }
        }
        if !telephones.isEmpty {
            writer.array("telephones") { list in for number in telephones { list.string(number) } }
        }
        writer.endObject()
        return writer.output
    }

    /// Usual size of the text.
    private static let usualBytes = 384

    private static func buffer() -> [UInt8] {
        var buffer: [UInt8] = []
        buffer.reserveCapacity(usualBytes)
        return buffer
    }

    /// Reads what ``json`` wrote; `nil` for anything else.
    package init?(json text: [UInt8]) {
        guard let value = try? JSONValue.parse(text.span.bytes), let id = value["id"]?.string,
            let start = value["started_us"]?.int
        else { return nil }
        func time(_ key: String) -> Timestamp? { value[key]?.int.map { Timestamp(microseconds: $0) } }
        func number(_ key: String) -> UInt16 { value[key]?.int.flatMap { UInt16(exactly: $0) } ?? 0 }
        let direction = value["direction"]?.string
        let outcome = value["outcome"]?.string
        let hungUpBy = value["hung_up_by"]?.string
        self.init(
            callID: id, direction: CallDirection.allCases.first { "\($0.name)" == direction } ?? .unknown,
            callerNumber: value["caller"]?.string, calleeNumber: value["callee"]?.string,
            startedAt: Timestamp(microseconds: start), answeredAt: time("answered_us"),
            endedAt: time("ended_us"),
            outcome: CallOutcome.allCases.first { "\($0.name)" == outcome } ?? .none,
            hangupCause: number("cause"))
        outcomeRule =
            value["rule"]?.int.flatMap { UInt8(exactly: $0) }.flatMap { .init(rawValue: $0) } ?? .none
        sipCode = number("sip")
        self.hungUpBy = HungUpBy.allCases.first { "\($0.name)" == hungUpBy } ?? .nobody
        talkMicroseconds = value["talk_us"]?.int
        talkStartedAt = time("talk_started_us")
        answeredBy = value["answered_by"]?.string
        operatorNumber = value["operator"]?.string
        transferredBy = value["transferred_by"]?.string
        transferredTo = value["transferred_to"]?.string
        queue = value["queue"]?.string
        isCallBack = value["callback"]?.bool ?? false
        wholeID = value["part_of"]?.string
        lastRung = value["last_rung"]?.string
        telephones = value["telephones"]?.array?.compactMap(\.string) ?? []
        talks = (value["talks"]?.array ?? []).compactMap { talk in
            guard let number = talk["number"]?.string, let start = talk["started_us"]?.int,
                let end = talk["ended_us"]?.int
            else { return nil }
            return CRMTalk(
                number: number, startedAt: Timestamp(microseconds: start),
                endedAt: Timestamp(microseconds: end))
        }
    }
}

extension JSONWriter {
    /// A member, or none for what is not known.
    fileprivate mutating func known(_ key: String, _ value: String?) {
        if let value { member(key, value) }
    }

    fileprivate mutating func known(_ key: String, _ value: Int64?) {
        if let value { member(key, value) }
    }
}
