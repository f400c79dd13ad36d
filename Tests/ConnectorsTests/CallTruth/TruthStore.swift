import CallEngine
import Protocols

@testable import Connectors

/// What the database has: what a run of the daemon said, once it was durable.
final class TruthStore {
    /// A call's row and what was derived of it.
    struct Row {
        var record: CallRecord
        var facts: CallFacts?
        var legs: [LegRecord] = []
        var segments: [CallSegment] = []
    }

    private(set) var rows: [String: Row] = [:]
    private(set) var gaps: [PBXWatch.Finding] = []
    private(set) var sighting: PBXSighting?
    /// What does not hold, as it was seen.
    private(set) var problems: [String] = []
    /// Plays with a row that a kill tore away.
    private(set) var torn: Set<String> = []

    /// Places in the stream of the events that are stored of each call, and our time of their receipt.
    private var events: [String: [(number: Int, receivedAt: Timestamp)]] = [:]

    private var waiting: [() -> Void] = []
    private var waitingIDs: [String] = []

    /// Takes an event of a call, by its place in the stream; it counts when `commit` comes.
    func append(event number: Int, of callID: String, receivedAt: Timestamp) {
        waitingIDs.append(callID)
        waiting.append { [unowned self] in events[callID, default: []].append((number, receivedAt)) }
    }

    /// What is stored of open calls, and of those that became part of one of them, in the order of receipt.
    func events(ofCalls callIDs: [String]) -> [(number: Int, receivedAt: Timestamp)] {
        let asked = Set(callIDs)
        let merged = rows.filter { asked.contains($0.value.facts?.mergedInto.string ?? "") }.map(\.key)
        return (callIDs + merged).flatMap { events[$0] ?? [] }.sorted { $0.number < $1.number }
    }

    /// Takes a call's row; it counts when `commit` comes.
    func save(_ record: CallRecord, _ details: CallDetails?) {
        let id = record.callID.string
        waitingIDs.append(id)
        waiting.append { [unowned self] in
            var row = rows[id] ?? Row(record: record)
            // One that became part of another is met again by a later run, which does not read its row.
            if row.record.id != record.id, !row.record.flags.contains(.merged) {
                problems.append("\(id): two rows")
            }
            row.record = record
            if let details {
                row.facts = details.facts
                (row.legs, row.segments) = (details.legs, details.segments)
            }
            rows[id] = row
        }
    }

    func note(_ gap: PBXWatch.Finding) {
        waiting.append { [unowned self] in gaps.append(gap) }
    }

    func note(_ sighting: PBXSighting) {
        waiting.append { [unowned self] in self.sighting = sighting }
    }

    /// All that waits is durable.
    func commit() {
        for step in waiting { step() }
        waiting = []
        waitingIDs = []
    }

    /// The run that said it is dead.
    func tear() {
        torn.formUnion(waitingIDs)
        waiting = []
        waitingIDs = []
    }

    /// Rows that have not ended, as the next run reads them.
    var openCalls: [StoredCall] {
        rows.values.filter { $0.record.status == .ringing || $0.record.status == .answered }
            .sorted { $0.record.callID.string < $1.record.callID.string }
            .map { row in
                let record = row.record
                var call = StoredCall(
                    id: record.id, callID: record.callID.string, direction: "\(record.direction.name)",
                    callerNumber: record.callerNumber.string, calleeNumber: record.calleeNumber.string,
                    status: "\(record.status.name)", startedAt: record.startedAt,
                    answeredAt: record.answeredAt, endedAt: nil, insertedAt: record.insertedAt,
                    updatedAt: record.updatedAt, bitrixCallID: nil, outcome: nil, hangupCause: nil,
                    pbx: "pbx", endedEstimated: false)
                if let facts = row.facts { call.facts = StoredFacts(facts, of: record) }
                return call
            }
    }
}
