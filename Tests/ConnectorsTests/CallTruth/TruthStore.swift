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

    private var waiting: [() -> Void] = []
    private var waitingIDs: [String] = []

    /// Takes a call's row; it counts when `commit` comes.
    func save(_ record: CallRecord, _ details: CallDetails?) {
        let id = record.callID.string
        waitingIDs.append(id)
        waiting.append { [unowned self] in
            var row = rows[id] ?? Row(record: record)
            if row.record.id != record.id { problems.append("\(id): two rows") }
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
                return StoredCall(
                    id: record.id, callID: record.callID.string, direction: "\(record.direction.name)",
                    callerNumber: record.callerNumber.string, calleeNumber: record.calleeNumber.string,
                    status: "\(record.status.name)", startedAt: record.startedAt,
                    answeredAt: record.answeredAt, endedAt: nil, insertedAt: record.insertedAt,
                    updatedAt: record.updatedAt, bitrixCallID: nil, outcome: nil, hangupCause: nil,
                    pbx: "pbx", endedEstimated: false)
            }
    }
}
