import Simulator
import Testing

@Suite("Fake Bitrix24 §4: telephony.externalCall.register")
struct PortalRegisterTests {
    // §4.2: each check, in its order, with everything behind it wrong as well.

    @Test func checkOneAuthType() {
        var settings = PortalSettings()
        settings.authPolicy = .applicationOnly
        let driver = PortalDriver(settings)
        let answer = driver.register(["USER_PHONE_INNER": nil, "TYPE": "9"])
        #expect(answer.status == 403)
        #expect(answer.error == "WRONG_AUTH_TYPE")
    }

    @Test func checkTwoUserAndUnknownExtensionSayTheSame() {
        let driver = PortalDriver()
        for user in [nil, "", "555", "199"] as [String?] {
            let answer = driver.register(["USER_PHONE_INNER": user, "TYPE": "9"])
            #expect(answer.status == 400)
            #expect(answer.errorText == "USER_ID or USER_PHONE_INNER should be set", "for \(user ?? "none")")
        }
    }

    @Test func checkThreeType() {
        let driver = PortalDriver()
        for type in ["0", "6", "-1", "in", ""] {
            let answer = driver.register(["TYPE": type, "CALL_START_DATE": "soon"])
            #expect(answer.errorText == "Unknown TYPE")
        }
        for type in 1...5 {
            #expect(driver.register(["TYPE": "\(type)"]).status == 200)
        }
    }

    @Test func checkFourStartDate() {
        let driver = PortalDriver()
        let answer = driver.register(["CALL_START_DATE": "soon", "PHONE_NUMBER": "anonymous"])
        #expect(answer.errorText == "CALL_START_DATE should be in the ISO-8601 format")
    }

    @Test(arguments: ["anonymous", "unknown", "", "0", "s", "()"])
    func checkFiveNumber(number: String) {
        let driver = PortalDriver()
        let answer = driver.register(["PHONE_NUMBER": number, "USER_ID": "9"])
        #expect(answer.status == 400)
        #expect(answer.errorText == "Unsupported phone number format")
    }

    @Test func checkSixActiveUserAndUserIDWinsEvenIfWrong() {
        let driver = PortalDriver()
        for user in ["9", "4711"] {
            let answer = driver.register(["USER_ID": user])
            #expect(answer.errorText == "User is not found or is not active")
        }
        #expect(driver.register(["USER_ID": "0"]).status == 200, "zero is as good as none")
        #expect(driver.portal.activeCalls.count == 1)
    }

    @Test func callIDIsThePortalsOwn() throws {
        let driver = PortalDriver()
        let callID = driver.register(["CALL_ID": "mine"]).callID
        let parts = callID.split(separator: ".")
        #expect(parts.count == 3)
        #expect(parts.first == "externalCall")
        #expect(parts[1].count == 32)
        #expect(!parts[1].contains { !$0.isHexDigit })
        #expect(parts[2] == "1790000000")
    }

    @Test func nothingFoundAndNothingMade() {
        let driver = PortalDriver()
        let answer = driver.register()
        #expect(answer.text.contains(#""CRM_CREATED_LEAD":null"#))
        #expect(answer.text.contains(#""CRM_ENTITY_TYPE":"","CRM_ENTITY_ID":null"#))
        #expect(driver.portal.entities.isEmpty)
    }

    @Test func leadIsMadeForAnUnknownNumberOnly() throws {
        let driver = PortalDriver()
        let answer = driver.register(["CRM_CREATE": "1", "CRM_SOURCE": "WEB"])
        let lead = try #require(driver.portal.entities.first)
        #expect(answer.result["CRM_CREATED_LEAD"] as? Int == lead.id)
        #expect(lead.responsibleID == 7)
        #expect(lead.source == "WEB")
        let again = driver.register(["CRM_CREATE": "1", "EXTERNAL_CALL_ID": "other"])
        #expect(again.text.contains(#""CRM_CREATED_LEAD":null"#))
        #expect(again.result["CRM_ENTITY_ID"] as? Int == lead.id)
        #expect(driver.portal.entities.count == 1)
    }

    @Test func unknownSourceBecomesCall() {
        let driver = PortalDriver()
        _ = driver.register(["CRM_CREATE": "1", "CRM_SOURCE": "NO_SUCH"])
        #expect(driver.portal.entities.first?.source == "CALL")
    }

    @Test func simpleCRMMakesContactAndDeal() {
        var settings = PortalSettings()
        settings.crmMode = .simple
        let driver = PortalDriver(settings)
        let answer = driver.register(["CRM_CREATE": "1"])
        #expect(answer.text.contains(#""CRM_CREATED_LEAD":null"#))
        #expect(driver.portal.entities.map(\.kind) == [.contact, .deal])
        #expect((answer.result["CRM_CREATED_ENTITIES"] as? [Any])?.count == 2)
    }

    @Test func employeesAreNoCustomers() {
        var settings = PortalSettings()
        settings.users[1].phones = ["79995550202"]
        let driver = PortalDriver(settings)
        let mobile = driver.register(["CRM_CREATE": "1", "PHONE_NUMBER": "+79995550202"])
        #expect(mobile.status == 200)
        #expect(
            mobile.result["LEAD_CREATION_ERROR"] as? String == "Lead creation is disabled for local users")
        let inner = driver.register(["CRM_CREATE": "1", "PHONE_NUMBER": "102"])
        #expect(inner.status == 200)
        #expect(driver.portal.entities.isEmpty)
        #expect(driver.portal.activeCalls[inner.callID]?.isInternal == true)
    }

    @Test func cardIsShownUnlessTold() {
        let driver = PortalDriver()
        _ = driver.register(["SHOW": nil])
        #expect(driver.portal.cards[7]?.count == 1)
        _ = driver.register(["SHOW": "0", "USER_PHONE_INNER": "102"])
        #expect(driver.portal.cards[8] == nil)
    }

    @Test func lineIsMadeSilentlyAndCut() {
        let driver = PortalDriver()
        _ = driver.register(["LINE_NUMBER": " 74950000001 "])
        _ = driver.register(["LINE_NUMBER": String(repeating: "9", count: 60), "EXTERNAL_CALL_ID": "b"])
        #expect(driver.portal.lines == ["74950000001", String(repeating: "9", count: 50)])
    }

    @Test func startDateWithoutOffsetIsThePortalsZone() {
        let driver = PortalDriver()
        let plain = driver.register(["CALL_START_DATE": "2026-09-21T17:13:20"])
        #expect(driver.portal.activeCalls[plain.callID]?.startDate == 1_790_000_000)
        let offset = driver.register([
            "CALL_START_DATE": "2026-09-21T17:13:20+05:00", "EXTERNAL_CALL_ID": "b",
        ])
        #expect(driver.portal.activeCalls[offset.callID]?.startDate == 1_790_000_000 - 7200)
    }
}

@Suite("Fake Bitrix24 §4.4: a registration sent again")
struct PortalRepeatTests {
    @Test func sameCallSameAnswer() {
        let driver = PortalDriver()
        let first = driver.register(["CRM_CREATE": "1"])
        driver.advance(60)
        let second = driver.register(["CRM_CREATE": "0"])
        #expect(first.callID == second.callID)
        #expect(driver.portal.activeCalls.count == 1)
        #expect(driver.effects.contains(.registrationRepeated(callID: first.callID)))
        #expect(driver.portal.entities.count == 1)
    }

    @Test(arguments: [
        ["USER_PHONE_INNER": "102"], ["PHONE_NUMBER": "89995550101"], ["TYPE": "1"],
        ["LINE_NUMBER": "other"], ["EXTERNAL_CALL_ID": "pbx1-other"],
    ])
    func anythingDifferentIsAnotherCall(change: [String: String]) {
        let driver = PortalDriver()
        let first = driver.register(["LINE_NUMBER": "line"])
        var changes: [String: String?] = ["LINE_NUMBER": "line"]
        for (name, value) in change { changes[name] = value }
        #expect(driver.register(changes).callID != first.callID)
        #expect(driver.portal.activeCalls.count == 2)
    }

    @Test func numbersAreComparedStripped() {
        let driver = PortalDriver()
        let first = driver.register(["PHONE_NUMBER": "+7 (999) 555-01-01"])
        #expect(driver.register(["PHONE_NUMBER": "+79995550101"]).callID == first.callID)
    }

    @Test func windowRunsFromTheStartDate() {
        let driver = PortalDriver()
        let first = driver.register()
        driver.advance(29 * 60)
        #expect(driver.register().callID == first.callID)
        driver.advance(2 * 60)
        #expect(driver.register().callID != first.callID)
    }

    @Test func lateRegistrationIsNeverRecognised() {
        let driver = PortalDriver()
        let old = ["CALL_START_DATE": "2026-09-21T13:00:00+00:00"] as [String: String?]
        let first = driver.register(old)
        #expect(driver.register(old).callID != first.callID)
    }

    @Test func afterFinishItIsANewCall() {
        let driver = PortalDriver()
        let first = driver.register()
        #expect(driver.finish(first.callID).status == 200)
        #expect(driver.register().callID != first.callID)
    }

    @Test func withoutAnIDTwoCallsCollapse() {
        let driver = PortalDriver()
        let first = driver.register(["EXTERNAL_CALL_ID": nil])
        driver.advance(300)
        let second = driver.register(["EXTERNAL_CALL_ID": nil, "CALL_START_DATE": nil])
        #expect(first.callID == second.callID)
        #expect(driver.finish(first.callID).status == 200)
        #expect(driver.finish(second.callID).errorText?.hasPrefix("Call is not found") == true)
    }
}
