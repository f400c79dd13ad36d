/// A load and a daemon to put it on; the named ones are the rows of PERFORMANCE.md.
struct Scenario: Sendable {
    /// Where the rows go.
    enum StoreKind: String, CaseIterable, Sendable { case postgres, sqlite }
    /// How the portal behaves; `off`: the daemon knows of none.
    enum Portal: String, CaseIterable, Sendable { case off, on, slow, down }
    /// When events are sent.
    enum Pace: String, CaseIterable, Sendable {
        /// Each when it is due, however busy the daemon is (open loop).
        case schedule
        /// As fast as the daemon takes them.
        case blast
    }

    var name: String
    var summary: String
    /// Calls at once, over all PBXs.
    var calls = 5000
    /// Events a second, over all PBXs.
    var eventsPerSecond = 5000.0
    /// PBXs, each with a WebSocket of its own.
    var pbxs = 1
    /// Whether each PBX has one call after another, as of a WebSocket for each call, instead of its share of a steady load.
    var isOneCallEach = false
    /// Seconds in which the first calls begin.
    var ramp = 10.0
    /// Seconds measured, after the ramp.
    var seconds = 30.0
    /// Whether calls are rendered in advance, at some 4 MB of memory a second; longer schedules are played as they come.
    var isRenderedAhead: Bool { pace == .blast || seconds <= 600 }
    var pace = Pace.schedule
    var store = StoreKind.postgres
    var portal = Portal.off
    /// `IO` of the daemon.
    var io = "auto"
    /// `LOOPS` of the daemon; 0: one a core.
    var loops = 0
    /// Requests a second of people and programs that read the API meanwhile.
    var apiRequestsPerSecond = 0.0
    /// By how much memory may grow over the measured time; `nil`: it is not judged.
    var mostGrowthBytes: Int?
    /// Further settings of the daemon.
    var environment: [String: String] = [:]

    /// The scenarios that have a name.
    static let all: [Scenario] = [
        Scenario(
            name: "calls-1000", summary: "1,000 calls at once, 1,000 events/s", calls: 1000,
            eventsPerSecond: 1000),
        Scenario(name: "calls-5000", summary: "the promise: 5,000 calls at once, 5,000 events/s"),
        Scenario(name: "rate-1000", summary: "5,000 calls at once, 1,000 events/s", eventsPerSecond: 1000),
        Scenario(
            name: "calls-20000", summary: "20,000 calls at once, 10,000 events/s", calls: 20_000,
            eventsPerSecond: 10_000),
        Scenario(
            name: "calls-50000", summary: "the aim: 50,000 calls at once, 10,000 events/s", calls: 50_000,
            eventsPerSecond: 10_000, ramp: 20, environment: ["MAX_CALLS": "131072"]),
        Scenario(
            name: "rate-10000", summary: "5,000 calls at once, 10,000 events/s", eventsPerSecond: 10_000),
        Scenario(
            name: "rate-15000", summary: "5,000 calls at once, 15,000 events/s", eventsPerSecond: 15_000),
        Scenario(
            name: "rate-20000", summary: "5,000 calls at once, 20,000 events/s", eventsPerSecond: 20_000),
        Scenario(
            name: "burst", summary: "5,000 calls begin within one second", eventsPerSecond: 2500, ramp: 1,
            seconds: 15),
        Scenario(
            name: "blast", summary: "50,000 events as fast as they are taken", eventsPerSecond: 25_000,
            ramp: 0.5, seconds: 1.5,
            pace: .blast),
        Scenario(
            name: "blast-sqlite", summary: "50,000 events as fast as they are taken, SQLite",
            eventsPerSecond: 25_000, ramp: 0.5,
            seconds: 1.5, pace: .blast, store: .sqlite),
        Scenario(
            name: "pbxs-10", summary: "the promise, from 10 PBXs", pbxs: 10),
        Scenario(
            name: "pbxs-100", summary: "the promise, from 100 PBXs", pbxs: 100),
        Scenario(
            name: "pbxs-1000", summary: "the promise, from 1,000 PBXs of five calls each", pbxs: 1000),
        Scenario(
            name: "lines-5000", summary: "5,000 WebSockets of one call each, to 5,000 PBXs", pbxs: 5000,
            isOneCallEach: true, ramp: 20),
        Scenario(name: "epoll", summary: "the promise, on epoll", io: "epoll"),
        Scenario(name: "sqlite", summary: "the promise, on SQLite", store: .sqlite),
        Scenario(name: "crm", summary: "the promise, calls registered in a portal", portal: .on),
        Scenario(name: "crm-slow", summary: "the promise, a portal that answers after 3 s", portal: .slow),
        Scenario(name: "crm-down", summary: "the promise, a portal that does not answer", portal: .down),
        Scenario(
            name: "readers", summary: "the promise, 200 API requests/s beside", apiRequestsPerSecond: 200),
        // 4 MiB are seven bytes for each event of two minutes, and a quarter of a byte for each of an hour.
        Scenario(
            name: "soak",
            summary: "2 minutes of the promise (--seconds 3600: an hour); memory must stay flat",
            seconds: 120, mostGrowthBytes: 4 << 20),
    ]

    /// The scenario of that name.
    static func named(_ name: String) -> Scenario? { all.first { $0.name == name } }
}
