import Foundation
import Protocols
import Synchronization
import Testing

@testable import CallEngine

@Suite("Call registry: readers beside one writer")
struct CallRegistryTests {
    private static let hasher = TextHash(keyA: 7, keyB: 11)

    private static func key(_ text: String) -> CallKey {
        Array(text.utf8).withUnsafeBytes { CallKey($0, hasher) }
    }

    private final class Observations: Sendable {
        let isDone = Atomic<Bool>(false)
        let torn = Atomic<Int>(0)
        let seen = Atomic<Int>(0)
    }

    /// A record whose every field follows from `number`, so that a torn copy shows.
    private static func record(_ id: String, _ number: Int64) -> CallRecord {
        var record = CallRecord(
            id: CallUUID(high: UInt64(number), low: UInt64(number)),
            startedAt: Timestamp(microseconds: number),
            insertedAt: Timestamp(microseconds: number))
        record.answeredAt = Timestamp(microseconds: number)
        record.endedAt = Timestamp(microseconds: number)
        record.eventCount = UInt32(number)
        record.callID = key(id).text
        Array("\(number)".utf8).withUnsafeBytes {
            record.callerNumber.assign($0)
            record.calleeNumber.assign($0)
        }
        return record
    }

    private static func isWhole(_ record: CallRecord) -> Bool {
        let number = record.startedAt.microseconds
        return record.id == CallUUID(high: UInt64(number), low: UInt64(number))
            && record.insertedAt.microseconds == number && record.updatedAt.microseconds == number
            && record.answeredAt?.microseconds == number && record.endedAt?.microseconds == number
            && record.eventCount == UInt32(number) && record.callerNumber.string == "\(number)"
            && record.calleeNumber.string == "\(number)"
    }

    @Test("Finds what was published, and nothing else")
    func findsPublished() {
        let registry = CallRegistry(capacity: 1000, hasher: Self.hasher)
        for number in 0..<1000 {
            registry.publish(
                Self.record("call-\(number)", Int64(number)), slot: number,
                hash: Self.key("call-\(number)").hash,
                isNew: true)
        }
        #expect(registry.count == 1000)
        for number in 0..<1000 {
            #expect(registry.find(callID: "call-\(number)")?.eventCount == UInt32(number))
        }
        #expect(registry.find(callID: "call-1000") == nil)
        #expect(registry.find(callID: "") == nil)
        var met = 0
        registry.forEach { _ in
            met += 1
            return true
        }
        #expect(met == 1000)
    }

    @Test("Those that began at a time or later are met, by the newest that is published of each")
    func metSinceATime() {
        let registry = CallRegistry(capacity: 100, hasher: Self.hasher)
        for number in 0..<100 {
            var record = Self.record("call-\(number)", Int64(number))
            record.startedAt = Timestamp(microseconds: Int64(number) * 1000)
            let hash = Self.key("call-\(number)").hash
            registry.publish(record, slot: number, hash: hash, isNew: true)
        }
        func met(since milliseconds: Int64) -> Set<String> {
            var met: Set<String> = []
            registry.forEach(since: Timestamp(microseconds: milliseconds * 1000)) { record in
                met.insert(record.callID.string)
                return true
            }
            return met
        }
        #expect(met(since: 97) == ["call-97", "call-98", "call-99"])
        #expect(met(since: 100).isEmpty)
        #expect(met(since: -1).count == 100)
        // The begin may turn out to be another one: the PBX's own clock, a leg that was there before.
        var moved = Self.record("call-99", 99)
        moved.startedAt = Timestamp(microseconds: 5000)
        registry.publish(moved, slot: 99, hash: Self.key("call-99").hash, isNew: false)
        #expect(met(since: 97) == ["call-97", "call-98"])
    }

    @Test("Calls come and go for long without filling the table with tombstones")
    func churn() {
        let registry = CallRegistry(capacity: 64, hasher: Self.hasher)
        for number in 0..<20_000 {
            let hash = Self.key("\(number)").hash
            registry.publish(
                Self.record("\(number)", Int64(number)), slot: number % 64, hash: hash, isNew: true)
            #expect(registry.find(callID: "\(number)") != nil)
            if number >= 32 {
                let old = number - 32
                registry.retire(slot: old % 64, hash: Self.key("\(old)").hash)
                #expect(registry.find(callID: "\(old)") == nil)
            }
        }
        #expect(registry.count == 32)
    }

    @Test("A reader never sees half a record, however the writer hurries")
    func neverTorn() async {
        let registry = CallRegistry(capacity: 8, hasher: Self.hasher)
        let shared = Observations()
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                for number in 1...60_000 {
                    let id = "call-\(number % 4)"
                    let hash = Self.key(id).hash
                    registry.publish(
                        Self.record(id, Int64(number)), slot: number % 4, hash: hash, isNew: number <= 4)
                    if number % 1000 == 999, number > 4 {
                        registry.retire(slot: number % 4, hash: hash)
                        registry.publish(
                            Self.record(id, Int64(number)), slot: number % 4, hash: hash, isNew: true)
                    }
                }
                shared.isDone.store(true, ordering: .releasing)
            }
            group.addTask {
                repeat {
                    for number in 0..<4 {
                        guard let record = registry.find(callID: "call-\(number)") else { continue }
                        shared.seen.wrappingAdd(1, ordering: .relaxed)
                        if !Self.isWhole(record) || record.callID.string != "call-\(number)" {
                            shared.torn.wrappingAdd(1, ordering: .relaxed)
                        }
                    }
                    registry.forEach { record in
                        if !Self.isWhole(record) { shared.torn.wrappingAdd(1, ordering: .relaxed) }
                        return true
                    }
                } while !shared.isDone.load(ordering: .acquiring)
            }
        }
        #expect(shared.torn.load(ordering: .relaxed) == 0)
        #expect(shared.seen.load(ordering: .relaxed) > 0)
    }

    @Test("A record stays within its 256 bytes, a leg with its share of the call within a kibibyte")
    func recordSize() {
        #expect(MemoryLayout<CallRecord>.size <= 264)
        #expect(CallGraph.bytesPerLeg <= 1024, "\(CallGraph.bytesPerLeg) bytes")
        // A call of two legs: state, published copy and index places beside the legs.
        let perCall = MemoryLayout<CallState>.stride + MemoryLayout<CallRecord>.stride + 8 + 72
        #expect(perCall / 2 + CallGraph.bytesPerLeg <= 1280, "\(perCall), \(CallGraph.bytesPerLeg) bytes")
    }
}
