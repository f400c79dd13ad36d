import CallEngine
import Protocols

/// The columns of `call_legs` that a batch writes, in the order of the statement's parameters.
enum LegColumn: Int, CaseIterable {
    case callID, number, channelID, name, endNumber, role, result, evidence, pbx, dialedBy, cameFrom, segment
    case startedAt, dialedAt, ringingAt, answeredAt, talkStartedAt, endedAt, ring, talk, hold, cause, sipCode
    case endedEstimated, derivedAt

    /// Its name in the database.
    var column: String {
        switch self {
        case .callID: "call_id"
        case .number: "leg_no"
        case .channelID: "channel_id"
        case .name: "channel_name"
        case .endNumber: "number"
        case .role: "role"
        case .result: "result"
        case .evidence: "result_rule"
        case .pbx: "pbx"
        case .dialedBy: "dialed_by"
        case .cameFrom: "came_from"
        case .segment: "segment_no"
        case .startedAt: "started_at"
        case .dialedAt: "dialed_at"
        case .ringingAt: "ringing_at"
        case .answeredAt: "answered_at"
        case .talkStartedAt: "talk_started_at"
        case .endedAt: "ended_at"
        case .ring: "ring_us"
        case .talk: "talk_us"
        case .hold: "hold_us"
        case .cause: "cause"
        case .sipCode: "sip_code"
        case .endedEstimated: "ended_estimated"
        case .derivedAt: "derived_at"
        }
    }

    /// Its type.
    var type: PostgresType {
        switch self {
        case .callID, .channelID, .name, .dialedBy: .text
        case .endNumber, .role, .result, .evidence, .pbx, .cameFrom: .text
        case .number, .segment, .cause, .sipCode: .int4
        case .startedAt, .dialedAt, .ringingAt, .answeredAt, .talkStartedAt, .endedAt, .derivedAt:
            .timestamp
        case .ring, .talk, .hold: .int8
        case .endedEstimated: .bool
        }
    }
}

/// The columns of `call_segments` that a batch writes, in the order of the statement's parameters.
enum SegmentColumn: Int, CaseIterable {
    case callID, number, kind, name, result, by, transfer, startedAt, endedAt, derivedAt

    /// Its name in the database.
    var column: String {
        switch self {
        case .callID: "call_id"
        case .number: "segment_no"
        case .kind: "kind"
        case .name: "name"
        case .result: "result"
        case .by: "by_number"
        case .transfer: "transfer"
        case .startedAt: "started_at"
        case .endedAt: "ended_at"
        case .derivedAt: "derived_at"
        }
    }

    /// Its type.
    var type: PostgresType {
        switch self {
        case .callID: .text
        case .kind, .name, .result, .by, .transfer: .text
        case .number: .int4
        case .startedAt, .endedAt, .derivedAt: .timestamp
        }
    }
}

/// Legs and segments of the ended calls of a batch, as columns; their memory is used again for the next batch.
struct DetailColumns {
    private(set) var legs = LegColumn.allCases.map { PostgresArray(of: $0.type) }
    private(set) var segments = SegmentColumn.allCases.map { PostgresArray(of: $0.type) }
    /// Call, number of legs, number of segments, and which derivation, of calls that had been written before.
    private(set) var surplus = [PostgresType.text, .int4, .int4, .timestamp].map { PostgresArray(of: $0) }

    /// Encodes what ended calls have, in place of what was there before.
    mutating func encode(_ rows: CallRows, pbxNames: [String]) {
        Self.clear(&legs)
        Self.clear(&segments)
        Self.clear(&surplus)
        let details = rows.details
        for (row, record) in rows.records.enumerated() {
            guard let entry = details.entry(of: row), entry.isOver else { continue }
            rows.withCallID(at: row) { callID in
                for (number, index) in entry.legs.enumerated() {
                    append(
                        details.legs[index], number, callID, details.segmentOfLeg[index], record.updatedAt,
                        pbxNames)
                }
                for (number, index) in entry.segments.enumerated() {
                    append(details.segments[index], number, callID, record.updatedAt)
                }
                guard entry.isRepeated else { return }
                _ = surplus[0].append(columnText: callID)
                surplus[1].append(Int32(truncatingIfNeeded: entry.legs.count))
                surplus[2].append(Int32(truncatingIfNeeded: entry.segments.count))
                surplus[3].append(record.updatedAt)
            }
        }
        for index in legs.indices { legs[index].finish() }
        for index in segments.indices { segments[index].finish() }
        for index in surplus.indices { surplus[index].finish() }
    }

    private static func clear(_ columns: inout [PostgresArray]) {
        for index in columns.indices { columns[index].removeAll(keepingUpTo: CallColumns.keptBytes) }
    }

    private mutating func append(
        _ leg: LegRecord, _ number: Int, _ callID: UnsafeRawBufferPointer, _ segment: Int32,
        _ derivedAt: Timestamp, _ pbxNames: [String]
    ) {
        func set(_ column: LegColumn, _ body: (inout PostgresArray) -> Void) { body(&legs[column.rawValue]) }
        set(.callID) { _ = $0.append(columnText: callID) }
        set(.number) { $0.append(Int32(truncatingIfNeeded: number)) }
        set(.channelID) { channel in leg.channelID.withUnsafeBytes { _ = channel.append(columnText: $0) } }
        set(.name) { _ = $0.append(text: leg.name) }
        set(.endNumber) { _ = $0.append(text: leg.number) }
        set(.role) { $0.append(leg.roles) }
        set(.result) { $0.append(optional: leg.result.name) }
        set(.evidence) { $0.append(optional: leg.evidence.name) }
        set(.pbx) { $0.append(pbx: leg.pbx, pbxNames) }
        set(.dialedBy) { _ = $0.append(text: leg.dialedBy) }
        set(.cameFrom) { _ = $0.append(text: leg.cameFrom) }
        set(.segment) { if segment < 0 { $0.appendNull() } else { $0.append(segment) } }
        set(.startedAt) { $0.append(leg.startedAt) }
        set(.dialedAt) { $0.append(leg.dialedAt) }
        set(.ringingAt) { $0.append(leg.ringingAt) }
        set(.answeredAt) { $0.append(leg.answeredAt) }
        set(.talkStartedAt) { $0.append(leg.talkStartedAt) }
        set(.endedAt) { $0.append(leg.endedAt) }
        set(.ring) { $0.append(leg.ringMicroseconds) }
        set(.talk) { $0.append(leg.talkMicroseconds) }
        set(.hold) { $0.append(leg.holdMicroseconds) }
        set(.cause) { $0.append(unlessZero: leg.cause) }
        set(.sipCode) { $0.append(unlessZero: leg.sipCode) }
        set(.endedEstimated) { $0.append(leg.isEndEstimated) }
        set(.derivedAt) { $0.append(derivedAt) }
    }

    private mutating func append(
        _ segment: CallSegment, _ number: Int, _ callID: UnsafeRawBufferPointer, _ derivedAt: Timestamp
    ) {
        func set(_ column: SegmentColumn, _ body: (inout PostgresArray) -> Void) {
            body(&segments[column.rawValue])
        }
        set(.callID) { _ = $0.append(columnText: callID) }
        set(.number) { $0.append(Int32(truncatingIfNeeded: number)) }
        set(.kind) { $0.append(segment.kind.name) }
        set(.name) { _ = $0.append(text: segment.name) }
        set(.result) { $0.append(optional: segment.result.name) }
        set(.by) { _ = $0.append(text: segment.by) }
        set(.transfer) { $0.append(optional: segment.transfer.name) }
        set(.startedAt) { $0.append(segment.startedAt) }
        set(.endedAt) { $0.append(segment.endedAt) }
        set(.derivedAt) { $0.append(derivedAt) }
    }
}

extension PostgresArray {
    /// Appends the words of a leg's roles, joined as the table has them.
    mutating func append(_ roles: LegRoles) {
        var name = roles.name
        name.withUTF8 { append(UnsafeRawBufferPointer($0)) }
    }

    /// Appends a text as its column takes it; an empty one is NULL.
    ///
    /// - Returns: Whether it had to be changed.
    mutating func append<let size: Int>(text: InlineText<size>) -> Bool {
        text.withUnsafeBytes { append(optionalColumnText: $0) }
    }
}
