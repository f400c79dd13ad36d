import CallEngine
import Protocols

/// A row that the database does not take; kept in `dead_letters` and left out of its batch.
package struct RefusedRow: Sendable, Hashable {
    /// Which table it was meant for.
    package enum Kind: String, Sendable {
        case event, call
        /// Bitrix24's id of a call.
        case crmUpdate = "crm_update"
        /// A gap or a sighting of a PBX.
        case note
        /// A step for a CRM.
        case step = "crm_step"
    }

    package var kind: Kind
    /// The call's key.
    package var callID: String
    /// The stored event type; empty for other rows.
    package var eventType: String
    /// The database's code of the reason (SQLSTATE, or SQLite's result code).
    package var code: String
    /// The database's words.
    package var reason: String
    /// What the row held: an event's payload, else the row as JSON.
    package var payload: [UInt8]
}

extension WriteBatch {
    /// The row at `index` (events first, then calls, then Bitrix24's ids, then notes, then steps) as a dead letter.
    func refusedRow(at index: Int, code: String, reason: String) -> RefusedRow {
        var row = RefusedRow(
            kind: .crmUpdate, callID: "", eventType: "", code: code, reason: reason, payload: [])
        if index < eventCount {
            row.kind = .event
            events.withRow(at: index) { event in
                row.callID = String(decoding: event.callID, as: UTF8.self)
                row.eventType = String(decoding: event.type, as: UTF8.self)
                row.payload = event.payload.map { [UInt8]($0) } ?? []
            }
        } else if index < eventCount + callCount {
            let call = index - eventCount
            row.kind = .call
            row.callID = calls.withCallID(at: call) { String(decoding: $0, as: UTF8.self) }
            row.payload = calls.json(at: call)
        } else if index >= eventCount + callCount + crmUpdates.count + notes.count {
            let step = CRMStepRow(crmActions[index - eventCount - callCount - crmUpdates.count - notes.count])
            row.kind = .step
            row.callID = step.call.callID
            row.eventType = step.kind.rawValue
            row.payload = step.call.json
        } else if index >= eventCount + callCount + crmUpdates.count {
            row.kind = .note
            row.payload = [UInt8]("\(notes[index - eventCount - callCount - crmUpdates.count])".utf8)
        } else {
            let update = crmUpdates[index - eventCount - callCount]
            row.callID = String(decoding: update.callID, as: UTF8.self)
            row.payload = JSONWriter.object {
                $0.member("bitrix_call_id", String(decoding: update.bitrixCallID, as: UTF8.self))
            }
        }
        return row
    }
}

extension CallRows {
    /// A row as JSON, its numbers as they are, for a person who looks for what was wrong with it.
    fileprivate func json(at row: Int) -> [UInt8] {
        let record = records[row]
        return JSONWriter.object { json in
            json.member("id", record.id.string)
            json.member("call_id", withCallID(at: row) { String(decoding: $0, as: UTF8.self) })
            json.member("direction", String(describing: record.direction))
            json.member("caller_number", withCallerNumber(at: row) { String(decoding: $0, as: UTF8.self) })
            json.member("callee_number", withCalleeNumber(at: row) { String(decoding: $0, as: UTF8.self) })
            json.member("status", String(describing: record.status))
            json.member("started_at_us", Int(record.startedAt.microseconds))
            json.member("answered_at_us", record.answeredAt.map { Int($0.microseconds) } ?? 0)
            json.member("ended_at_us", record.endedAt.map { Int($0.microseconds) } ?? 0)
            json.member("inserted_at_us", Int(record.insertedAt.microseconds))
            json.member("updated_at_us", Int(record.updatedAt.microseconds))
            json.member("outcome", String(describing: record.outcome))
            json.member("hangup_cause", Int(record.hangupCause))
            guard let entry = details(at: row) else { return }
            json.key("legs")
            json.array { list in
                for leg in details.legs[entry.legs] {
                    list.object {
                        $0.member("channel_id", leg.channelID.string)
                        $0.member("role", leg.roles.name)
                        $0.member("started_at_us", Int(leg.startedAt.microseconds))
                        $0.member("ended_at_us", leg.endedAt.map { Int($0.microseconds) } ?? 0)
                    }
                }
            }
        }
    }
}
