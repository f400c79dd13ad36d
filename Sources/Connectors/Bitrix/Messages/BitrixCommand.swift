package import CallEngine
import Protocols

/// The methods that the client calls.
package enum BitrixMethod: String, Sendable, Hashable, CaseIterable {
    case register = "telephony.externalcall.register"
    case finish = "telephony.externalcall.finish"
    case show = "telephony.externalcall.show"
    case hide = "telephony.externalcall.hide"
    case attachRecord = "telephony.externalcall.attachrecord"
    case statistics = "voximplant.statistic.get"
    case users = "user.get"
    case search = "telephony.externalcall.searchcrmentities"
    /// Several commands in one request.
    case batch = "batch"
}

/// One REST call: a method and its parameters, in order.
///
/// As a form body it is a request of its own; ``batchText`` is the same call as a command inside `batch`.
package struct BitrixCommand: Sendable, Hashable {
    /// What is called.
    package var method: BitrixMethod
    /// The parameters, not yet encoded.
    package var parameters: [Parameter]

    /// A name and its value.
    package struct Parameter: Sendable, Hashable {
        package var name: String
        package var value: String
    }

    /// The value of a parameter.
    package subscript(name: String) -> String? {
        parameters.first { $0.name == name }?.value
    }

    /// The body, `application/x-www-form-urlencoded`.
    package var formBody: [UInt8] {
        var body: [UInt8] = []
        query.encode(into: &body)
        return body
    }

    /// `method?parameters`, as `batch` wants its commands.
    package var batchText: String { "\(method.rawValue)?\(query.encoded)" }

    private var query: Query {
        Query(parameters.map { Query.Item(name: $0.name, value: $0.value) })
    }
}

extension BitrixCommand {
    /// `telephony.externalCall.register`.
    ///
    /// - Parameters:
    ///   - call: The call; its start is sent with an offset, so that the portal's zone does not matter.
    ///   - facts: The call as the portal shall see it; unchanged in a repeat.
    ///   - showsCard: Whether the card pops up now.
    ///   - portalIsAhead: By how much the portal's clock is wrong. It holds the start against its own time of day when it
    ///     decides whether a registration is a repeat.
    package static func register(
        _ call: CRMCall, as facts: BitrixCallFacts, showsCard: Bool, portalIsAhead: Duration = .zero,
        configuration: BitrixConfiguration
    ) -> BitrixCommand {
        var command = BitrixCommand(method: .register, parameters: [])
        command.add(facts.user)
        command.add("PHONE_NUMBER", facts.phoneNumber)
        command.add("TYPE", String(facts.type.rawValue))
        command.add(
            "CALL_START_DATE",
            startDate(Timestamp(microseconds: call.startedAt.microseconds + portalIsAhead.wholeMicroseconds)))
        command.add("CRM_CREATE", configuration.createsLead ? "1" : "0")
        if let source = configuration.source { command.add("CRM_SOURCE", source) }
        command.add("SHOW", showsCard ? "1" : "0")
        if let line = facts.lineNumber { command.add("LINE_NUMBER", line) }
        command.add("EXTERNAL_CALL_ID", externalCallID(of: call, configuration: configuration))
        return command
    }

    /// `telephony.externalCall.finish`.
    ///
    /// - Parameters:
    ///   - call: The ended call.
    ///   - bitrixCallID: The `CALL_ID` that `register` answered.
    ///   - facts: Type and user of the register.
    package static func finish(
        _ call: CRMCall, bitrixCallID: String, as facts: BitrixCallFacts, configuration: BitrixConfiguration
    ) -> BitrixCommand {
        let ending = BitrixEnding(of: call, type: facts.type)
        var command = BitrixCommand(method: .finish, parameters: [])
        command.add("CALL_ID", bitrixCallID)
        command.add(facts.user)
        command.add("DURATION", String(ending.duration))
        command.add("STATUS_CODE", ending.statusCode)
        if let reason = ending.failedReason { command.add("FAILED_REASON", reason) }
        command.add("ADD_TO_CHAT", configuration.addsToChat ? "1" : "0")
        return command
    }

    /// `telephony.externalCall.show`: pops the card up.
    package static func show(_ bitrixCallID: String, to users: [Int]) -> BitrixCommand {
        card(.show, bitrixCallID, users)
    }

    /// `telephony.externalCall.hide`; without users for whoever the call was registered for.
    package static func hide(_ bitrixCallID: String, from users: [Int]) -> BitrixCommand {
        card(.hide, bitrixCallID, users)
    }

    /// `telephony.externalCall.attachRecord`, the first of two steps: the portal answers where the file is to be sent.
    package static func attachRecord(_ bitrixCallID: String, name: String) -> BitrixCommand {
        var command = BitrixCommand(method: .attachRecord, parameters: [])
        command.add("CALL_ID", bitrixCallID)
        command.add("FILENAME", name)
        return command
    }

    /// The same with an address from which the portal fetches the file itself.
    package static func attachRecord(_ bitrixCallID: String, address: String) -> BitrixCommand {
        var command = BitrixCommand(method: .attachRecord, parameters: [])
        command.add("CALL_ID", bitrixCallID)
        command.add("RECORD_URL", address)
        return command
    }

    private static func card(_ method: BitrixMethod, _ bitrixCallID: String, _ users: [Int]) -> BitrixCommand
    {
        var command = BitrixCommand(method: method, parameters: [])
        command.add("CALL_ID", bitrixCallID)
        for (index, user) in users.enumerated() { command.add("USER_ID[\(index)]", String(user)) }
        return command
    }

    /// The users of ``show(_:to:)`` and ``hide(_:from:)``.
    package var users: [Int] {
        parameters.compactMap { $0.name.hasPrefix("USER_ID[") ? Int($0.value) : nil }
    }

    /// `voximplant.statistic.get` for one call: whether it was finished, in which case the answer has its row.
    package static func lookup(_ call: CRMCall, configuration: BitrixConfiguration) -> BitrixCommand {
        var command = BitrixCommand(method: .statistics, parameters: [])
        command.add(
            "FILTER[EXTERNAL_CALL_ID]", externalCallID(of: call, configuration: configuration))
        return command
    }

    /// `voximplant.statistic.get` for nothing: tells only whether the statistics may be read.
    package static let statisticsProbe = BitrixCommand(
        method: .statistics, parameters: [Parameter(name: "FILTER[ID]", value: "0")])

    /// `telephony.externalCall.searchCrmEntities`: who in the CRM has the number, and who is responsible for them.
    package static func search(_ phoneNumber: String) -> BitrixCommand {
        BitrixCommand(method: .search, parameters: [Parameter(name: "PHONE_NUMBER", value: phoneNumber)])
    }

    /// `user.get`, one page of the active employees.
    ///
    /// - Parameter start: The first row of the page; the portal's pages have 50.
    package static func users(start: Int) -> BitrixCommand {
        BitrixCommand(
            method: .users,
            parameters: [
                Parameter(name: "FILTER[ACTIVE]", value: "true"),
                Parameter(name: "sort", value: "ID"), Parameter(name: "order", value: "ASC"),
                Parameter(name: "start", value: String(start)),
            ])
    }

    /// `<pbx>-<call id>`: the one handle by which the portal recognises a repeated register.
    package static func externalCallID(of call: CRMCall, configuration: BitrixConfiguration) -> String {
        "\(configuration.pbxName)-\(call.callID)"
    }

    /// `2026-11-22T10:40:32+00:00`: ISO 8601 with a numeric offset; without one the portal's own zone would be
    /// taken.
    static func startDate(_ timestamp: Timestamp) -> String {
        timestamp.formatted(.seconds).dropLast() + "+00:00"
    }

    private mutating func add(_ name: String, _ value: String) {
        parameters.append(Parameter(name: name, value: value))
    }

    private mutating func add(_ user: BitrixUser) {
        switch user {
        case .phoneInner(let number): add("USER_PHONE_INNER", number)
        case .userID(let id): add("USER_ID", String(id))
        }
    }
}
