import CallEngine
import Connectors
import Protocols
import Testing

@Suite("Bitrix24: the customer's number, our side, the direction")
struct BitrixMappingTests {
    private func facts(
        _ call: CRMCall, _ change: (inout BitrixConfiguration) -> Void = { _ in }
    ) throws -> BitrixReading {
        BitrixCallFacts.reading(call, configuration: try BitrixFixtures.configuration(change))
    }

    @Test func inboundToAnExtension() throws {
        let reading = try facts(BitrixFixtures.call("a", .inbound, from: "+79995550101", to: "214"))
        #expect(
            reading
                == .call(
                    .init(
                        type: .incoming, phoneNumber: "+79995550101", user: .phoneInner("214"),
                        lineNumber: nil, userHasPhone: true)))
    }

    @Test func inboundToTheCompanysNumberGoesToTheFallbackUser() throws {
        let call = BitrixFixtures.call("a", .inbound, from: "+79995550101", to: "74950000001")
        #expect(
            try facts(call)
                == .call(
                    .init(
                        type: .incoming, phoneNumber: "+79995550101", user: .userID(1),
                        lineNumber: "74950000001")))
        #expect(
            try facts(call) { $0.defaultUserID = 12 }
                == .call(
                    .init(
                        type: .incoming, phoneNumber: "+79995550101", user: .userID(12),
                        lineNumber: "74950000001")))
    }

    @Test func outboundSwapsTheSides() throws {
        let reading = try facts(BitrixFixtures.call("a", .outbound, from: "214", to: "+79995550101"))
        #expect(
            reading
                == .call(
                    .init(
                        type: .outgoing, phoneNumber: "+79995550101", user: .phoneInner("214"),
                        lineNumber: nil, userHasPhone: true)))
    }

    @Test func outboundFromATrunkNumber() throws {
        let reading = try facts(BitrixFixtures.call("a", .outbound, from: "74950000001", to: "79995550101"))
        #expect(
            reading
                == .call(
                    .init(
                        type: .outgoing, phoneNumber: "79995550101", user: .userID(1),
                        lineNumber: "74950000001")))
    }

    @Test(arguments: [
        ("214", "79995550101", BitrixCallFacts.CallType.outgoing, "79995550101"),
        ("79995550101", "214", .incoming, "79995550101"),
        ("79995550101", "74950000001", .incoming, "79995550101"),
        ("900", "74950000001", .outgoing, "74950000001"),
    ])
    func unknownDirectionIsDecidedByTheCaller(
        caller: String, callee: String, type: BitrixCallFacts.CallType, customer: String
    ) throws {
        guard case .call(let facts) = try facts(BitrixFixtures.call("a", .unknown, from: caller, to: callee))
        else {
            Issue.record("skipped")
            return
        }
        #expect(facts.type == type)
        #expect(facts.phoneNumber == customer)
    }

    @Test func toldDirectionStandsAboveTheLookOfNumbers() throws {
        // A bank's short number calls the company.
        let reading = try facts(BitrixFixtures.call("a", .inbound, from: "900", to: "74950000001"))
        #expect(
            reading
                == .call(
                    .init(type: .incoming, phoneNumber: "900", user: .userID(1), lineNumber: "74950000001")))
    }

    @Test(arguments: [CallDirection.inbound, .outbound, .unknown])
    func internalCallsAreSkippedUnlessAskedFor(direction: CallDirection) throws {
        let call = BitrixFixtures.call("a", direction, from: "101", to: "102")
        #expect(try facts(call) == .skip(.internalCall))
        guard case .call(let told) = try facts(call, { $0.registersInternalCalls = true }) else {
            Issue.record("skipped although asked for")
            return
        }
        #expect(told.type == (direction == .inbound ? .incoming : .outgoing))
    }

    @Test(arguments: [nil, "", "anonymous", "Anonymous", "unknown", "0", "  ", "s"] as [String?])
    func hiddenCallersAreSkippedOrGivenTheDummy(number: String?) throws {
        let call = BitrixFixtures.call("a", .inbound, from: number, to: "214")
        #expect(try facts(call) == .skip(.hiddenNumber))
        guard case .call(let told) = try facts(call, { $0.hiddenNumber = "+70000000000" }) else {
            Issue.record("skipped in spite of the dummy")
            return
        }
        #expect(told.phoneNumber == "+70000000000")
    }

    @Test func ourSideMissingGoesToTheFallbackUserWithTheSetLine() throws {
        let reading = try facts(BitrixFixtures.call("a", .inbound, from: "+79995550101", to: "s")) {
            $0.lineNumber = "main"
        }
        #expect(
            reading
                == .call(
                    .init(type: .incoming, phoneNumber: "+79995550101", user: .userID(1), lineNumber: "main"))
        )
    }

    @Test func extensionsAreShortAndDigitsOnly() {
        for (text, expected) in [
            ("1", true), ("0214", true), ("21400", false), ("", false), ("21a", false), ("+21", false),
            ("*60", false),
        ] {
            #expect(PhoneNumber.isExtension(text, maximumDigits: 4) == expected, "\(text)")
        }
        #expect(PhoneNumber.isExtension("21400", maximumDigits: 5))
    }

    @Test func ourIdeaOfAHiddenNumberIsThePortals() {
        for (text, expected) in [
            ("+7 (999) 555-01-01", "+79995550101"), ("*60#", "*60#"), ("anonymous", ""), ("12,3;4", "12,3;4"),
        ] {
            #expect(PhoneNumber.stripped(text) == expected)
        }
    }
}

@Suite("Bitrix24: what register and finish carry")
struct BitrixCommandTests {
    private func register(
        _ call: CRMCall, showsCard: Bool = true, _ change: (inout BitrixConfiguration) -> Void = { _ in }
    ) throws -> BitrixCommand {
        let configuration = try BitrixFixtures.configuration(change)
        guard case .call(let facts) = BitrixCallFacts.reading(call, configuration: configuration) else {
            throw BitrixConfigurationError(variable: "", problem: "skipped")
        }
        return .register(call, as: facts, showsCard: showsCard, configuration: configuration)
    }

    @Test func registerOfAnIncomingCall() throws {
        let command = try register(
            BitrixFixtures.call("1790000000.31", .inbound, from: "+79995550101", to: "101"))
        #expect(
            String(decoding: command.formBody, as: UTF8.self)
                == "USER_PHONE_INNER=101&PHONE_NUMBER=%2B79995550101&TYPE=2"
                + "&CALL_START_DATE=2026-09-21T14%3A13%3A20%2B00%3A00&CRM_CREATE=1&SHOW=1"
                + "&EXTERNAL_CALL_ID=pbx1-1790000000.31")
        #expect(command["CALL_ID"] == nil, "the portal issues it")
        #expect(command["USER_ID"] == nil, "it would win over the extension")
    }

    @Test func registerCarriesTheSettings() throws {
        let command = try register(
            BitrixFixtures.call("x", .inbound, from: "+79995550101", to: "74950000001"), showsCard: false
        ) {
            $0.createsLead = false
            $0.source = "WEB"
            $0.pbxName = "office"
        }
        #expect(command["CRM_CREATE"] == "0")
        #expect(command["CRM_SOURCE"] == "WEB")
        #expect(command["SHOW"] == "0")
        #expect(command["USER_ID"] == "1")
        #expect(command["USER_PHONE_INNER"] == nil)
        #expect(command["LINE_NUMBER"] == "74950000001")
        #expect(command["EXTERNAL_CALL_ID"] == "office-x")
    }

    @Test func finishHasThePortalsIDTheUserAndAnExplicitChatFlag() throws {
        let configuration = try BitrixFixtures.configuration()
        let call = BitrixFixtures.ended(BitrixFixtures.call())
        let facts = BitrixCallFacts(
            type: .incoming, phoneNumber: "+79995550101", user: .phoneInner("101"), lineNumber: nil)
        let command = BitrixCommand.finish(
            call, bitrixCallID: "externalCall.ab.1", as: facts, configuration: configuration)
        #expect(
            String(decoding: command.formBody, as: UTF8.self)
                == "CALL_ID=externalCall.ab.1&USER_PHONE_INNER=101&DURATION=61&STATUS_CODE=200&ADD_TO_CHAT=0")
    }

    @Test func batchTextIsTheSameCallInOneLine() throws {
        let command = try register(BitrixFixtures.call())
        #expect(
            command.batchText
                == "telephony.externalcall.register?" + String(decoding: command.formBody, as: UTF8.self))
    }

    @Test(arguments: [
        (CallOutcome.answered, "200", "200"), (.abandoned, "304", "304"), (.noAnswer, "304", "480"),
        (.busy, "486", "486"), (.rejected, "603", "603"), (.cancelled, "603-S", "603-S"),
        (.numberInvalid, "404", "404"), (.unavailable, "480", "480"), (.congestion, "503", "503"),
        (.failed, "OTHER", "OTHER"), (.lost, "OTHER", "OTHER"), (.none, "304", "480"),
    ])
    func statusByOutcomeAndDirection(outcome: CallOutcome, incoming: String, outgoing: String) {
        let isAnswered = outcome == .answered
        let call = BitrixFixtures.ended(BitrixFixtures.call(), outcome, talk: isAnswered ? 61 : nil)
        let inEnding = BitrixEnding(of: call, type: .incoming)
        let outEnding = BitrixEnding(of: call, type: .outgoing)
        #expect(inEnding.statusCode == incoming)
        #expect(outEnding.statusCode == outgoing)
        #expect(inEnding.duration == (isAnswered ? 61 : 0))
        #expect((inEnding.failedReason == nil) == isAnswered)
    }

    @Test func everyOutcomeHasAStatus() {
        for outcome in CallOutcome.allCases {
            let call = BitrixFixtures.ended(BitrixFixtures.call(), outcome, talk: nil)
            #expect(!BitrixEnding(of: call, type: .incoming).statusCode.isEmpty)
        }
    }

    @Test func onlyAnsweredCallsHaveADuration() {
        // The queue answered by machine, nobody talked: a channel was up for a minute.
        let abandoned = BitrixFixtures.ended(BitrixFixtures.call(), .abandoned, after: 70, talk: 60)
        #expect(BitrixEnding(of: abandoned, type: .incoming).duration == 0)
        // Hung up within the first second of talk: with 0 the portal would call it missed.
        let brief = BitrixFixtures.ended(BitrixFixtures.call(), .answered, talk: 0)
        #expect(BitrixEnding(of: brief, type: .incoming).duration == 1)
    }

    @Test func causeIsInTheReason() {
        let busy = BitrixFixtures.ended(BitrixFixtures.call(), .busy, talk: nil, cause: 17)
        #expect(BitrixEnding(of: busy, type: .outgoing).failedReason == "Busy (cause 17)")
        let unknown = BitrixFixtures.ended(BitrixFixtures.call(), .busy, talk: nil, cause: 0)
        #expect(BitrixEnding(of: unknown, type: .outgoing).failedReason == "Busy")
    }
}
