import Glibc
import Logging
import Protocols
import Reactor
import Testing

@testable import Connectors
@testable import Simulator

@Suite("Doctor: finds what keeps the daemon from its work, and says where to mend it")
struct DoctorTests {
    /// A PBX on a thread of its own, as a real one has.
    private final class PBX {
        let port: UInt16
        private let thread: LoopThread

        init(_ change: @escaping @Sendable (inout SimulatorConfiguration) -> Void = { _ in }) throws {
            let ports = Mailbox<UInt16>(capacity: 1)
            thread = try LoopThread.start(LoopConfiguration()) { loop in
                var configuration = SimulatorConfiguration()
                configuration.callsPerSecond = 0
                change(&configuration)
                guard
                    let simulator = try? PBXSimulator(
                        loop: loop, configuration: configuration,
                        logger: Logger(label: "pbx") { _ in SwiftLogNoOpLogHandler() }),
                    let bound = try? simulator.start(on: .loopback(port: 0))
                else { return }
                loop.context = simulator
                _ = ports.post(bound.port)
            }
            let own = try Loop(configuration: LoopConfiguration())
            var found: UInt16 = 0
            own.attach(ports) { found = $0 }
            let end = MonotonicInstant.now() + .seconds(10)
            while found == 0, MonotonicInstant.now() < end { own.runOnce(maximumWait: .milliseconds(10)) }
            port = found
            try #require(found != 0)
        }

        deinit {
            thread.stop()
            thread.join()
        }

        func examine(
            user: String = "callflow", password: String = "secret", path: String = "/ari/events",
            clock: () -> Timestamp = WallClock.now
        ) throws -> [Finding] {
            let url = try URL("ws://127.0.0.1:\(port)\(path)")
            let configuration = ARIConfiguration(name: "main", url: url, user: user, password: password)
            return try PBXDoctor(configuration, tls: nil).examine(clock: clock)
        }
    }

    private func finding(_ check: String, _ findings: [Finding]) throws -> Finding {
        try #require(findings.first { $0.check == check }, "\(findings)")
    }

    @Test func aSoundPBXHasNothingToMend() throws {
        let findings = try PBX { $0.callsPerSecond = 50 }.examine()
        #expect(
            findings.map(\.check) == [
                "reachable", "version", "clock", "application", "event stream", "event filter", "channelvars",
            ])
        #expect(findings.allSatisfy { $0.state == .ok || $0.check == "channelvars" }, "\(findings)")
        #expect(try finding("version", findings).text == "Asterisk 22.10.1")
        #expect(try finding("application", findings).text.contains("callflow_elixir is free"))
        let clock = try finding("clock", findings).text
        #expect(clock.contains(" ms ") && clock.contains("give or take"), "\(clock)")
    }

    @Test func withoutACallChannelvarsAreUnknownAndTheFileIsNamed() throws {
        let found = try finding("channelvars", try PBX().examine())
        #expect(found.state == .unknown)
        #expect(found.remedy.contains("ari.conf"))
        #expect(found.remedy.contains("channelvars = CHANNEL(linkedid)"))
    }

    @Test func wrongPasswordIsTheOnlyFindingAndIsNotShown() throws {
        let findings = try PBX().examine(password: "hunter2secret")
        #expect(findings.map(\.state) == [.failure])
        #expect(findings[0].remedy.contains("[callflow]"))
        #expect(!"\(findings)".contains("hunter2secret"))
    }

    @Test func aUserWhoMayOnlyReadIsFoundBeforeTheDaemonFails() throws {
        let found = try finding("event filter", try PBX().examine(user: "watcher"))
        #expect(found.state == .failure)
        #expect(found.remedy.contains("read_only = no"))
    }

    @Test func aWrongPathNamesTheModuleAndTheFile() throws {
        let findings = try PBX().examine(path: "/wrong/events")
        #expect(findings.map(\.state) == [.failure])
        #expect(findings[0].remedy.contains("ari.conf"))
    }

    @Test func nobodyListeningNamesHttpConf() throws {
        let port: UInt16
        do {
            let pbx = try PBX()
            port = pbx.port
        }
        let configuration = ARIConfiguration(
            name: "main", url: try URL("ws://127.0.0.1:\(port)/ari/events"), user: "callflow", password: "x")
        let findings = try PBXDoctor(configuration, tls: nil).examine(clock: WallClock.now)
        #expect(findings.map(\.state) == [.failure])
        #expect(findings[0].remedy.contains("http.conf"))
    }

    @Test(arguments: [90, -90])
    func aClockThatIsOffIsMeasured(_ seconds: Int) throws {
        // Our clock is set forth or back; the PBX seems to be behind or ahead.
        let found = try finding("clock", try PBX().examine { WallClock.now() + .seconds(seconds) })
        #expect(found.state == .warning)
        #expect(found.text.contains(seconds > 0 ? "behind ours" : "ahead of ours"), "\(found.text)")
        #expect(
            found.text.hasPrefix("90") || found.text.hasPrefix("89") || found.text.hasPrefix("91"),
            "\(found.text)")
    }

    @Test func datesOfHTTPAnswers() {
        #expect(HTTPDate.parse("Sun, 06 Nov 1994 08:49:37 GMT") == Timestamp("1994-11-06T08:49:37Z"))
        #expect(HTTPDate.parse("Sat, 31 Dec 2022 23:59:59 GMT") == Timestamp("2022-12-31T23:59:59Z"))
        for text in [
            "", "now", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET",
        ] {
            #expect(HTTPDate.parse(text) == nil, "\(text)")
        }
    }
}

@Suite("Doctor: ari.conf tells what ARI does not")
struct ARIConfFileTests {
    private func states(_ text: String, user: String = "callflow") -> [String: Finding.State] {
        let findings = ARIConfFile(text).examine(path: "/x/ari.conf", user: user)
        return Dictionary(findings.map { ($0.check, $0.state) }, uniquingKeysWith: { first, _ in first })
    }

    @Test func aGoodFile() {
        let text = """
            ; comment
            [general]
            enabled = yes   ; on
            websocket_write_timeout=5000
            channelvars => CHANNEL(linkedid), intNum

            [callflow]
            type=user
            password=secret
            """
        #expect(states(text) == ["websocket_write_timeout": .ok, "channelvars in the file": .ok])
    }

    @Test func defaultsAreNamedWithWhatToWrite() throws {
        let findings = ARIConfFile("[general]\nenabled=yes\n[callflow]\nread_only=yes\n").examine(
            path: "/x/ari.conf", user: "callflow")
        let timeout = try #require(findings.first { $0.check == "websocket_write_timeout" })
        #expect(timeout.state == .warning)
        #expect(timeout.text.hasPrefix("100 ms"))
        #expect(timeout.remedy == "/x/ari.conf: [general] websocket_write_timeout = 5000")
        #expect(findings.contains { $0.check == "ARI user" && $0.state == .failure })
        #expect(findings.contains { $0.check == "channelvars in the file" && $0.state == .warning })
    }

    @Test func switchedOffAndForeignUsers() {
        let found = states("[general]\nenabled = no\n[other]\ntype=user\n")
        #expect(found["ari.conf"] == .failure)
        #expect(found["ARI user"] == .warning)
    }

    @Test func passwordsAreNeverShown() {
        let findings = ARIConfFile("[general]\npassword=topsecret\n[callflow]\npassword = topsecret\n")
            .examine(path: "p", user: "x")
        #expect(!"\(findings)".contains("topsecret"))
    }
}

@Suite("Doctor: the database and the machine")
struct StoreDoctorTests {
    private func examine(_ url: String, clock: () -> Timestamp = WallClock.now) throws -> [Finding] {
        try StoreDoctor(StoreLocation(databaseURL: url), settings: StoreSettings(), poolSize: 10).examine(
            clock: clock)
    }

    @Test func aDamagedFileIsFound() throws {
        let path = "/tmp/callflow-doctor-\(getpid())-\(UInt32.random(in: 0...UInt32.max)).sqlite3"
        defer { unlink(path) }
        let file = try #require(fopen(path, "wb"))
        fputs("SQLite format 3\0 and then nonsense, " + String(repeating: "x", count: 5000), file)
        fclose(file)
        let findings = try examine("sqlite:\(path)")
        #expect(findings.first?.state == .failure)
        #expect(findings.first?.remedy.contains("backup") == true)
    }

    @Test func aFolderThatIsNotThere() throws {
        let findings = try examine("sqlite:/nonexistent/folder/store.sqlite3")
        #expect(findings.map(\.state) == [.failure])
        #expect(findings[0].remedy.contains("DATABASE_URL"))
    }

    @Test func aServerThatIsAwayShowsNoPassword() throws {
        let findings = try examine("postgres://joe:topsecret@127.0.0.1:1/db")
        #expect(findings.map(\.state) == [.failure])
        #expect(findings[0].remedy.contains("pg_hba.conf"))
        #expect(!"\(findings)".contains("topsecret"))
    }

    @Test(.enabled(if: PostgresCluster.isInstalled))
    func aServerBeforeAndAfterTheFirstStart() throws {
        let url = try PostgresCluster.shared().makeDatabase()
        let before = try examine(url)
        #expect(before.first { $0.check == "tables" }?.text == "not there yet")
        _ = try StoreUpgrade(location: StoreLocation(databaseURL: url), settings: StoreSettings()).apply()
        let after = try examine(url)
        #expect(after.first { $0.check == "tables" } == Finding(.database, "tables", .ok, "up to date"))
        #expect(after.first { $0.check == "rights" }?.state == .ok)
        // The tests' cluster runs without fsync, and that is said.
        #expect(after.first { $0.check == "durability" }?.state == .warning)
        let shifted = try examine(url) { WallClock.now() + .seconds(3600) }
        #expect(shifted.first { $0.check == "clock" }?.state == .warning)
    }

    @Test func moreLoopsThanCores() {
        let findings = MachineDoctor(ioMode: .epoll, loops: 10_000).examine()
        #expect(findings.first { $0.check == "cores" }?.state == .warning)
        #expect(findings.first { $0.check == "io_uring" }?.text.hasPrefix("epoll") == true)
    }
}
