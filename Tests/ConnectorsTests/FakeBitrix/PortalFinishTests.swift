import Foundation
import Simulator
import Testing

@Suite("Fake Bitrix24 §5: telephony.externalCall.finish")
struct PortalFinishTests {
    @Test func checkOneAuthType() {
        let driver = PortalDriver()
        let callID = driver.register().callID
        driver.portal.settings.authPolicy = .applicationOnly
        #expect(driver.finish(callID).error == "WRONG_AUTH_TYPE")
    }

    @Test func checkTwoUser() {
        let driver = PortalDriver()
        let callID = driver.register().callID
        for user in ["", "555"] {
            let answer = driver.finish(callID, ["USER_PHONE_INNER": user])
            #expect(answer.status == 400)
            #expect(answer.errorText == "USER_ID or USER_PHONE_INNER should be set")
        }
        #expect(driver.portal.activeCalls.count == 1)
    }

    @Test func checkThreeCallIDIsAText() {
        let driver = PortalDriver()
        let answer = driver.call(
            "telephony.externalcall.finish", ["CALL_ID[x]": "1", "USER_PHONE_INNER": "101"])
        #expect(answer.status == 400)
        #expect(answer.error == "INVALID_ARGUMENT")
        #expect(answer.errorText == "CALL_ID must be a string")
    }

    @Test func checkFourCallAndTheMissingBracket() {
        let driver = PortalDriver()
        let answer = driver.finish("pbx1-1790000000.31", ["USER_ID": "9"])
        #expect(answer.status == 400)
        #expect(answer.errorText == "Call is not found (call should be registered prior to finishing")
    }

    @Test func checkFiveActiveUser() {
        let driver = PortalDriver()
        let callID = driver.register().callID
        #expect(driver.finish(callID, ["USER_ID": "9"]).errorText == "User is not found or is not active")
        #expect(driver.portal.activeCalls.count == 1)
    }

    @Test func finishIsNotIdempotent() {
        let driver = PortalDriver()
        let callID = driver.register().callID
        #expect(driver.finish(callID).status == 200)
        let second = driver.finish(callID)
        #expect(second.status == 400)
        #expect(second.errorText?.hasPrefix("Call is not found") == true)
        #expect(driver.portal.statistics.count == 1)
    }

    @Test func rowIsTheAnswer() {
        let driver = PortalDriver()
        let callID = driver.register(["CRM_CREATE": "1", "LINE_NUMBER": "74950000001"]).callID
        let answer = driver.finish(callID)
        #expect(answer.result["INCOMING"] as? String == "2")
        #expect(answer.result["CALL_DURATION"] as? Int == 61)
        #expect(answer.result["PORTAL_NUMBER"] as? String == "74950000001")
        #expect(answer.result["PORTAL_USER_ID"] as? Int == 7)
        #expect(answer.result["CALL_FAILED_CODE"] as? String == "200")
        #expect(answer.text.contains(#""CALL_START_DATE":{}"#))
        #expect(answer.result["CRM_ACTIVITY_ID"] is Int)
    }

    @Test func statusIsReadOffTheDurationAlone() {
        let driver = PortalDriver()
        let ringing = driver.register().callID
        #expect(
            driver.finish(ringing, ["DURATION": "20", "STATUS_CODE": "304"]).result["CALL_STATUS"] as? Int
                == 1)
        let short = driver.register(["EXTERNAL_CALL_ID": "b"]).callID
        #expect(
            driver.finish(short, ["DURATION": "0", "STATUS_CODE": "200"]).result["CALL_STATUS"] as? Int == 0)
    }

    @Test func statusCodeHasDefaults() {
        let driver = PortalDriver()
        let talked = driver.register().callID
        #expect(driver.finish(talked, ["STATUS_CODE": ""]).result["CALL_FAILED_CODE"] as? String == "200")
        let missed = driver.register(["EXTERNAL_CALL_ID": "b"]).callID
        let answer = driver.finish(missed, ["STATUS_CODE": "", "DURATION": ""])
        #expect(answer.result["CALL_FAILED_CODE"] as? String == "304")
    }

    @Test func missedListTakes304OfIncomingCallsOnly() {
        let driver = PortalDriver()
        let incoming = driver.register().callID
        _ = driver.finish(incoming, ["DURATION": "0", "STATUS_CODE": "304"])
        let outgoing = driver.register(["TYPE": "1"]).callID
        _ = driver.finish(outgoing, ["DURATION": "0", "STATUS_CODE": "304"])
        let disguised = driver.register(["EXTERNAL_CALL_ID": "c"]).callID
        _ = driver.finish(disguised, ["DURATION": "0", "STATUS_CODE": "200"])
        #expect(
            driver.effects.filter { if case .missed = $0 { true } else { false } } == [
                .missed(callID: incoming)
            ])
        let back = driver.register(["TYPE": "1", "EXTERNAL_CALL_ID": "d"]).callID
        _ = driver.finish(back)
        #expect(driver.effects.contains(.calledBack(number: "+79995550101")))
    }

    @Test func responsibleMovesOnWhatTheCallMadeOnly() {
        var settings = PortalSettings()
        settings.entities = [
            .init(kind: .contact, id: 33, name: "Anna", phone: "79995550177", responsibleID: 7)
        ]
        let driver = PortalDriver(settings)
        let made = driver.register(["CRM_CREATE": "1"]).callID
        _ = driver.finish(made, ["USER_PHONE_INNER": "102"])
        #expect(driver.portal.entities.last?.responsibleID == 8)
        let known = driver.register(["PHONE_NUMBER": "+79995550177"]).callID
        _ = driver.finish(known, ["USER_PHONE_INNER": "102"])
        #expect(driver.portal.entities.first?.responsibleID == 7)
    }

    @Test func withoutABindingNoActivity() throws {
        let driver = PortalDriver()
        let answer = driver.finish(driver.register(["CRM_CREATE": "0"]).callID)
        #expect(answer.status == 200)
        let errors = try #require(answer.result["ERRORS"] as? [String: Any])
        #expect(errors["ACTIVITY_CREATION"] is String)
        #expect(answer.text.contains(#""CRM_ACTIVITY_ID":null"#))
        #expect(answer.result["CRM_ENTITY_TYPE"] == nil)
    }

    @Test func cardGoesForTheFinishingUserOnly() {
        let driver = PortalDriver()
        let callID = driver.register(["SHOW": "1"]).callID
        #expect(
            driver.call("telephony.externalcall.show", ["CALL_ID": callID, "USER_ID[]": "8"]).text.contains(
                "true"))
        _ = driver.finish(callID)
        #expect(driver.portal.cards[7]?.isEmpty == true)
        #expect(driver.portal.cards[8] == [callID])
    }

    @Test func chatNoteOnlyWhenAsked() {
        let driver = PortalDriver()
        let quiet = driver.register().callID
        _ = driver.finish(quiet)
        let loud = driver.register(["EXTERNAL_CALL_ID": "b"]).callID
        _ = driver.finish(loud, ["ADD_TO_CHAT": "1"])
        #expect(
            driver.effects.filter { if case .chatNote = $0 { true } else { false } } == [
                .chatNote(callID: loud)
            ])
    }
}

@Suite("Fake Bitrix24 §6: cards, records, users, search")
struct PortalOtherMethodTests {
    @Test func showAndHideSayFalseForUnknownCalls() {
        let driver = PortalDriver()
        for method in ["show", "hide"] {
            let answer = driver.call("telephony.externalcall.\(method)", ["CALL_ID": "nope"])
            #expect(answer.status == 200)
            #expect(answer.json["result"] as? Bool == false)
        }
    }

    @Test func showTakesListsAndHideTakesThemBack() {
        let driver = PortalDriver()
        let callID = driver.register().callID
        _ = driver.json("telephony.externalcall.show", #"{"CALL_ID":"\#(callID)","USER_ID":[7,"8"]}"#)
        #expect(driver.portal.cards[7] == [callID])
        #expect(driver.portal.cards[8] == [callID])
        _ = driver.call("telephony.externalcall.hide", ["CALL_ID": callID, "USER_ID": "8"])
        #expect(driver.portal.cards[7] == [callID])
        #expect(driver.portal.cards[8]?.isEmpty == true)
    }

    @Test func recordOnlyAfterFinishAndOfTheRightKind() {
        let driver = PortalDriver()
        let method = "telephony.externalcall.attachrecord"
        let callID = driver.register().callID
        func text(_ parameters: KeyValuePairs<String, String>) -> String? {
            driver.call(method, parameters).errorText
        }
        #expect(text(["CALL_ID": callID])?.hasPrefix("Required parameters are not set") == true)
        #expect(
            text(["CALL_ID": callID, "FILENAME": "a.mp3"])?.hasPrefix("Call is not found in the statistic")
                == true)
        _ = driver.finish(callID)
        #expect(text(["CALL_ID": callID, "FILENAME": ""]) == "File name is empty")
        #expect(text(["CALL_ID": callID, "FILENAME": "a.ogg"])?.hasPrefix("Wrong file extension") == true)
        #expect(
            text(["CALL_ID": callID, "FILENAME": "a.mp3", "FILE_CONTENT": ""]) == "File content is empty.")
        #expect(
            text(["CALL_ID": callID, "FILENAME": "a.mp3", "FILE_CONTENT": "data:audio,xx"])?
                .hasPrefix("File content is not properly encoded") == true)
        let first = driver.call(method, ["CALL_ID": callID, "FILENAME": "a.mp3", "FILE_CONTENT": "QUJD"])
        let second = driver.call(method, ["CALL_ID": callID, "FILENAME": "b.wav", "FILE_CONTENT": "QUJD"])
        #expect(first.result["FILE_ID"] is Int)
        #expect(driver.portal.statistics[callID]?.fileID == second.result["FILE_ID"] as? Int)
    }

    @Test func recordInTwoSteps() throws {
        let driver = PortalDriver()
        let callID = driver.register().callID
        _ = driver.finish(callID)
        let open = driver.call(
            "telephony.externalcall.attachrecord", ["CALL_ID": callID, "FILENAME": "a.mp3"])
        let url = try #require(open.result["uploadUrl"] as? String)
        #expect(open.result["fieldName"] as? String == "file")
        let target = try #require(url.range(of: "/rest/").map { String(url[$0.lowerBound...]) })
        let body =
            "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n\r\nABCDE\r\n--B--\r\n"
        let request = PortalRequest(
            target: target, contentType: "multipart/form-data; boundary=B", body: Array(body.utf8))
        let done = driver.send(request)
        #expect(done.result["FILE_ID"] is Int)
        #expect(
            driver.effects.last
                == .recordAttached(
                    callID: callID, fileID: done.result["FILE_ID"] as? Int ?? 0, name: "a.mp3", byteCount: 5))
        #expect(driver.send(request).status == 401, "an upload token is good once")
    }

    @Test func usersComeInPagesWithTextIDs() {
        var settings = PortalSettings()
        settings.users = (1...120).map {
            .init(
                id: $0, name: "User \($0)", extensionNumber: $0 <= 60 ? "\(100 + $0)" : nil, isActive: $0 != 5
            )
        }
        let driver = PortalDriver(settings)
        let first = driver.call("user.get")
        #expect((first.json["result"] as? [Any])?.count == 50)
        #expect(first.json["total"] as? Int == 120)
        #expect(first.json["next"] as? Int == 50)
        let last = driver.call("user.get", ["start": "100"])
        #expect((last.json["result"] as? [Any])?.count == 20)
        #expect(last.json["next"] == nil)
        #expect(first.text.contains(#""ID":"1","ACTIVE":true"#))
        #expect(last.text.contains(#""UF_PHONE_INNER":null"#))
        let one = driver.call("user.get", ["FILTER[UF_PHONE_INNER]": "105"])
        #expect(one.text.contains(#""ID":"5","ACTIVE":false"#))
        #expect(driver.call("user.get", ["FILTER[ACTIVE]": "true"]).json["total"] as? Int == 119)
    }

    @Test func searchGivesContactsBeforeLeads() throws {
        var settings = PortalSettings()
        settings.entities = [
            .init(kind: .lead, id: 1, name: "L", phone: "79995550101", responsibleID: 8),
            .init(kind: .contact, id: 2, name: "C", phone: "79995550101", responsibleID: 7),
        ]
        let driver = PortalDriver(settings)
        let answer = driver.call(
            "telephony.externalcall.searchcrmentities", ["PHONE_NUMBER": "+7 999 555-01-01"])
        let list = try #require(answer.json["result"] as? [[String: Any]])
        #expect(list.map { $0["CRM_ENTITY_TYPE"] as? String } == ["CONTACT", "LEAD"])
        let assigned = try #require(list.first?["ASSIGNED_BY"] as? [String: Any])
        #expect(assigned["ID"] as? String == "7")
        #expect(assigned["USER_PHONE_INNER"] as? String == "101")
    }
}
