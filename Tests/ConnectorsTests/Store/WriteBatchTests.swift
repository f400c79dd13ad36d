import CallEngine
import Protocols
import Reactor
import Testing

@testable import Connectors

@Suite("A batch's columns")
struct WriteBatchTests {
    private func cleaned(_ bytes: [UInt8]) -> (text: String, changed: Bool, fast: Bool) {
        bytes.withUnsafeBytes {
            let (result, changed) = ColumnText.cleaned($0)
            return (String(decoding: result, as: UTF8.self), changed, ColumnText.isClean($0))
        }
    }

    @Test("PostgreSQL's binary array format, byte by byte")
    func arrayFormat() {
        var texts = PostgresArray(of: .text)
        texts.append([0x61, 0x62])
        texts.appendNull()
        texts.append([])
        texts.finish()
        #expect(
            texts.bytes == [
                0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 25, 0, 0, 0, 3, 0, 0, 0, 1,
                0, 0, 0, 2, 0x61, 0x62, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0,
            ])
        var times = PostgresArray(of: .timestamp)
        times.append(Timestamp(microseconds: 946_684_800_000_001))
        times.finish()
        #expect(
            times.bytes == [
                0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4, 90, 0, 0, 0, 1, 0, 0, 0, 1,
                0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1,
            ])
        var json = PostgresArray(of: .jsonb)
        [UInt8]("{}".utf8).withUnsafeBytes { json.append(json: $0) }
        json.finish()
        #expect(json.bytes.suffix(7) == [0, 0, 0, 3, 1, 0x7B, 0x7D])
        json.removeAll(keepingUpTo: 1 << 20)
        #expect(json.count == 0)
        #expect(json.bytes.count == PostgresArray.headerBytes)
    }

    @Test(
        "texts that fit stay",
        arguments: ["", "1700000000.1", String(repeating: "x", count: 255), "Ольга", "🐝", "a\u{FFFD}"])
    func cleanTexts(_ text: String) {
        let result = cleaned([UInt8](text.utf8))
        #expect(result.text == text)
        #expect(!result.changed)
        #expect(result.fast)
    }

    @Test(
        "a byte that PostgreSQL refuses is seen at every place of a text",
        arguments: [0, 0x80, 0xFF] as [UInt8])
    func badByte(_ byte: UInt8) {
        for count in 1...40 {
            for place in 0..<count {
                var text = [UInt8](repeating: 0x7F, count: count)
                text[place] = byte
                let result = cleaned(text)
                #expect(!result.fast, "byte \(place) of \(count)")
                #expect(result.changed, "byte \(place) of \(count)")
                text[place] = 1
                #expect(cleaned(text).fast, "byte \(place) of \(count)")
            }
        }
    }

    @Test("numbers, truths and ids are big-endian behind their length")
    func numbers() {
        func elements(_ type: PostgresType, _ append: (inout PostgresArray) -> Void) -> [UInt8] {
            var column = PostgresArray(of: type)
            append(&column)
            #expect(column.count == 1)
            return Array(column.elements)
        }
        #expect(elements(.int4) { $0.append(Int32(-2)) } == [0, 0, 0, 4, 0xFF, 0xFF, 0xFF, 0xFE])
        #expect(elements(.int8) { $0.append(Int64(258)) } == [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 1, 2])
        #expect(elements(.bool) { $0.append(true) } == [0, 0, 0, 1, 1])
        #expect(elements(.bool) { $0.append(false) } == [0, 0, 0, 1, 0])
        #expect(
            elements(.uuid) { $0.append(high: 0x0102_0304_0506_0708, low: 9) }
                == [0, 0, 0, 16, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 9])
    }

    @Test("255 characters of several bytes fit, though the quick look cannot tell")
    func longCleanText() {
        let text = String(repeating: "ж", count: 255)
        let result = cleaned([UInt8](text.utf8))
        #expect(result.text == text)
        #expect(!result.changed)
        #expect(!result.fast)
    }

    @Test("texts that do not fit are cut after 255 characters, cleaned of U+0000 and of what is no UTF-8")
    func dirtyTexts() {
        #expect(cleaned([UInt8](String(repeating: "x", count: 256).utf8)).text.count == 255)
        #expect(
            cleaned([UInt8](String(repeating: "🐝", count: 10_000).utf8)).text
                == String(repeating: "🐝", count: 255))
        #expect(cleaned([0]) == ("\u{FFFD}", true, false))
        #expect(cleaned([0x61, 0xC3]) == ("a\u{FFFD}", true, false))
        #expect(cleaned([0xED, 0xA0, 0x80, 0x62]).text.hasSuffix("b"))
        #expect(cleaned([0xED, 0xA0, 0x80, 0x62]).changed)
        #expect(cleaned([0xF0, 0x9F, 0x90]).changed)
        // Combined characters count by their code points, as PostgreSQL counts.
        let combined = String(repeating: "e\u{301}", count: 200)
        #expect(cleaned([UInt8](combined.utf8)).text.unicodeScalars.count == 255)
    }

    @Test("repairs change what jsonb refuses and nothing else")
    func repairs() {
        func repaired(_ text: String) -> (String, Int) {
            let (json, count) = [UInt8](text.utf8).withUnsafeBytes { PayloadRepair.repaired($0) }
            return (String(decoding: json, as: UTF8.self), count)
        }
        #expect(repaired(#""\u0000""#) == (#""\ufffd""#, 1))
        #expect(repaired(#""\uD800\uDBFF\uDC00\uDC00""#) == (#""\ufffd\uDBFF\uDC00\ufffd""#, 2))
        #expect(repaired(#""\\u0000\\\u0000""#) == (#""\\u0000\\\ufffd""#, 1))
        #expect(repaired(#""\ud800\n\udc00""#) == (#""\ufffd\n\ufffd""#, 2))
        #expect(repaired(#""\u0001\u0100\u1000\ue000""#) == (#""\u0001\u0100\u1000\ue000""#, 0))
        #expect(repaired(#""cut\ud800"#) == (#""cut\ufffd"#, 1))
        #expect(repaired(#""\"#) == (#""\"#, 0))
        #expect(repaired(#""\u00"#) == (#""\u00"#, 0))
        #expect(repaired("") == ("", 0))
        // Numbers beyond what `numeric` surely takes; what only looks like one, in a text, stays.
        #expect(repaired(#"{"a":1e200000,"b":-2.5E+9999}"#) == (#"{"a":"1e200000","b":"-2.5E+9999"}"#, 2))
        #expect(repaired(#"{"1e200000":"\"1e200000","c":[1e999,-0,12.5]}"#).1 == 0)
        let long = String(repeating: "7", count: 1001)
        #expect(repaired("[\(long)]") == ("[\"\(long)\"]", 1))
    }

    /// A batch of 7 events, 5 calls and 2 updates.
    private func mixedBatch() -> WriteBatch {
        let batch = WriteBatch()
        for number in 0..<7 {
            [UInt8]("c\(number)".utf8).withUnsafeBytes { text in
                batch.appendEvent(
                    callID: text, type: text, payload: text, occurredAt: .test(Int64(number)),
                    insertedAt: .test(0), payloadNeedsRepair: false)
            }
        }
        for number in 0..<5 { batch.appendCall(.test("c\(number)")) }
        for number in 0..<2 {
            [UInt8]("c\(number)".utf8).withUnsafeBytes { batch.appendCRM(callID: $0, bitrixCallID: $0) }
        }
        return batch
    }

    @Test("parts of a batch hold its rows, each exactly once and in order")
    func parts() {
        let batch = mixedBatch()
        var rows: [String] = []
        for range in [0..<3, 3..<9, 9..<14] {
            let part = batch.part(rows: range)
            #expect(part.rowCount == range.count)
            for index in 0..<part.rowCount {
                let row = part.refusedRow(at: index, code: "", reason: "")
                rows.append("\(row.kind) \(row.callID)")
            }
        }
        #expect(
            rows == (0..<7).map { "event c\($0)" } + (0..<5).map { "call c\($0)" }
                + (0..<2).map { "crmUpdate c\($0)" })
    }

    @Test("an emptied batch is as new")
    func resetting() {
        let batch = mixedBatch()
        #expect(batch.byteCount > 0)
        batch.note(receipt: .now())
        batch.reset()
        #expect(batch.isEmpty)
        #expect(batch.byteCount == 0)
        #expect(batch.receipts.isEmpty)
        #expect(batch.eventParameters() == nil)
        #expect(batch.callParameters(pbxNames: []) == nil)
        #expect(batch.crmParameters() == nil)
    }

    @Test("a batch is full by rows or by bytes")
    func bounds() {
        let rows = WriteBatch()
        let bytes = WriteBatch()
        let large = [UInt8](repeating: 0x20, count: 64 << 10)
        [UInt8]("x".utf8).withUnsafeBytes { text in
            for number in 1...WriteBatch.maximumEvents {
                rows.appendEvent(
                    callID: text, type: text, payload: text, occurredAt: .test(0), insertedAt: .test(0),
                    payloadNeedsRepair: false)
                #expect(rows.isFull == (number == WriteBatch.maximumEvents))
            }
            large.withUnsafeBytes { payload in
                while !bytes.isFull {
                    bytes.appendEvent(
                        callID: text, type: text, payload: payload, occurredAt: .test(0),
                        insertedAt: .test(0),
                        payloadNeedsRepair: false)
                }
            }
        }
        #expect(bytes.eventCount == 16)
    }
}
