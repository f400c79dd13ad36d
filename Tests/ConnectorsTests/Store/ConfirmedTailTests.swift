import Testing

@testable import Connectors

@Suite("What a promoted server lacks is known, kept within a bound, and written again in order")
struct ConfirmedTailTests {
    private func id(_ number: Int64) -> BatchID { BatchID(writer: 16, number: number) }

    private func tail(_ count: Int64, bytes: Int, each: Int = 10) -> ConfirmedTail {
        var tail = ConfirmedTail(maximumBytes: bytes)
        for number in 1...count {
            tail.confirm(id(number), rows: 2, record: [UInt8](repeating: 1, count: each))
        }
        return tail
    }

    @Test("everything behind the last batch that is there", arguments: 0...20 as ClosedRange<Int64>)
    func prefix(_ there: Int64) {
        var tail = tail(20, bytes: 1000)
        // Of the older ones the ledger names some only: its rows are used again.
        let committed = Set((max(1, there - 3)...max(1, there)).map { id($0) })
        let loss = tail.take(lackedBy: there == 0 ? [] : committed)
        #expect(loss.held.map(\.id.number) == Array((there + 1)..<21))
        #expect(loss.heldRows == Int(20 - there) * 2)
        #expect(loss.goneBatches == 0)
        #expect(!loss.isAtLeast)
        #expect(tail.heldBytes == Int(there) * 10)
        let again = tail.take(lackedBy: committed)
        #expect(again.isEmpty || there == 0, "taken once")
    }

    @Test("what made room for newer rows is counted, and kept rows stay within their bound")
    func bounds() {
        var tail = tail(20, bytes: 55)
        #expect(tail.heldBytes == 50)
        let loss = tail.take(lackedBy: [id(4)])
        #expect(loss.held.map(\.id.number) == [16, 17, 18, 19, 20])
        #expect(loss.goneBatches == 11)
        #expect(loss.goneRows == 22)
        #expect(tail.heldBytes == 0)
        // Goes on.
        tail.confirm(id(30), rows: 1, record: [1])
        let later = tail.take(lackedBy: [id(4)])
        #expect(later.held.map(\.id.number) == [30])

        var none = ConfirmedTail(maximumBytes: 0)
        for number in 1...3 { none.confirm(id(Int64(number)), rows: 5, record: nil) }
        let gone = none.take(lackedBy: [id(1)])
        #expect(gone.goneRows == 10)
    }

    @Test("names are bounded too; beyond them a loss is told as the least it is")
    func names() {
        var tail = tail(Int64(ConfirmedTail.maximumNames) + 1, bytes: 1 << 20)
        #expect(tail.heldBytes == 10 * (ConfirmedTail.maximumNames / 2 + 1))
        let all = tail.take(lackedBy: [])
        #expect(all.isAtLeast)
        #expect(all.held.count == ConfirmedTail.maximumNames / 2 + 1)
        var other = self.tail(Int64(ConfirmedTail.maximumNames) + 1, bytes: 1 << 20)
        let exact = other.take(lackedBy: [id(Int64(ConfirmedTail.maximumNames))])
        #expect(!exact.isAtLeast)
    }

    @Test("a session on the same server, or on one that cannot be told, lacks nothing")
    func identity() {
        let (first, second) = (
            PostgresIdentity(system: "7", timeline: 1), PostgresIdentity(system: "7", timeline: 2)
        )
        #expect(second.isNewer(than: first))
        #expect(!first.isNewer(than: second))
        #expect(!PostgresIdentity(system: "8", timeline: 3).isNewer(than: first))
        var settings = StoreSettings()
        settings.confirmedTailBytes = 1 << 20
        var recovery = FailoverRecovery(settings: settings, hasSeveralHosts: true)
        var found = recovery.connected(to: first, committed: [])
        #expect(found == nil)
        for number in 1...4 {
            let batch = WriteBatch()
            batch.appendCall(.test("c\(number)"))
            batch.id = id(Int64(number))
            let isRepeated = recovery.finished(batch, .success(()))
            #expect(!isRepeated)
        }
        found = recovery.connected(to: first, committed: [])
        #expect(found == nil, "rows of the ledger may be gone for being old")
        found = recovery.connected(to: nil, committed: [])
        #expect(found == nil)
        found = recovery.connected(to: second, committed: [id(1)])
        #expect(found?.heldRows == 3)
        #expect(recovery.isBusy)
        // Sent; the session is lost before any is answered for; the second was committed after all.
        let sent = (0..<3).compactMap { _ in recovery.next() }
        #expect(sent.map(\.id.number) == [2, 3, 4])
        #expect(Set(sent.map(\.slot)).count == 3)
        #expect(sent[0].callCount == 1)
        let lost = Result<Void, StoreError>.failure(.unavailable("lost"))
        let repeated = [
            recovery.finished(sent[0], lost), recovery.finished(sent[1], .success(())),
            recovery.finished(sent[2], lost),
        ]
        #expect(repeated == [true, true, true])
        #expect(recovery.waitingRows == 2)
        let next = (0..<3).map { _ in recovery.next()?.id.number }
        #expect(next == [2, 4, nil])
        #expect(recovery.isBusy, "until they are answered for")
    }
}
