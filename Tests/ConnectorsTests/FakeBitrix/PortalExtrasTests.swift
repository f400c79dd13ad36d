import Connectors
import Foundation
import Protocols
import Reactor
import Simulator
import Testing

@Suite("Fake Bitrix24 §6: statistics, lines, transcriptions")
struct PortalExtrasTests {
    private func rows(_ answer: PortalDriver.Answer) -> [[String: Any]] {
        answer.json["result"] as? [[String: Any]] ?? []
    }

    @Test func statisticsHaveWhatIsFinishedAndEveryScalarIsAText() {
        let driver = PortalDriver()
        let callID = driver.register().callID
        #expect(rows(driver.call("voximplant.statistic.get")).isEmpty, "not before finish")
        _ = driver.finish(callID)
        _ = driver.finish(
            driver.register(["EXTERNAL_CALL_ID": "other", "PHONE_NUMBER": "+79995550102"]).callID)
        let found = driver.call(
            "voximplant.statistic.get", ["FILTER[EXTERNAL_CALL_ID]": "pbx1-1790000000.31"])
        let row = rows(found).first
        #expect(rows(found).count == 1)
        #expect(row?["CALL_ID"] as? String == callID)
        #expect(row?["CALL_DURATION"] as? String == "61")
        #expect(row?["CALL_TYPE"] as? String == "2")
        #expect(row?["CALL_START_DATE"] as? String == "2026-09-21T17:13:20+03:00")
        #expect(rows(driver.call("voximplant.statistic.get", ["FILTER[ID]": "0"])).isEmpty)
        #expect(rows(driver.call("voximplant.statistic.get", ["FILTER[>CALL_DURATION]": "60"])).count == 2)
        #expect(rows(driver.call("voximplant.statistic.get", ["FILTER[!CALL_ID]": callID])).count == 1)
    }

    @Test func statisticsComeInPagesAndOnlyToWhoMaySee() {
        var settings = PortalSettings()
        settings.plan = .unlimited
        let driver = PortalDriver(settings)
        for index in 0..<60 {
            _ = driver.finish(driver.register(["EXTERNAL_CALL_ID": "c\(index)"]).callID)
        }
        let first = driver.call("voximplant.statistic.get")
        #expect(rows(first).count == 50)
        #expect(first.json["next"] as? Int == 50)
        let second = driver.call("voximplant.statistic.get", ["start": "50"])
        #expect(rows(second).count == 10)
        #expect(second.json["next"] == nil)
        driver.portal.settings.statisticsReadable = false
        let refused = driver.call("voximplant.statistic.get")
        #expect(refused.status == 403 && refused.error == "ACCESS_DENIED")
    }

    @Test func lines() {
        let driver = PortalDriver()
        #expect(driver.call("telephony.externalLine.add").errorText == "NUMBER should not be empty")
        let added = driver.call("telephony.externalLine.add", ["NUMBER": "74950000001", "NAME": "Main"])
        #expect(added.result["ID"] is Int)
        #expect(
            driver.call("telephony.externalLine.add", ["NUMBER": "74950000001"]).errorText
                == "Line already exists")
        #expect(
            driver.call("telephony.externalLine.update", ["NUMBER": "74950000001"]).errorText
                == "There are no fields to update")
        let updated = driver.call(
            "telephony.externalLine.update", ["NUMBER": "74950000001", "CRM_AUTO_CREATE": "N"])
        #expect(updated.result["ID"] is String, "a text here, a number there")
        #expect(
            driver.call("telephony.externalLine.update", ["NUMBER": "5", "NAME": "x"]).errorText
                == "Could not find line with number 5")
        // A line that a call names is made silently.
        _ = driver.register(["LINE_NUMBER": "74950000002"])
        let all = rows(driver.call("telephony.externalLine.get"))
        #expect(all.map { $0["NUMBER"] as? String } == ["74950000001", "74950000002"])
        #expect(all.first?["CRM_AUTO_CREATE"] as? String == "N")
        let deleted = driver.call("telephony.externalLine.delete", ["NUMBER": "74950000001"])
        #expect(deleted.text.contains(#""result":[]"#))
        #expect(driver.portal.lines == ["74950000002"])
    }

    @Test func transcriptionAfterFinishOnly() {
        let driver = PortalDriver()
        let callID = driver.register().callID
        func attach(_ side: String) -> PortalDriver.Answer {
            driver.call(
                "telephony.call.attachTranscription",
                [
                    "CALL_ID": callID, "MESSAGES[0][SIDE]": side, "MESSAGES[0][START_TIME]": "0",
                    "MESSAGES[0][STOP_TIME]": "3", "MESSAGES[0][MESSAGE]": "Hello",
                ])
        }
        #expect(attach("User").errorText == "Call \(callID) is not found. Is it finished?")
        _ = driver.finish(callID)
        #expect(attach("Nobody").errorText?.hasPrefix("MESSAGES[0][SIDE]") == true)
        #expect(attach("Client").result["TRANSCRIPT_ID"] is Int)
        #expect(
            driver.call("telephony.call.attachTranscription", ["CALL_ID": callID]).errorText
                == "MESSAGES should be an array")
        #expect(driver.effects.contains(.transcriptionAttached(callID: callID, messageCount: 1)))
    }

    @Test func batchThatDiesHalfway() {
        let driver = PortalDriver()
        driver.portal.faults = [PortalFaultRule(.diesInBatch(after: 1), method: "batch", count: 1)]
        func batch() -> PortalDriver.Answer {
            driver.call(
                "batch",
                [
                    "cmd[a]": "telephony.externalcall.register?USER_ID=7&PHONE_NUMBER=1234567&TYPE=2",
                    "cmd[b]": "telephony.externalcall.register?USER_ID=7&PHONE_NUMBER=1234568&TYPE=2",
                ])
        }
        let dead = batch()
        #expect(dead.status == 502)
        #expect(driver.portal.activeCalls.count == 1, "the first one ran")
        #expect(batch().status == 200)
        #expect(driver.portal.activeCalls.count == 2)
    }

    @Test func namedRefusalsStrikeInsideABatch() {
        let driver = PortalDriver()
        driver.portal.faults = [PortalFaultRule(.operationTimeLimit, method: "user.get", count: 1)]
        let answer = driver.call("batch", ["cmd[a]": "user.get", "cmd[b]": "user.get"])
        let errors = answer.result["result_error"] as? [String: [String: String]]
        #expect(errors?["a"]?["error"] == "OPERATION_TIME_LIMIT")
        #expect(errors?["b"] == nil)
    }
}

@Suite("Fake Bitrix24 §1.5: tokens that expire")
struct PortalTokenTests {
    private func get(_ driver: PortalDriver, _ target: String) -> PortalDriver.Answer {
        driver.send(PortalRequest(httpMethod: "GET", target: target))
    }

    @Test func accessTokenLivesAnHourAndARefreshTokenWorksOnce() {
        let driver = PortalDriver()
        let application = PortalSettings.Webhook(userID: 1, secret: "app")
        let tokens = driver.portal.issueTokens(to: application, at: driver.now)
        #expect(get(driver, "/rest/user.get?auth=\(tokens.access)").status == 200)
        driver.advance(3601)
        let expired = get(driver, "/rest/user.get?auth=\(tokens.access)")
        #expect(expired.status == 401 && expired.error == "expired_token")
        let renewal =
            "/oauth/token/?grant_type=refresh_token&client_id=local.fake&client_secret=fakeclientsecret&refresh_token="
        let renewed = get(driver, renewal + tokens.refresh)
        let access = renewed.json["access_token"] as? String ?? ""
        let refresh = renewed.json["refresh_token"] as? String ?? ""
        #expect(get(driver, "/rest/user.get?auth=\(access)").status == 200)
        #expect(refresh != tokens.refresh)
        #expect(get(driver, renewal + tokens.refresh).error == "invalid_grant", "once")
        #expect(get(driver, renewal + refresh).status == 200)
        driver.portal.revokeRefreshTokens()
        #expect(get(driver, renewal + refresh).error == "invalid_grant")
        #expect(
            get(driver, "/oauth/token/?grant_type=refresh_token&client_id=local.fake&client_secret=x").error
                == "invalid_client")
    }
}

@Suite("Fake Bitrix24 §7: events")
struct PortalEventTests {
    @Test func aClickIsRegisteredAlreadyAndTravelsAsAForm() throws {
        let driver = PortalDriver()
        driver.portal.settings.outgoingLine = "74950000001"
        let clicked = driver.portal.click(userID: 7, number: "+79995550101", at: driver.now)
        let (event, callID) = try #require(clicked)
        let call = try #require(driver.portal.activeCalls[callID])
        #expect(call.type == 1 && call.externalCallID == nil && call.userID == 7)
        #expect(call.created.count == 1, "the portal makes the lead")
        let form = try #require(Query(parsing: String(decoding: event.body, as: UTF8.self)))
        #expect(form["event"] == "ONEXTERNALCALLSTART")
        #expect(form["data[CALL_ID]"] == callID)
        #expect(form["data[EXTENSION]"] == "101")
        #expect(form["data[PHONE_NUMBER]"] == "+79995550101")
        #expect(form["data[CRM_ENTITY_ID]"] == "0")
        #expect(form["auth[application_token]"] == "fakeapplicationtoken")
        let hasLeft = driver.portal.click(userID: 9, number: "+79995550101", at: driver.now)
        #expect(hasLeft == nil)
        let wish = driver.portal.callBackRequest(number: "+79995550102", text: "Call me", at: driver.now)
        #expect(String(decoding: wish.body, as: UTF8.self).hasPrefix("event=ONEXTERNALCALLBACKSTART&"))
        #expect(driver.finish(callID).status == 200, "the connector finishes the portal's own call")
    }

    @Test func deliveredOnceAndNotAgainAfterAFailure() throws {
        let bench = try HTTPBench(.epoll)
        let portal = FakeBitrixServer(loop: bench.loop, portal: FakeBitrixPortal())
        let address = try portal.listen(
            on: .loopback(port: 0), logger: bench.log.logger, metrics: bench.metrics)
        // The portal's own address takes no events: it answers 404.
        portal.sendEvents(to: try URL("http://\(address)/events?x=1"))
        portal.click(userID: 7, number: "+79995550101", times: 2)
        bench.run { portal.eventsLost == 2 }
        bench.settle()
        #expect(portal.eventsLost == 2 && portal.eventsDelivered == 0)
        #expect(portal.portal.activeCalls.count == 1)
        portal.close()
    }
}
