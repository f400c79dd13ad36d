import CallEngine
import Protocols
import Testing

@testable import Connectors

@Suite("A batch as bytes in the spool")
struct BatchRecordTests {
    static let names = ["main", "branch"]

    private func batch() -> WriteBatch {
        let batch = WriteBatch()
        for number in 0..<3 {
            let texts = ["c\(number)", "type-\(number)", #"{"n":\#(number)}"#].map { [UInt8]($0.utf8) }
            texts[0].withUnsafeBytes { call in
                texts[1].withUnsafeBytes { type in
                    texts[2].withUnsafeBytes { payload in
                        batch.appendEvent(
                            callID: call, type: type, payload: payload, occurredAt: .test(Int64(number)),
                            insertedAt: .test(9), payloadNeedsRepair: false)
                    }
                }
            }
        }
        let long = [UInt8](String(repeating: "ж", count: 100).utf8)
        let record = CallRecord.test("c0") {
            $0.pbx = 1
            $0.status = .finished
            $0.outcome = .noAnswer
            $0.direction = .outbound
            $0.answeredAt = .test(4)
            $0.endedAt = .test(5)
            $0.updatedAt = .test(6)
            $0.hangupCause = 19
            $0.flags = [.estimatedEnd, .longTexts]
            $0.callerNumber.set("+7")
        }
        batch.appendCall(record, longTexts: LongTexts(calleeNumber: long))
        batch.appendCall(.test("c1"))
        // Replaced within the batch: only the newest goes to the disk.
        batch.appendCall(CallPartsTests.finished(60), details: CallPartsTests.details())
        batch.appendCall(
            CallPartsTests.finished(61), details: CallPartsTests.details(legs: 2, repeated: true))
        [UInt8]("c1".utf8).withUnsafeBytes { batch.appendCRM(callID: $0, bitrixCallID: $0) }
        let call = CRMCall(
            callID: "c0", direction: .inbound, callerNumber: nil, calleeNumber: "304", startedAt: .test(1),
            answeredAt: .test(2), endedAt: nil, outcome: .answered, hangupCause: 16)
        batch.attach(crm: .register(call))
        batch.attach(crm: .finish(call))
        return batch
    }

    @Test("comes back as it was: rows, long texts, what the CRM is to be told")
    func roundTrip() throws {
        let original = batch()
        let bytes = BatchRecord.encode(original, pbxNames: Self.names)
        let read = try BatchRecord.decode(bytes, pbxNames: Self.names)
        #expect(read.rowCount == original.rowCount)
        #expect(read.eventParameters()?.map(\.bytes) == original.eventParameters()?.map(\.bytes))
        #expect(
            read.callParameters(pbxNames: Self.names)?.map(\.bytes)
                == original.callParameters(pbxNames: Self.names)?.map(\.bytes))
        let (details, sent) = (
            read.detailParameters(pbxNames: Self.names), original.detailParameters(pbxNames: Self.names)
        )
        #expect(details?.legs.map(\.bytes) == sent?.legs.map(\.bytes))
        #expect(details?.legs.first?.count == 2)
        #expect(details?.segments.map(\.bytes) == sent?.segments.map(\.bytes))
        #expect(details?.surplus.map(\.bytes) == sent?.surplus.map(\.bytes))
        #expect(read.crmParameters()?.map(\.bytes) == original.crmParameters()?.map(\.bytes))
        #expect(read.crmActions == original.crmActions)
        #expect(BatchRecord.encode(read, pbxNames: Self.names) == bytes)
    }

    @Test("a PBX keeps its name though the configuration lists others before it")
    func renamed() throws {
        let read = try BatchRecord.decode(
            BatchRecord.encode(batch(), pbxNames: Self.names), pbxNames: ["new", "main", "branch"])
        #expect(read.calls.records[0].pbx == 2)
        let unknown = try BatchRecord.decode(
            BatchRecord.encode(batch(), pbxNames: Self.names), pbxNames: ["other"])
        #expect(unknown.calls.records[0].pbx == .max)
    }

    @Test("an empty batch and one of a single kind come back too")
    func small() throws {
        let empty = try BatchRecord.decode(BatchRecord.encode(WriteBatch(), pbxNames: []), pbxNames: [])
        #expect(empty.isEmpty)
    }

    @Test("any cut and any flipped bit is found")
    func damage() throws {
        let bytes = BatchRecord.encode(batch(), pbxNames: Self.names)
        for count in 0..<bytes.count {
            #expect(throws: BatchRecord.Damage.self) {
                _ = try BatchRecord.decode([UInt8](bytes[..<count]), pbxNames: Self.names)
            }
        }
        for index in bytes.indices {
            var hurt = bytes
            hurt[index] ^= 1 << UInt8(index % 8)
            #expect(throws: BatchRecord.Damage.self) {
                _ = try BatchRecord.decode(hurt, pbxNames: Self.names)
            }
        }
    }

    @Test("what a newer version wrote is refused, not read in part")
    func newer() throws {
        func sealed(_ body: [UInt8]) -> [UInt8] {
            let sum = RecordChecksum.of(body)
            return body + withUnsafeBytes(of: sum.littleEndian) { [UInt8]($0) }
        }
        #expect(throws: BatchRecord.Damage.unknownVersion(2)) {
            _ = try BatchRecord.decode(sealed(BatchRecord.magic + [2]), pbxNames: [])
        }
        #expect(throws: BatchRecord.Damage.unknownSection(99)) {
            _ = try BatchRecord.decode(sealed(BatchRecord.magic + [1, 99, 0, 0, 0, 0]), pbxNames: [])
        }
        // A call with fields that a newer version added at its end is read without them.
        var writer = RecordWriter()
        for byte in BatchRecord.magic + [1] { writer.append(byte) }
        writer.section(.calls) { section in
            section.append(UInt32(0))
            section.append(UInt32(1))
            let whole = WriteBatch()
            whole.appendCall(.test("new"))
            let old = BatchRecord.encode(whole, pbxNames: [])
            // After magic, version, section head (5), names (4) and count (4): the call with its length.
            var call = RecordReader(old[(4 + 5 + 8)..<(old.count - 8)])
            let fields = (try? call.slice()) ?? []
            section.append(bytes: [UInt8](fields) + [1, 2, 3])
        }
        let read = try BatchRecord.decode(sealed(writer.bytes), pbxNames: [])
        #expect(read.calls.withCallID(at: 0) { String(decoding: $0, as: UTF8.self) } == "new")
    }
}
