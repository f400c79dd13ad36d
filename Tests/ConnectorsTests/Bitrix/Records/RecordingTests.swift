import CallEngine
import Foundation
import Protocols
import Reactor
import Simulator
import Testing

@testable import Connectors

@Suite("Recordings: where they lie")
struct RecordingTemplateTests {
    private static func call(
        _ id: String = "office-1790000000.31", caller: String? = "+79995550101",
        _ direction: CallDirection = .inbound
    ) -> CRMCall {
        var call = CRMCall(
            callID: id, direction: direction, callerNumber: caller, calleeNumber: "74950000001",
            startedAt: Timestamp(seconds: 1_790_000_000))
        call.answeredBy = "214"
        return call
    }

    @Test("variables of the call stand where they are wanted")
    func variables() throws {
        let template = try RecordingTemplate(
            "/rec/{pbx}/{direction}-{callee}-{caller}-{extension}-{id}-{uniqueid}.wav")
        #expect(
            template.location(of: Self.call(), pbx: "office")
                == "/rec/office/in-74950000001-+79995550101-214-office-1790000000.31-1790000000.31.wav")
        #expect(
            try RecordingTemplate("/r/{direction}{uniqueid}.mp3").location(
                of: Self.call("1.2", .outbound), pbx: "") == "/r/out1.2.mp3")
        var time = tm()
        var seconds = time_t(1_790_000_000)
        localtime_r(&seconds, &time)
        let path = try RecordingTemplate("/r/{year}/{month}/{day}/{hour}{minute}{second}-{id}.wav").location(
            of: Self.call("1.2"), pbx: "")
        #expect(
            path
                == String(
                    format: "/r/%04d/%02d/%02d/%02d%02d%02d-1.2.wav", time.tm_year + 1900, time.tm_mon + 1,
                    time.tm_mday, time.tm_hour, time.tm_min, time.tm_sec))
    }

    @Test("what a caller chooses leads nowhere else")
    func traversal() throws {
        let template = try RecordingTemplate("/rec/{caller}/{id}.wav")
        for evil in ["../../etc/passwd", "..", "a/b", "*", "[a-z]", "a\0b", "$(x)", "a b"] {
            let path = template.location(of: Self.call(caller: evil), pbx: "")
            let parts = path.split(separator: "/")
            #expect(parts.count == 3 && parts[0] == "rec", "\(path)")
            #expect(parts[1] != ".." && !parts[1].contains("*") && !parts[1].contains("["), "\(path)")
        }
        let address = try RecordingTemplate("https://pbx.example/{caller}/{id}.mp3")
        #expect(
            address.location(of: Self.call(caller: "a/../?b#c"), pbx: "")
                == "https://pbx.example/a%2F..%2F%3Fb%23c/office-1790000000.31.mp3")
        #expect(address.isAddress)
    }

    @Test(
        "what is no template is told why",
        arguments: [
            ("relative/{id}.wav", "begin"), ("/x/{id}.ogg", "wav or .mp3"), ("/x/{id.wav", "without a }"),
            ("/x/{nothing}{id}.wav", "{nothing}"), ("/x/all.wav", "{uniqueid}"),
            ("ftp://h/{id}.wav", "begin"),
        ])
    func problems(text: String, reason: String) {
        do throws(RecordingTemplate.Problem) {
            _ = try RecordingTemplate(text)
            Issue.record("taken: \(text)")
        } catch {
            #expect(error.description.contains(reason), "\(error)")
        }
    }
}

@Suite("Recordings: attached to finished calls, by the ledger", .serialized)
struct RecordingUploadTests {
    /// A folder of recordings.
    private final class Folder {
        let path = "/tmp/callflow-rec-\(UInt64.random(in: 0...UInt64.max))"

        init() throws {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        }
        deinit { try? FileManager.default.removeItem(atPath: path) }

        /// - Parameter age: Seconds since it was last written to.
        func write(_ name: String, bytes: Int, age: Double = 60) throws {
            try Data(repeating: 0x5A, count: bytes).write(to: URL(fileURLWithPath: "\(path)/\(name)"))
            try FileManager.default.setAttributes(
                [.modificationDate: Date().addingTimeInterval(-age)], ofItemAtPath: "\(path)/\(name)")
        }
    }

    private static func bench(
        _ template: String, arrange: (inout PortalSettings) -> Void = { _ in },
        configure: (inout BitrixConfiguration) -> Void = { _ in }
    ) throws -> BitrixBench {
        let recording = try RecordingTemplate(template)
        return try BitrixBench(arrange: arrange) {
            $0.recording = recording
            configure(&$0)
        }
    }

    private static func attached(_ bench: BitrixBench) -> [(name: String, bytes: Int)] {
        bench.portal.portal.effects.entries.compactMap { entry in
            if case .recordAttached(_, _, let name, let bytes) = entry.kind { (name, bytes) } else { nil }
        }
    }

    @Test("in two steps, once each, whole")
    func twoSteps() throws {
        let folder = try Folder()
        let bench = try Self.bench("\(folder.path)/*-{uniqueid}.wav")
        try folder.write("out-101-1.1.wav", bytes: 300_000)
        try folder.write("in-102-1.2.wav", bytes: 44)
        bench.play([BitrixBench.call("1.1"), BitrixBench.call("1.2", to: "102")])
        // The answer may still be on its way.
        bench.http.run { Self.attached(bench).count == 2 && bench.clientMetrics[.crmRecordings] == 2 }
        #expect(Self.attached(bench).map(\.name).sorted() == ["in-102-1.2.wav", "out-101-1.1.wav"])
        #expect(Self.attached(bench).map(\.bytes).sorted() == [44, 300_000])
        #expect(bench.rows.allSatisfy { $0.fileID != nil })
        #expect(bench.clientMetrics[.crmRecordings] == 2)
        #expect(bench.clientMetrics[.crmDropped] == 0)
    }

    @Test("an address is fetched by the portal")
    func address() throws {
        let bench = try Self.bench("https://pbx.example/{id}.mp3")
        bench.play([BitrixBench.call("1.1")])
        bench.http.run { Self.attached(bench).count == 1 }
        #expect(Self.attached(bench).first?.name == "1.1.mp3")
    }

    @Test("missed calls have none, and ask for none")
    func missed() throws {
        let folder = try Folder()
        let bench = try Self.bench("\(folder.path)/{id}.wav")
        try folder.write("1.1.wav", bytes: 100)
        bench.play([BitrixBench.call("1.1", outcome: .noAnswer)])
        #expect(bench.rows.count == 1)
        #expect(bench.portal.portal.requestCounts["telephony.externalcall.attachrecord"] == nil)
    }

    @Test("a file that is still written to is waited for")
    func growing() throws {
        let folder = try Folder()
        let bench = try Self.bench("\(folder.path)/{id}.wav")
        try folder.write("1.1.wav", bytes: 100, age: -1)
        bench.play([BitrixBench.call("1.1")])
        bench.http.settle(.milliseconds(300))
        #expect(Self.attached(bench).isEmpty)
        try folder.write("1.1.wav", bytes: 5_000, age: 60)
        bench.http.run { Self.attached(bench).count == 1 }
        #expect(Self.attached(bench).first?.bytes == 5_000)
    }

    @Test("a file that is too large is given up at once, and the calls behind it are not")
    func tooLarge() throws {
        let folder = try Folder()
        let bench = try Self.bench("\(folder.path)/{id}.wav") { _ in
        } configure: {
            $0.maximumRecordingBytes = 1_000
        }
        try folder.write("1.1.wav", bytes: 1_001)
        try folder.write("1.2.wav", bytes: 1_000)
        bench.play([BitrixBench.call("1.1"), BitrixBench.call("1.2", to: "102")])
        bench.http.run { Self.attached(bench).count == 1 && bench.clientMetrics[.crmDropped] == 1 }
        #expect(Self.attached(bench).first?.bytes == 1_000)
        #expect(bench.http.log.lines.contains { $0.contains("more than 1000") })
    }

    @Test("faults of the portal are outlasted; one file for each call")
    func faults() throws {
        let folder = try Folder()
        let bench = try Self.bench("\(folder.path)/{id}.wav") { _ in
        } configure: {
            $0.retry.maximumAttempts = 40
        }
        bench.portal.portal.faults = [
            PortalFaultRule(.cutBeforeEffect, percent: 10), PortalFaultRule(.cutAfterEffect, percent: 10),
            PortalFaultRule(.page(status: 502), percent: 10),
        ]
        let calls = (0..<12).map { BitrixBench.call("2.\($0)", to: "10\(1 + $0 % 2)") }
        for call in calls { try folder.write("\(call.callID).wav", bytes: 1_000) }
        bench.play(calls)
        bench.http.run(limit: .seconds(120)) {
            bench.rows.count == 12 && bench.rows.allSatisfy { $0.fileID != nil }
        }
        #expect(bench.clientMetrics[.crmDropped] == 0)
    }

    @Test("an upload goes to the portal only")
    func elsewhere() {
        let portal = HTTPOrigin(isSecure: true, host: "portal.example", port: 443)
        func target(_ url: String) -> RecordingUpload.Target? {
            RecordingUpload.target(
                in: Array(#"{"result":{"uploadUrl":"\#(url)","fieldName":"f"}}"#.utf8), portal: portal)
        }
        #expect(
            target("https://PORTAL.example/rest/upload.json?token=t")?.target == "/rest/upload.json?token=t")
        #expect(target("https://portal.example/x")?.field == "f")
        for url in [
            "https://evil.example/x", "http://portal.example/x", "nonsense", "https://portal.example.evil/x",
        ] {
            #expect(target(url) == nil, "\(url)")
        }
    }
}
