import Connectors
import Testing

@Suite("Bitrix24: reading answers defensively")
struct BitrixReplyTests {
    private let decoder = BitrixReplyDecoder()

    private func decode(_ status: Int, _ body: String) -> BitrixReply {
        decoder.decode(status: status, body: Array(body.utf8))
    }

    @Test func registerAnswer() {
        let body = #"""
            {"result":{"CALL_ID":"externalCall.3f0a.1790000000","CRM_CREATED_LEAD":null,"CRM_CREATED_ENTITIES":[],
            "CRM_ENTITY_TYPE":"","CRM_ENTITY_ID":null},"time":{"start":1790000000,"finish":1790000000.5,
            "operating_reset_at":1790000600,"operating":0.31},"extra":{"a":[1,2]}}
            """#
        #expect(
            decode(200, body)
                == .success(
                    BitrixSuccess(
                        callID: "externalCall.3f0a.1790000000", operatingResetsAfter: .seconds(599.5),
                        operating: 0.31, finishedAt: 1_790_000_000.5)))
    }

    @Test func idsMayBeNumbersAndMapsLists() {
        #expect(decode(200, #"{"result":{"CALL_ID":17}}"#) == .success(BitrixSuccess(callID: "17")))
        #expect(decode(200, #"{"result":[]}"#) == .success(BitrixSuccess()))
        #expect(decode(200, #"{"result":[],"time":[]}"#) == .success(BitrixSuccess()))
        #expect(decode(200, #"{"result":"ok"}"#) == .success(BitrixSuccess()))
        #expect(decode(200, #"{"result":{"CALL_START_DATE":{},"ERRORS":[]}}"#) == .success(BitrixSuccess()))
        #expect(decode(200, #"{"result":true,"error":null}"#) == .success(BitrixSuccess()))
    }

    @Test func warningsTravelWithASuccess() {
        let lead =
            #"{"result":{"CALL_ID":"c","LEAD_CREATION_ERROR":"Lead creation is disabled for local users"}}"#
        #expect(
            decode(200, lead)
                == .success(
                    BitrixSuccess(callID: "c", warnings: ["Lead creation is disabled for local users"])))
        let activity = #"{"result":{"CALL_ID":"c","ERRORS":{"ACTIVITY_CREATION":"no binding"}}}"#
        #expect(decode(200, activity) == .success(BitrixSuccess(callID: "c", warnings: ["no binding"])))
    }

    @Test func emptyErrorIsAnError() {
        let body = #"{"error":"","error_description":"Unknown TYPE"}"#
        #expect(decode(400, body) == .refusal(BitrixRefusal(status: 400, code: "", text: "Unknown TYPE")))
        #expect(decode(200, body) == .refusal(BitrixRefusal(status: 200, code: "", text: "Unknown TYPE")))
    }

    @Test func newerErrorShape() {
        let body = #"{"error":{"code":"BITRIX_REST_V3","message":"no","validation":[]}}"#
        #expect(decode(400, body) == .refusal(BitrixRefusal(status: 400, code: "BITRIX_REST_V3", text: "no")))
    }

    @Test(arguments: [
        "", "<html><body>502 Bad Gateway</body></html>", "null", "[]", "\"ok\"", "{\"result\":", "{}x",
        "\u{0}\u{1}",
        String(repeating: "[", count: 5000), "{\"result\":{\"CALL_ID\":\"\\ud800\"",
    ])
    func whatIsNoAnswerIsNeverACrash(body: String) {
        for status in [200, 500, 502, 503, 504] {
            guard case .noAnswer(mayHaveRun: true, _) = decode(status, body) else {
                Issue.record("\(status): \(decode(status, body))")
                continue
            }
        }
        for status in [301, 400, 401, 403, 404, 429] {
            guard case .refusal(let refusal) = decode(status, body) else {
                Issue.record("\(status): \(decode(status, body))")
                continue
            }
            #expect(refusal.status == status)
        }
    }

    @Test func answerWithNeitherResultNorErrorIsRepeated() {
        guard case .noAnswer(mayHaveRun: true, _) = decode(200, #"{"time":{}}"#) else {
            Issue.record("taken")
            return
        }
    }

    @Test func invalidTextIsNoAnswer() {
        guard case .noAnswer = decoder.decode(status: 200, body: [0x7B, 0x22, 0xFF, 0x22, 0x3A, 0x31, 0x7D])
        else {
            Issue.record("taken")
            return
        }
    }

    @Test func longTextsAreCut() {
        let text = String(repeating: "я", count: 1000)
        guard
            case .refusal(let refusal) = decode(400, #"{"error":"\#(text)","error_description":"\#(text)"}"#)
        else {
            Issue.record("no refusal")
            return
        }
        #expect(refusal.text.utf8.count <= BitrixRefusal.maximumTextBytes + 6)
        #expect(refusal.code.utf8.count <= BitrixRefusal.maximumTextBytes + 6)
    }

    @Test func resetNeedsNoCommonClockAndIsBounded() {
        // The portal's clock is hours off; only the difference counts.
        let body = #"{"result":[],"time":{"finish":100.5,"operating_reset_at":400}}"#
        #expect(
            decode(200, body)
                == .success(BitrixSuccess(operatingResetsAfter: .seconds(299.5), finishedAt: 100.5)))
        let wild = #"{"result":[],"time":{"finish":100,"operating_reset_at":9000000}}"#
        #expect(
            decode(200, wild) == .success(BitrixSuccess(operatingResetsAfter: .seconds(600), finishedAt: 100))
        )
        let past = #"{"result":[],"time":{"finish":100,"operating_reset_at":50}}"#
        #expect(decode(200, past) == .success(BitrixSuccess(finishedAt: 100)))
    }
}
