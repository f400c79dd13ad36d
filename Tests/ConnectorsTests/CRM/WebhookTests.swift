import CallEngine
import Protocols
import Reactor
import Testing

@testable import Connectors

@Suite("Webhook: each call's begin and end, signed, in order, until it is taken", .serialized)
struct WebhookTests {
    private static let secret = "0123456789abcdef"

    /// A receiver, a table and a client.
    private final class Bench {
        let http: HTTPBench
        let store: StoreBench
        private(set) var client: WebhookClient?
        private(set) var receiver: ClosureService?
        /// The status of the next answers; 200 when there is none.
        var answers: [Int] = []
        private let configuration: WebhookConfiguration

        init(configure: (inout WebhookConfiguration) -> Void = { _ in }) throws {
            http = try HTTPBench(.epoll)
            var settings = StoreBench.quick
            settings.crmTargets = ["webhook"]
            store = try StoreBench(.sqlite, settings: settings)
            store.start()
            let receiver = ClosureService { _, _ in }
            try http.serve(receiver)
            var configuration = WebhookConfiguration(
                url: try URL("http://127.0.0.1:\(http.port)/calls?key=v"), secret: WebhookTests.secret)
            configuration.firstDelay = .milliseconds(10)
            configuration.maximumDelay = .milliseconds(50)
            configure(&configuration)
            self.configuration = configuration
            self.receiver = receiver
            receiver.answer = { [unowned self] _, exchange in
                exchange.respond(status: answers.isEmpty ? 200 : answers.removeFirst(), fields: [], body: [])
            }
            start()
        }

        /// The next run of the daemon.
        func start() {
            let client = WebhookClient(
                loop: http.loop, configuration: configuration, tls: nil,
                steps: store.store.makeSteps(of: "webhook", on: http.loop), logger: http.log.logger,
                metrics: Metrics())
            client.start()
            self.client = client
        }

        func stop() {
            var isStopped = false
            client?.stop(within: .seconds(20)) { _ in isStopped = true }
            http.run { isStopped }
        }

        func plays(_ actions: [CRMAction], isTold: Bool = true) {
            for action in actions { store.commit.attach(crm: action) }
            store.settle()
            if isTold { for action in actions { client?.submit(action) } }
        }

        var requests: [HTTPRequest] { receiver?.requests ?? [] }

        func states() throws -> [CRMStepState] {
            let steps = store.store.makeSteps(of: "webhook", on: http.loop)
            steps.start()
            var rows: CRMStepRows?
            steps.load(.calls((0..<100).map { "c\($0)" })) { rows = $0 }
            http.run { rows != nil }
            return try #require(rows).steps.map(\.state)
        }

        deinit {
            stop()
            store.close()
        }
    }

    private static func call(_ id: String) -> CRMCall { CRMStepsTests.call(id) }

    @Test func aDeliveryIsSignedAndSaysWhatHappened() throws {
        let bench = try Bench()
        bench.plays([.register(Self.call("c1")), .telephones(Self.call("c1")), .finish(Self.call("c1"))])
        bench.http.run { bench.requests.count == 2 }
        #expect(bench.requests.map { $0.fields["x-callflow-event"] } == ["call.started", "call.ended"])
        let request = bench.requests[1]
        #expect(request.target == "/calls?key=v" && request.method == "POST")
        let stamp = try #require(request.fields["x-callflow-timestamp"])
        let code = try #require(
            SharedSecret.signature(of: Array("\(stamp).".utf8) + request.body, key: Self.secret))
        #expect(request.fields["x-callflow-signature"] == "sha256=\(code)")
        #expect(abs((Int64(stamp) ?? 0) - WallClock.now().microseconds / 1_000_000) < 60)
        let body = try JSONValue.parse(request.body.span.bytes)
        #expect(body["event"]?.string == "call.ended" && body["call"]?["id"]?.string == "c1")
        #expect(body["call"]?["talk_us"]?.int == 61_000_000)
        #expect(body["delivery"]?.string == request.fields["x-callflow-delivery"])
        bench.http.run { (try? bench.states()) == [.done, .done] }
    }

    @Test func whatIsNotTakenComesAgainUnderItsNameAndTheEndWaitsForTheBegin() throws {
        let bench = try Bench()
        bench.answers = [500, 404, 503, 302, 429, 401]
        bench.plays([.register(Self.call("c1")), .finish(Self.call("c1"))])
        bench.http.run(limit: .seconds(60)) { bench.requests.count == 8 }
        let events = bench.requests.map { $0.fields["x-callflow-event"] ?? "" }
        #expect(events == Array(repeating: "call.started", count: 7) + ["call.ended"])
        #expect(Set(bench.requests.map { $0.fields["x-callflow-delivery"] ?? "" }).count == 2)
    }

    @Test func goneIsGone() throws {
        let bench = try Bench()
        bench.answers = [410]
        bench.plays([.register(Self.call("c1")), .finish(Self.call("c1"))])
        bench.http.run { bench.requests.count == 2 }
        bench.http.run { (try? bench.states()) == [.failed, .done] }
    }

    @Test func whatNobodyTookForADayIsGivenUp() throws {
        let bench = try Bench { $0.maximumAge = .milliseconds(200) }
        bench.answers = Array(repeating: 500, count: 10_000)
        bench.plays([.register(Self.call("c1"))])
        bench.http.run(limit: .seconds(60)) { (try? bench.states()) == [.failed] }
    }

    @Test func aRestartGoesOnWithWhatIsInTheTableAndNothingIsForgotten() throws {
        let bench = try Bench { $0.maximumCalls = 64 }
        // More than are held in memory, and nobody told the client of them.
        let calls = (0..<100).map { Self.call("c\($0)") }
        bench.stop()
        for call in calls { bench.plays([.register(call), .finish(call)], isTold: false) }
        bench.start()
        bench.http.run(limit: .seconds(120)) { bench.requests.count >= 200 }
        #expect(Set(bench.requests.map { $0.fields["x-callflow-delivery"] ?? "" }).count == 200)
        #expect(bench.requests.count == 200)
        var last: [String: String] = [:]
        for request in bench.requests {
            let body = try JSONValue.parse(request.body.span.bytes)
            let id = body["call"]?["id"]?.string ?? ""
            let event = body["event"]?.string ?? ""
            #expect(event == "call.started" ? last[id] == nil : last[id] == "call.started", "\(id)")
            last[id] = event
        }
        bench.http.run { (try? bench.states().allSatisfy { $0 == .done }) == true }
    }

    @Test func settingsAreChecked() throws {
        func read(_ values: [String: String]) throws -> WebhookConfiguration? {
            try WebhookConfiguration(reading: { values[$0] })
        }
        #expect(try read([:]) == nil)
        let good = try read([
            "WEBHOOK_URL": "https://h.example/x?key=topsecret", "WEBHOOK_SECRET": Self.secret,
        ])
        #expect("\(try #require(good))" == "https://h.example/…")
        for bad in [
            ["WEBHOOK_URL": "https://h.example/"],
            ["WEBHOOK_URL": "https://h.example/", "WEBHOOK_SECRET": "short"],
            ["WEBHOOK_URL": "http://h.example/", "WEBHOOK_SECRET": Self.secret],
            ["WEBHOOK_URL": "ftp://h/", "WEBHOOK_SECRET": Self.secret],
        ] { #expect(throws: BitrixConfigurationError.self, "\(bad)") { try read(bad) } }
        #expect(
            try read([
                "WEBHOOK_URL": "http://h.example/", "WEBHOOK_SECRET": Self.secret, "WEBHOOK_ALLOW_HTTP": "1",
            ]) != nil)
    }
}
