import Foundation
import FoundationNetworking
import Testing

@Suite("Commands around the store, as an operator runs them", .serialized)
struct StoreCommandTests {
    @Test("migrate tells, does, and has nothing left to do; statuses as sysexits.h has them")
    func migrate() async throws {
        let plan = try DaemonProcess(["migrate", "--dry-run"])
        #expect(await plan.ended() == 0)
        #expect(plan.printed.contains("would apply 1: tables of the contract"))
        #expect(plan.printed.contains("CREATE TABLE calls"))
        let files = try FileManager.default.contentsOfDirectory(atPath: plan.folder.path)
        #expect(!files.contains { $0.contains("sqlite3") }, "\(files)")
        let first = try DaemonProcess(["migrate"], folder: plan.folder)
        #expect(await first.ended() == 0)
        #expect(first.printed.contains("applied 1: tables of the contract"))
        let second = try DaemonProcess(["migrate"], folder: plan.folder)
        #expect(await second.ended() == 0)
        #expect(second.printed.contains("nothing to do"))

        let away = try DaemonProcess(["migrate"], ["DATABASE_URL": "postgres://u:topsecret@127.0.0.1:1/d"])
        #expect(await away.ended() == 69)
        #expect(away.printed.contains("refused"))
        #expect(!away.printed.contains("topsecret"))
        let wrong = try DaemonProcess(["migrate"], ["DATABASE_URL": "mysql://h/d"])
        #expect(await wrong.ended() == 78)
        let short = try DaemonProcess(["migrate"], ["EVENT_RETENTION_DAYS": "1"])
        #expect(await short.ended() == 78)
        #expect(short.printed.contains("EVENT_RETENTION_DAYS"))
    }

    @Test("rebuild wants a time, tables of today, and says what it did")
    func rebuild() async throws {
        let old = try DaemonProcess(["rebuild", "--from", "2026-01-01"])
        #expect(await old.ended() == 69)
        let migrated = try DaemonProcess(["migrate"], folder: old.folder)
        #expect(await migrated.ended() == 0)
        let done = try DaemonProcess(["rebuild", "--from", "2026-01-01"], folder: old.folder)
        #expect(await done.ended() == 0)
        #expect(done.printed.contains("written: 0"))
        for arguments in [
            ["--from", "yesterday"], ["--from", "2026-01-02", "--to", "2026-01-01T23:59:59Z"],
        ] {
            #expect(try await DaemonProcess(["rebuild"] + arguments, folder: old.folder).ended() == 64)
        }
    }

    @Test("backup copies the store of a running daemon")
    func backup() async throws {
        let daemon = try DaemonProcess(["serve"], ["PORT": "0"])
        let port = try await daemon.port(inLineWith: "API and live page")
        let event = #"{"call_id":"kept","event_type":"stasis_start","payload":{}}"#
        #expect(try await post(port, "/api/test/events", event) == 202)
        _ = try await poll(port, "/api/calls/kept") {
            String(decoding: $0, as: UTF8.self).contains("stasis_start")
        }
        let copy = try DaemonProcess(["backup", "--to", "copy.db"], folder: daemon.folder)
        #expect(await copy.ended() == 0)
        #expect(copy.printed.contains("checked"))
        let again = try DaemonProcess(["backup", "--to", "copy.db"], folder: daemon.folder)
        #expect(await again.ended() == 73)
        let other = try DaemonProcess(["backup", "--to", "x.db"], ["DATABASE_URL": "postgres://h/d"])
        #expect(await other.ended() == 64)
        let none = try DaemonProcess(["backup", "--to", "x.db"], ["DATABASE_URL": "sqlite:none.db"])
        #expect(await none.ended() == 66)
        daemon.send(SIGKILL)
        _ = await daemon.ended()
        // The copy serves.
        let restored = try DaemonProcess(
            ["serve"], ["PORT": "0", "DATABASE_URL": "sqlite:copy.db"], folder: daemon.folder)
        let second = try await restored.port(inLineWith: "API and live page")
        _ = try await poll(second, "/api/calls/kept") {
            String(decoding: $0, as: UTF8.self).contains("stasis_start")
        }
        restored.send(SIGTERM)
        #expect(await restored.ended() == 0)
    }
}
