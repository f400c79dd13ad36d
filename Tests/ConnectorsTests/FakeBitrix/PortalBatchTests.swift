import Protocols
import Simulator
import Testing

@Suite("Fake Bitrix24 §3: batch")
struct PortalBatchTests {
    private static let register =
        "telephony.externalcall.register?USER_PHONE_INNER=101&PHONE_NUMBER=%2B79995550101&TYPE=2&SHOW=0"
    private static let finish =
        "telephony.externalcall.finish?CALL_ID=%24result%5Breg%5D%5BCALL_ID%5D&USER_PHONE_INNER=101&DURATION=0&STATUS_CODE=304"

    private func part(_ answer: PortalDriver.Answer, _ name: String) -> [String: Any] {
        answer.result[name] as? [String: Any] ?? [:]
    }

    @Test func finishMayReferToItsRegister() {
        let driver = PortalDriver()
        let answer = driver.call("batch", ["cmd[reg]": Self.register, "cmd[fin]": Self.finish])
        #expect(answer.status == 200)
        #expect(Set(part(answer, "result").keys) == ["reg", "fin"])
        #expect(answer.text.contains(#""result_error":[]"#))
        #expect(driver.portal.statistics.count == 1)
        #expect(driver.portal.activeCalls.isEmpty)
    }

    @Test func referenceToAFailedCommandIsAnArrayAndFinishSaysSo() {
        let driver = PortalDriver()
        let bad = Self.register.replacing("TYPE=2", with: "TYPE=9")
        let answer = driver.call("batch", ["cmd[reg]": bad, "cmd[fin]": Self.finish])
        #expect(answer.status == 200)
        #expect(answer.text.contains(#""result":{"result":[],"#))
        let errors = part(answer, "result_error")
        #expect((errors["reg"] as? [String: Any])?["error_description"] as? String == "Unknown TYPE")
        #expect(
            (errors["fin"] as? [String: Any])?["error_description"] as? String == "CALL_ID must be a string")
    }

    @Test func haltStopsAndLaterKeysAppearNowhere() {
        let bad = Self.register.replacing("TYPE=2", with: "TYPE=9")
        for (halt, expected) in [("0", 2), ("1", 1), ("false", 1)] {
            let driver = PortalDriver()
            let answer = driver.call(
                "batch", ["halt": halt, "cmd[a]": bad, "cmd[b]": Self.register, "cmd[c]": bad])
            #expect(part(answer, "result_error").count == expected, "halt=\(halt)")
            #expect(driver.portal.activeCalls.count == (expected == 2 ? 1 : 0))
        }
    }

    @Test func fiftyRunAndEachFurtherOneFails() {
        let driver = PortalDriver()
        var query = Query()
        for index in 0..<52 { query.append("cmd[k\(index)]", Self.register + "&EXTERNAL_CALL_ID=e\(index)") }
        let answer = driver.send(
            PortalRequest(
                target: "/rest/1/\(PortalDriver.secret)/batch",
                contentType: "application/x-www-form-urlencoded", body: Array(query.encoded.utf8)))
        #expect(part(answer, "result").count == 50)
        let errors = part(answer, "result_error")
        #expect(Set(errors.keys) == ["k50", "k51"])
        #expect((errors["k50"] as? [String: Any])?["error"] as? String == "ERROR_BATCH_LENGTH_EXCEEDED")
        #expect(driver.portal.activeCalls.count == 50)
    }

    @Test func nestedBatchIsRefusedAndObjectsVanish() {
        let driver = PortalDriver()
        let answer = driver.call(
            "batch",
            ["cmd[n]": "batch?cmd[x]=user.get", "cmd[o][method]": "user.get", "cmd[u]": "user.get"])
        #expect(
            (part(answer, "result_error")["n"] as? [String: Any])?["error"] as? String
                == "ERROR_BATCH_METHOD_NOT_ALLOWED")
        #expect(Set(part(answer, "result").keys) == ["u"])
        #expect(part(answer, "result_error").count == 1)
    }

    @Test func keysFromZeroComeBackAsLists() {
        let driver = PortalDriver()
        let answer = driver.call("batch", ["cmd[0]": "user.get", "cmd[1]": "user.get"])
        #expect((answer.result["result"] as? [Any])?.count == 2)
        #expect((answer.result["result_time"] as? [Any])?.count == 2)
    }

    @Test func anyCaseOfTheBatchKeysAndOnePointOfTheBucket() {
        var settings = PortalSettings()
        settings.plan = .init(perSecond: 1, limit: 1)
        let driver = PortalDriver(settings)
        #expect(driver.call("batch", ["CMD[a]": "user.get", "CMD[b]": "user.get"]).status == 200)
        #expect(driver.call("user.get").status == 503)
    }

    @Test func referencesInsideLongerTexts() {
        let state: [String: PHPValue] = [
            "result": .map(["r": .map(["A": .string("x"), "L": .list([.int(5)])])])
        ]
        func value(_ text: String) -> PHPValue? {
            FakeBitrixPortal.parse("m?P=\(PercentCoding.encoded(text))", resolvingAgainst: state).parameters[
                "P"]
        }
        #expect(value("$result[r][A]") == .string("x"))
        #expect(value("$result[r][L]") == .list([.int(5)]))
        #expect(value("$result[r][L][0]") == .int(5))
        #expect(value("id-$result[r][A]-$result[r][L][0].") == .string("id-x-5."))
        #expect(value("$result[gone][A]") == state["result"])
        #expect(value("costs $5") == .string("costs $5"))
    }
}

@Suite("Fake Bitrix24 §2: limits and faults")
struct PortalLimitTests {
    @Test func bucketFillsAndLeaks() {
        let driver = PortalDriver()
        for _ in 0..<50 { #expect(driver.call("user.get").status == 200) }
        let refused = driver.call("user.get")
        #expect(refused.status == 503)
        #expect(refused.error == "QUERY_LIMIT_EXCEEDED")
        driver.advance(1)
        #expect(driver.call("user.get").status == 200)
        #expect(driver.call("user.get").status == 200)
        #expect(driver.call("user.get").status == 503)
    }

    @Test func bucketsAreBySource() {
        let driver = PortalDriver()
        driver.portal.fillBucket(of: "10.0.0.1", at: driver.now)
        let target = "/rest/1/\(PortalDriver.secret)/user.get"
        #expect(driver.send(PortalRequest(target: target, source: "10.0.0.1")).status == 503)
        #expect(driver.send(PortalRequest(target: target, source: "10.0.0.2")).status == 200)
    }

    @Test func runningTimeIsByMethodAndForTenMinutes() {
        var settings = PortalSettings()
        settings.plan = .unlimited
        settings.operatingLimit = 1
        settings.runningTime = ["user.get": 0.09]
        let driver = PortalDriver(settings)
        for index in 0..<4 { #expect(driver.register(["EXTERNAL_CALL_ID": "\(index)"]).status == 200) }
        let blocked = driver.register(["EXTERNAL_CALL_ID": "5"])
        #expect(blocked.status == 429)
        #expect(blocked.error == "OPERATION_TIME_LIMIT")
        #expect(
            driver.call("telephony.externalcall.show", ["CALL_ID": "x"]).status == 200,
            "another method goes on")
        for _ in 0..<100 { #expect(driver.call("user.get").status == 200, "short calls are not added") }
        let batch = driver.call("batch", ["cmd[r]": "telephony.externalcall.register?TYPE=2"])
        #expect(batch.status == 200)
        #expect(batch.text.contains("OPERATION_TIME_LIMIT"))
        driver.advance(601)
        #expect(driver.register(["EXTERNAL_CALL_ID": "5"]).status == 200)
    }

    @Test func faultsBeforeAndAfterTheEffect() {
        let driver = PortalDriver()
        driver.portal.faults = [
            PortalFaultRule(.cutBeforeEffect, count: 1), PortalFaultRule(.cutAfterEffect, count: 1),
            PortalFaultRule(.page(status: 502), count: 1),
            PortalFaultRule(.pageAfterEffect(status: 500), count: 1),
            PortalFaultRule(.delayAfterEffect(.seconds(3)), count: 1), PortalFaultRule(.queryLimit, count: 1),
        ]
        var seen: [(String, Int, Int)] = []
        for index in 0..<6 {
            let answer = driver.register(["EXTERNAL_CALL_ID": "\(index)"])
            seen.append(("\(answer.delivery)", answer.status, driver.portal.activeCalls.count))
        }
        #expect(seen.map(\.2) == [0, 1, 1, 2, 3, 3])
        #expect(seen.map(\.1) == [0, 200, 502, 500, 200, 503])
        #expect(seen[0].0 == "cut" && seen[1].0 == "cut" && seen[4].0 == "after(3.0 seconds)")
    }

    @Test func faultRulesCountAndPick() {
        let driver = PortalDriver()
        driver.portal.faults = [PortalFaultRule(.page(status: 500), method: "user.get", after: 2, count: 1)]
        #expect(driver.register().status == 200)
        #expect([1, 2, 3, 4].map { _ in driver.call("user.get").status } == [200, 200, 500, 200])
        driver.portal.faults = [PortalFaultRule(.page(status: 500), percent: 30)]
        let struck = (0..<40).filter { _ in driver.call("user.get").status == 500 }.count
        #expect((4...24).contains(struck), "seed 1 gave \(struck) of 40")
    }
}
