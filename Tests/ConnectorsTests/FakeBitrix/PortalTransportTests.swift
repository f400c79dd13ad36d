import Simulator
import Testing

@Suite("Fake Bitrix24 §1: addresses, encodings, envelopes")
struct PortalTransportTests {
    @Test func methodNamesAreTakenInAnyCaseAndWithSuffix() {
        let driver = PortalDriver()
        #expect(driver.call("USER.get").status == 200)
        #expect(driver.call("user.get.json").status == 200)
        #expect(
            driver.call("telephony.externalCall.searchCrmEntities", ["PHONE_NUMBER": "123"]).status == 200)
    }

    @Test func unknownMethodIs404WithItsCode() {
        let driver = PortalDriver()
        let answer = driver.call("telephony.externalcall.nosuch")
        #expect(answer.status == 404)
        #expect(answer.error == "ERROR_METHOD_NOT_FOUND")
    }

    @Test func wrongSecretIs401InvalidCredentials() {
        let driver = PortalDriver()
        let answer = driver.call("user.get", secret: "wrong")
        #expect(answer.status == 401)
        #expect(answer.error == "INVALID_CREDENTIALS")
    }

    @Test func missingScopeIs401() {
        var settings = PortalSettings()
        settings.webhooks[0].scopes = ["crm"]
        let driver = PortalDriver(settings)
        let answer = driver.register()
        #expect(answer.status == 401)
        #expect(answer.error == "insufficient_scope")
    }

    @Test func applicationNeedsAToken() {
        var settings = PortalSettings()
        settings.accessTokens["tok"] = PortalSettings.Webhook(userID: 1, secret: "app")
        let driver = PortalDriver(settings)
        #expect(driver.send(PortalRequest(target: "/rest/user.get")).error == "NO_AUTH_FOUND")
        #expect(driver.send(PortalRequest(target: "/rest/user.get?auth=old")).error == "expired_token")
        #expect(driver.send(PortalRequest(target: "/rest/user.get?auth=tok")).status == 200)
    }

    @Test func doubledSlashFailsLoudly() {
        let driver = PortalDriver()
        let answer = driver.send(PortalRequest(target: "/rest/1/\(PortalDriver.secret)//user.get"))
        #expect(answer.status == 404)
        #expect(answer.text.contains("doubled slash"))
        #expect(driver.portal.refusals.entries.count == 1)
    }

    @Test func jsonIsReadOnlyUnderItsExactType() {
        let driver = PortalDriver()
        let body = #"{"PHONE_NUMBER":"123"}"#
        #expect(driver.json("telephony.externalcall.searchcrmentities", body).status == 200)
        let target = "/rest/1/\(PortalDriver.secret)/telephony.externalcall.searchcrmentities"
        let withCharset = PortalRequest(
            target: target, contentType: "application/json; charset=utf-8", body: Array(body.utf8))
        #expect(driver.send(withCharset).status == 200)
        let asText = PortalRequest(target: target, contentType: "text/json", body: Array(body.utf8))
        #expect(driver.send(asText).errorText == "PHONE_NUMBER is empty")
    }

    @Test func brokenJSONIsNoErrorButNoParameters() {
        let driver = PortalDriver()
        let answer = driver.json("telephony.externalcall.searchcrmentities", #"{"PHONE_NUMBER":"123""#)
        #expect(answer.status == 400)
        #expect(answer.errorText == "PHONE_NUMBER is empty")
    }

    @Test func bodyKeysStandAboveTheQuery() {
        let driver = PortalDriver()
        let target = "/rest/1/\(PortalDriver.secret)/user.get?FILTER%5BID%5D=1"
        let fromQuery = driver.send(PortalRequest(target: target))
        #expect((fromQuery.json["result"] as? [Any])?.count == 1)
        #expect(fromQuery.text.contains(#""ID":"1""#))
        let fromBody = driver.send(
            PortalRequest(
                target: target, contentType: "application/json", body: Array(#"{"FILTER":{"ID":7}}"#.utf8)))
        #expect(fromBody.text.contains(#""ID":"7""#))
    }

    @Test func parameterNamesAreCaseSensitive() {
        let driver = PortalDriver()
        let answer = driver.call("telephony.externalcall.searchcrmentities", ["phone_number": "123"])
        #expect(answer.errorText == "PHONE_NUMBER is empty")
    }

    @Test func successHasTimeWithItsSurprises() throws {
        var settings = PortalSettings()
        settings.operatingLimit = 100
        let driver = PortalDriver(settings)
        let answer = driver.register()
        let time = try #require(answer.json["time"] as? [String: Any])
        #expect(answer.text.contains(#""start":1790000000,"#), "a whole float loses its fraction")
        #expect(time["date_start"] as? String == "2026-09-21T17:13:20+03:00")
        #expect(time["operating"] as? Double == 0.31)
        #expect(time["operating_reset_at"] as? Int == 1_790_000_000 / 60 * 60 + 600)
        #expect(answer.text.contains(#""CRM_CREATED_ENTITIES":[]"#), "an empty map is a list")
    }

    @Test func errorCodeStyleIsASetting() {
        var settings = PortalSettings()
        #expect(PortalDriver(settings).register(["TYPE": "9"]).error == "ERROR_CORE")
        settings.errorCodeStyle = .empty
        let answer = PortalDriver(settings).register(["TYPE": "9"])
        #expect(answer.error?.isEmpty == true)
        #expect(answer.errorText == "Unknown TYPE")
    }
}

@Suite("Fake Bitrix24 §10: PHP's arrays and JSON")
struct PHPValueTests {
    private func json(_ value: PHPValue) -> String {
        var output: [UInt8] = []
        value.encodeJSON(into: &output)
        return String(decoding: output, as: UTF8.self)
    }

    @Test func keysDecideTheShape() {
        #expect(json(.map([:])) == "[]")
        #expect(json(.map(["0": .int(1), "1": .int(2)])) == "[1,2]")
        #expect(json(.map(["1": .int(1), "0": .int(2)])) == #"{"1":1,"0":2}"#)
        #expect(json(.map(["a": .null, "b": .object])) == #"{"a":null,"b":{}}"#)
        #expect(json(.list([.bool(true), .string("x")])) == #"[true,"x"]"#)
    }

    @Test func textsAreEscapedAsPHPDoes() {
        #expect(json(.string("a/\"\\\n")) == #""a\/\"\\\n""#)
        #expect(json(.string("é😀")) == #""\u00e9\ud83d\ude00""#)
        #expect(json(.double(0.31)) == "0.31")
        #expect(json(.double(1_790_000_000)) == "1790000000")
    }

    @Test func conversionsFollowPHP() {
        #expect(PHPValue.string("12abc").integer == 12)
        #expect(PHPValue.string(" -7").integer == -7)
        #expect(PHPValue.string("abc").integer == 0)
        #expect(!PHPValue.string("0").isTruthy)
        #expect(PHPValue.string("false").isTruthy)
        #expect(!PHPValue.string("").isTruthy)
        #expect(PHPValue.bool(false).text?.isEmpty == true)
        #expect(PHPValue.map([:]).text == nil)
    }
}
