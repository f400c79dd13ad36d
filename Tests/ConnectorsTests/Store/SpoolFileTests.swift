import CallEngine
import Foundation
import Protocols
import Reactor
import Testing

@testable import Connectors

@Suite("The spool's file")
struct SpoolFileTests {
    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = "/tmp/callflow-spool-\(UInt64.random(in: 0...UInt64.max))"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try body(folder)
    }

    private func record(_ key: Int64, bytes: Int = 3000, weight: SpoolRecord.Weight = .whole) -> SpoolRecord {
        let batch = WriteBatch()
        let payload = [UInt8]("\"\(String(repeating: "x", count: bytes))\"".utf8)
        [UInt8]("call-\(key)".utf8).withUnsafeBytes { text in
            payload.withUnsafeBytes { payload in
                batch.appendEvent(
                    callID: text, type: text, payload: payload, occurredAt: .test(key),
                    insertedAt: .test(key),
                    payloadNeedsRepair: false)
            }
        }
        return SpoolRecord(
            key: key, id: BatchID(writer: 0xABC0, number: key), weight: weight, events: 1,
            receivedAt: .test(key), calls: batch.callHashes, bytes: BatchRecord.encode(batch, pbxNames: []))
    }

    @Test("is for the daemon's user alone, with the files beside it, whoever made it")
    func rights() throws {
        try withFolder { folder in
            let path = "\(folder)/s.spool"
            #expect(FileManager.default.createFile(atPath: path, contents: nil))
            try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
            let (file, _) = try SpoolFile.open(SpoolSettings(path: path, maximumBytes: 64 << 20))
            try withExtendedLifetime(file) {
                for name in try FileManager.default.contentsOfDirectory(atPath: folder) {
                    let attributes = try FileManager.default.attributesOfItem(atPath: "\(folder)/\(name)")
                    #expect((attributes[.posixPermissions] as? Int).map { $0 & 0o077 } == 0, "\(name)")
                }
            }
        }
    }

    @Test("keeps batches over a restart, in order, with all that is known of them")
    func reopened() throws {
        try withFolder { folder in
            let settings = SpoolSettings(path: "\(folder)/s.spool", maximumBytes: 64 << 20)
            do {
                let (file, report) = try SpoolFile.open(settings)
                #expect(report.damage == nil)
                try file.transaction { () throws(StoreError) in
                    for key in 1...20 { try file.append(record(Int64(key)), lane: key % 3) }
                    try file.remove(4)
                    try file.remove(4)
                }
                #expect(file.batches == 19)
            }
            let (file, _) = try SpoolFile.open(settings)
            #expect(file.batches == 19)
            #expect(file.events == 19)
            #expect(try file.lastKey() == 20)
            // Lanes that are no more: their batches go to others.
            let contents = try file.contents(lanes: 2)
            #expect(contents.map(\.batches).reduce(0, +) == 19)
            #expect(contents.allSatisfy { $0.writers == [0xABC0] })
            #expect(contents[0].calls.count + contents[1].calls.count == 19)
            var keys: [Int64] = []
            var after: Int64 = 0
            while true {
                let (records, isLast) = try file.load(
                    lane: 0, after: after, maximumCount: 4, maximumBytes: 1 << 20)
                for record in records {
                    #expect(BatchRecord.isWhole(record.bytes))
                    #expect(record.id.number == record.key)
                    #expect(record.receivedAt == .test(record.key))
                }
                keys += records.map(\.key)
                after = records.last?.key ?? after
                if isLast { break }
            }
            #expect(keys == keys.sorted())
            #expect(keys.count == contents[0].batches)
            // Bytes bound a load too, to one batch at least.
            #expect(try file.load(lane: 0, after: 0, maximumCount: 9, maximumBytes: 1).records.count == 1)
        }
    }

    @Test("an aborted transaction leaves nothing, not even in the sums")
    func aborted() throws {
        try withFolder { folder in
            let (file, _) = try SpoolFile.open(SpoolSettings(path: "\(folder)/s", maximumBytes: 64 << 20))
            let before = file.bytes
            #expect(throws: StoreError.self) {
                try file.transaction { () throws(StoreError) in
                    try file.append(record(1), lane: 0)
                    try file.append(record(1), lane: 0)
                }
            }
            #expect(file.bytes == before)
            #expect(file.batches == 0)
            #expect(try file.load(lane: 0, after: 0, maximumCount: 9, maximumBytes: 1 << 20).records.isEmpty)
        }
    }

    @Test("the last tenth is for calls, the one before for events without payload")
    func weights() throws {
        try withFolder { folder in
            let settings = SpoolSettings(path: "\(folder)/s", maximumBytes: 1_000_000)
            let (file, _) = try SpoolFile.open(settings)
            var key: Int64 = 0
            for weight in SpoolRecord.Weight.allCases {
                while file.hasRoom(for: 10_000, weight) {
                    key += 1
                    try file.transaction { () throws(StoreError) in
                        try file.append(record(key, bytes: 9_900, weight: weight), lane: 0)
                    }
                }
                #expect(abs(file.bytes - settings.limit(for: weight)) < 11_000)
                #expect(!file.isRoomy)
            }
            try file.transaction { () throws(StoreError) in for key in 1...60 { try file.remove(Int64(key)) }
            }
            #expect(file.isRoomy)
        }
    }

    @Test("another process's spool is not touched")
    func exclusive() throws {
        try withFolder { folder in
            let settings = SpoolSettings(path: "\(folder)/s", maximumBytes: 64 << 20)
            let (file, _) = try SpoolFile.open(settings)
            try file.transaction { () throws(StoreError) in try file.append(record(1), lane: 0) }
            // Without a wait for the lock: who opens it meanwhile is told so.
            #expect(throws: StoreError.self) { _ = try SpoolFile.open(settings) }
            #expect(file.batches == 1)
            withExtendedLifetime(file) {}
        }
    }

    @Test(
        "a damaged file is moved aside, what can be read is carried over",
        arguments: ["text", "page", "head"])
    func damaged(_ kind: String) throws {
        try withFolder { folder in
            let path = "\(folder)/s.spool"
            let settings = SpoolSettings(path: path, maximumBytes: 64 << 20)
            do {
                let (file, _) = try SpoolFile.open(settings)
                for key in 1...60 {
                    try file.transaction { () throws(StoreError) in
                        try file.append(record(Int64(key), bytes: 40_000), lane: 0)
                    }
                }
            }
            var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
            switch kind {
            case "text": bytes = Data(repeating: 0x41, count: 50_000)
            case "page":
                let start = bytes.count / 2 / SpoolFile.pageBytes * SpoolFile.pageBytes
                for index in start..<start + SpoolFile.pageBytes * 3 { bytes[index] = 0x5A }
            default: for index in 0..<100 { bytes[index] = 0 }
            }
            try bytes.write(to: URL(fileURLWithPath: path))
            let (file, report) = try SpoolFile.open(settings)
            // A record in the middle of a page may be hurt without SQLite's noticing; its checksum does.
            if kind != "page" { #expect(report.damage != nil) }
            let records = try file.load(lane: 0, after: 0, maximumCount: 99, maximumBytes: 1 << 30).records
            let whole = records.count { BatchRecord.isWhole($0.bytes) }
            if kind == "page" { #expect(whole >= 50, "\(whole) of 60") } else { #expect(records.isEmpty) }
            if let moved = report.damage?.movedTo { #expect(FileManager.default.fileExists(atPath: moved)) }
            // And it works.
            try file.transaction { () throws(StoreError) in try file.append(record(99), lane: 0) }
        }
    }

    @Test(
        "a full disk: what is there stays, removals still go through, room is used again",
        .enabled(if: SmallDisk.isPossible, "no right to mount a tmpfs"))
    func fullDisk() throws {
        let disk = try SmallDisk(megabytes: 28)
        defer { disk.remove() }
        let (file, _) = try SpoolFile.open(SpoolSettings(path: "\(disk.folder)/s", maximumBytes: 1 << 30))
        var kept: [Int64] = []
        var refused = 0
        for key in 1...200 where refused < 3 {
            do {
                try file.transaction { () throws(StoreError) in
                    try file.append(record(Int64(key), bytes: 200_000), lane: 0)
                }
                kept.append(Int64(key))
            } catch {
                refused += 1
            }
        }
        #expect(kept.count > 10)
        #expect(refused == 3)
        for key in kept.prefix(kept.count / 2) {
            do {
                try file.transaction { () throws(StoreError) in try file.remove(key) }
            } catch {
                #expect(file.freeReserve(), "a removal finds no room without the reserve")
                try file.transaction { () throws(StoreError) in try file.remove(key) }
            }
        }
        let left = try file.load(lane: 0, after: 0, maximumCount: 999, maximumBytes: 1 << 30).records
        #expect(left.map(\.key) == Array(kept.dropFirst(kept.count / 2)))
        #expect(left.allSatisfy { BatchRecord.isWhole($0.bytes) })
        try file.transaction { () throws(StoreError) in
            try file.append(record(1000, bytes: 200_000), lane: 0)
        }
    }
}

/// A file system of its own that is soon full.
final class SmallDisk {
    static let isPossible: Bool = {
        guard geteuid() == 0, let disk = try? SmallDisk(megabytes: 1) else { return false }
        disk.remove()
        return true
    }()

    struct Failure: Error {}

    let folder: String

    init(megabytes: Int) throws {
        folder = "/tmp/callflow-disk-\(UInt64.random(in: 0...UInt64.max))"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        guard mount("tmpfs", folder, "tmpfs", 0, "size=\(megabytes)m") == 0 else {
            try? FileManager.default.removeItem(atPath: folder)
            throw Failure()
        }
    }

    func remove() {
        _ = umount2(folder, 2)
        try? FileManager.default.removeItem(atPath: folder)
    }
}
