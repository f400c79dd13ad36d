import CallEngine
import Foundation
import Protocols
import Reactor
import Simulator
import Testing

@testable import Connectors

/// The client as the daemon has it, with its steps in a database and real sockets to the portal; the portal's ledger is the judge.
///
/// Pauses and limits are short: a thousandth of the daemon's where a test says so, so that an hour is 3.6 s. What is judged
/// does not depend on how long anything took.
final class LedgerBench {
    /// A call, and what the portal must hold of it, said here without the client's own code.
    struct Truth {
        var call: CRMCall
        var type: Int
        var number: String
        var userID: Int
        var status: String
        var duration: Int
    }

    let http: HTTPBench
    let portal: FakeBitrixServer
    let store: StoreBench
    let client: BitrixClient
    let metrics = Metrics()
    private let address: SocketAddress

    init(
        clock: (() -> Timestamp)? = nil, arrange: (inout PortalSettings) -> Void = { _ in },
        configure: (inout BitrixConfiguration) -> Void = { _ in }
    ) throws {
        http = try HTTPBench(.epoll)
        var settings = PortalSettings(users: SenderSimulation.users)
        settings.plan = .unlimited
        settings.maximumLogEntries = 100_000
        arrange(&settings)
        portal = FakeBitrixServer(loop: http.loop, portal: FakeBitrixPortal(settings: settings), clock: clock)
        address = try portal.listen(on: .loopback(port: 0), logger: http.log.logger, metrics: http.metrics)
        var stores = StoreBench.quick
        stores.crmTargets = [CRMTargetName.bitrix24.rawValue]
        store = try StoreBench(.sqlite, settings: stores)
        store.start()
        var configuration = BitrixConfiguration(
            webhook: try BitrixWebhook(portal.webhookURL(port: address.port)))
        configuration.pbxNames = ["main"]
        configuration.requestsPerSecond = 10_000
        configuration.requestBurst = 10_000
        configuration.outcomeSettles = .milliseconds(100)
        configuration.requestTimeout = .seconds(5)
        configuration.batchTimeout = .seconds(10)
        configuration.retry.firstDelay = .milliseconds(2)
        configuration.retry.maximumDelay = .milliseconds(120)
        configure(&configuration)
        client = BitrixClient(
            loop: http.loop, configuration: configuration, tls: nil,
            steps: store.store.makeSteps(of: CRMTargetName.bitrix24.rawValue, on: http.loop),
            logger: http.log.logger, metrics: metrics)
    }

    deinit {
        client.stop()
        portal.close()
        store.close()
    }

    /// The portal goes away: nobody listens where it was, and what is under way is cut.
    func portalGoes() { portal.close() }

    /// It is back at the same address, with all it had.
    func portalComes() throws {
        _ = try portal.listen(on: address, logger: http.log.logger, metrics: http.metrics)
    }

    // MARK: Calls

    /// Calls of all kinds that begin now and end within minutes.
    static func calls(_ count: Int, seed: UInt64) -> [Truth] {
        var random = SimulationRandom(state: seed)
        let now = WallClock.now().microseconds / 1_000_000
        return (0..<count).map { index in
            let isIncoming = Bool.random(using: &random)
            let user = Int.random(in: 0..<40, using: &random)
            let number = "+7999\(1_000_000 + index)"
            let talk = Int64.random(in: 1...300, using: &random)
            let outcome = [CallOutcome.answered, .answered, .noAnswer, .busy][
                Int.random(in: 0..<4, using: &random)]
            var call = CRMCall(
                callID: "l\(seed).\(index)", direction: isIncoming ? .inbound : .outbound,
                callerNumber: isIncoming ? number : "\(200 + user)",
                calleeNumber: isIncoming ? "\(200 + user)" : number,
                startedAt: Timestamp(microseconds: (now - 20) * 1_000_000))
            call.endedAt = Timestamp(microseconds: (now + talk) * 1_000_000)
            call.outcome = outcome
            var status = "486"
            if outcome == .answered {
                call.answeredAt = Timestamp(microseconds: now * 1_000_000)
                status = "200"
            } else if outcome == .noAnswer {
                status = isIncoming ? "304" : "480"
            }
            return Truth(
                call: call, type: isIncoming ? 2 : 1, number: number, userID: 10 + user, status: status,
                duration: outcome == .answered ? Int(talk) : 0)
        }
    }

    /// Calls begin: their rows are committed, and the client is told.
    func begin(_ calls: some Sequence<Truth>) {
        tell(calls.map { .register(SenderSimulation.begun($0.call)) })
    }

    /// Calls end.
    func end(_ calls: some Sequence<Truth>) { tell(calls.map { .finish($0.call) }) }

    /// - Parameter isTold: Whether the client hears of it at once; else it finds it in the table.
    func tell(_ actions: [CRMAction], isTold: Bool = true) {
        for action in actions { store.commit.attach(crm: action) }
        store.settle()
        if isTold { for action in actions { client.submit(action) } }
    }

    /// Call after call begins, and ends when `talking` others have begun behind it, `pause` apart.
    func play(
        _ truth: [Truth], talking: Int = 20, pause: Duration, before: (Int) throws -> Void = { _ in }
    ) rethrows {
        for index in 0..<(truth.count + talking) {
            try before(index)
            if index < truth.count { begin([truth[index]]) }
            if index >= talking { end([truth[index - talking]]) }
            http.settle(pause)
        }
    }

    /// Waits until everything is done, and compares the ledger with the truth.
    func judge(
        _ truth: [Truth], within limit: Duration = .seconds(120),
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        http.run(limit: limit, sourceLocation: sourceLocation) {
            portal.portal.statistics.count >= truth.count && client.pendingSteps == 0 && client.callCount == 0
        }
        var rows: [String: [StatisticsRow]] = [:]
        for row in portal.portal.statistics.values {
            rows[row.call.externalCallID ?? "", default: []].append(row)
        }
        var wrong: [String] = []
        for item in truth {
            let found = rows.filter { $0.key.hasSuffix("-\(item.call.callID)") }.flatMap(\.value)
            guard found.count == 1, let row = found.first else {
                wrong.append("\(item.call.callID): \(found.count) activities")
                continue
            }
            if row.call.type != item.type || row.call.phoneNumber != item.number || row.userID != item.userID
                || row.statusCode != item.status || row.duration != item.duration || row.activityID == nil
            {
                wrong.append("\(item.call.callID): \(row)")
            }
        }
        #expect(wrong.isEmpty, "\(wrong.prefix(3)), \(wrong.count) in all", sourceLocation: sourceLocation)
        #expect(portal.portal.statistics.count == truth.count, sourceLocation: sourceLocation)
        #expect(
            portal.portal.entities.count == Set(truth.map(\.number)).count, "one lead for each number",
            sourceLocation: sourceLocation)
        #expect(portal.portal.activeCalls.isEmpty, "calls left open", sourceLocation: sourceLocation)
        let present = Set(portal.portal.settings.users.filter(\.isActive).map(\.id))
        let cards = portal.portal.cards.reduce(0) { $0 + (present.contains($1.key) ? $1.value.count : 0) }
        #expect(cards == 0, "orphan cards", sourceLocation: sourceLocation)
        #expect(metrics[.crmDropped] == 0, sourceLocation: sourceLocation)
    }

    func refusals(_ code: String) -> Int { portal.portal.refusals.entries.count { $0.code == code } }
}
