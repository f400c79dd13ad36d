import CallEngine
import Protocols

/// The columns of `calls` that a batch writes, in the order of the upsert's parameters.
enum CallColumn: Int, CaseIterable {
    case id, callID, direction, callerNumber, calleeNumber, status, startedAt, answeredAt, endedAt
    case insertedAt, updatedAt, outcome, hangupCause, pbx, endedEstimated, partial
    // From here on what is derived from the call's legs; NULL in a row without.
    case derivedAt, outcomeRule, hungUpBy, sipCode, ringStartedAt, talkStartedAt, wait, ring, talk, hold,
        postDial
    case answeredBy, operatorNumber, transferredBy, transferredTo, queue, attempts, mergedInto, incomplete

    /// Its name in the database.
    var name: String {
        switch self {
        case .id: "id"
        case .callID: "call_id"
        case .direction: "direction"
        case .callerNumber: "caller_number"
        case .calleeNumber: "callee_number"
        case .status: "status"
        case .startedAt: "started_at"
        case .answeredAt: "answered_at"
        case .endedAt: "ended_at"
        case .insertedAt: "inserted_at"
        case .updatedAt: "updated_at"
        case .outcome: "outcome"
        case .hangupCause: "hangup_cause"
        case .pbx: "pbx"
        case .endedEstimated: "ended_estimated"
        case .partial: "partial"
        case .derivedAt: "derived_at"
        case .outcomeRule: "outcome_rule"
        case .hungUpBy: "hung_up_by"
        case .sipCode: "sip_code"
        case .ringStartedAt: "ring_started_at"
        case .talkStartedAt: "talk_started_at"
        case .wait: "wait_us"
        case .ring: "ring_us"
        case .talk: "talk_us"
        case .hold: "hold_us"
        case .postDial: "post_dial_us"
        case .answeredBy: "answered_by"
        case .operatorNumber: "operator_number"
        case .transferredBy: "transferred_by"
        case .transferredTo: "transferred_to"
        case .queue: "queue"
        case .attempts: "attempts"
        case .mergedInto: "merged_into"
        case .incomplete: "incomplete"
        }
    }

    /// Its type.
    var type: PostgresType {
        switch self {
        case .id: .uuid
        case .callID, .callerNumber, .calleeNumber: .text
        case .direction, .status, .outcome, .pbx, .outcomeRule, .hungUpBy: .text
        case .answeredBy, .operatorNumber, .transferredBy, .transferredTo, .queue, .mergedInto: .text
        case .startedAt, .answeredAt, .endedAt, .insertedAt, .updatedAt: .timestamp
        case .derivedAt, .ringStartedAt, .talkStartedAt: .timestamp
        case .hangupCause, .sipCode, .attempts: .int4
        case .wait, .ring, .talk, .hold, .postDial: .int8
        case .endedEstimated, .partial, .incomplete: .bool
        }
    }

    /// Whether it is derived from the legs, so that a newer derivation replaces it whole, also by NULL.
    var isDerived: Bool { rawValue > CallColumn.derivedAt.rawValue }

    static let derived = allCases.filter(\.isDerived)

    /// `name, name, …` of all.
    static let names = allCases.map(\.name).joined(separator: ", ")
}

/// `CallRows` as columns, in the order of `CallColumn`; their memory is used again for the next rows.
struct CallColumns {
    /// Memory of a column that is kept; a hundred rows or so.
    static let keptBytes = 4 << 10

    /// By `CallColumn.rawValue`; with their headers.
    private(set) var columns = CallColumn.allCases.map { PostgresArray(of: $0.type) }
    /// Texts that had to be cut or cleaned.
    private(set) var textsChanged = 0

    private subscript(_ column: CallColumn) -> PostgresArray {
        get { columns[column.rawValue] }
        // In place: what is read out and put back would be copied.
        _modify { yield &columns[column.rawValue] }
    }

    /// Encodes all rows, in place of those before.
    mutating func encode(_ rows: CallRows, pbxNames: [String]) {
        for index in columns.indices { columns[index].removeAll(keepingUpTo: Self.keptBytes) }
        textsChanged = 0
        for (row, record) in rows.records.enumerated() {
            self[.id].append(high: record.id.high, low: record.id.low)
            textsChanged += rows.withCallID(at: row) { self[.callID].append(columnText: $0) } ? 1 : 0
            self[.direction].append(record.direction.name)
            textsChanged +=
                rows.withCallerNumber(at: row) { self[.callerNumber].append(optionalColumnText: $0) } ? 1 : 0
            textsChanged +=
                rows.withCalleeNumber(at: row) { self[.calleeNumber].append(optionalColumnText: $0) } ? 1 : 0
            self[.status].append(record.status.name)
            self[.startedAt].append(record.startedAt)
            self[.answeredAt].append(record.answeredAt)
            self[.endedAt].append(record.endedAt)
            self[.insertedAt].append(record.insertedAt)
            self[.updatedAt].append(record.updatedAt)
            self[.outcome].append(optional: record.outcome.name)
            self[.hangupCause].append(unlessZero: record.hangupCause)
            self[.pbx].append(pbx: record.pbx, pbxNames)
            self[.endedEstimated].append(record.flags.contains(.estimatedEnd))
            // Once seen in part it stays so: a later state of the same run knows, one of another need not.
            self[.partial].append(optional: record.flags.contains(.partial) ? true : nil)
            if let details = rows.details(at: row) {
                append(details.facts, of: record)
            } else {
                for column in columns.indices where column >= CallColumn.derivedAt.rawValue {
                    columns[column].appendNull()
                }
            }
        }
        for index in columns.indices { columns[index].finish() }
    }

    private mutating func append(_ facts: CallFacts, of record: CallRecord) {
        let stored = StoredDurations(facts, isOver: record.status == .finished)
        self[.derivedAt].append(record.updatedAt)
        self[.outcomeRule].append(optional: facts.rule == .none ? "" : facts.rule.name)
        self[.hungUpBy].append(optional: facts.hungUpBy.name)
        self[.sipCode].append(unlessZero: facts.sipCode)
        self[.ringStartedAt].append(facts.ringStartedAt)
        self[.talkStartedAt].append(facts.talkStartedAt)
        self[.wait].append(optional: stored.wait)
        self[.ring].append(optional: stored.ring)
        self[.talk].append(optional: stored.talk)
        self[.hold].append(optional: stored.hold)
        self[.postDial].append(optional: facts.postDialDelayMicroseconds)
        append(facts.answeredBy, to: .answeredBy)
        append(facts.operatorNumber, to: .operatorNumber)
        append(facts.transferredBy, to: .transferredBy)
        append(facts.transferredTo, to: .transferredTo)
        append(facts.queue, to: .queue)
        self[.attempts].append(Int32(clamping: facts.attemptCount))
        append(facts.mergedInto, to: .mergedInto)
        self[.incomplete].append(optional: facts.isIncomplete ? true : nil)
    }

    private mutating func append<let size: Int>(_ text: InlineText<size>, to column: CallColumn) {
        textsChanged += text.withUnsafeBytes { self[column].append(optionalColumnText: $0) } ? 1 : 0
    }
}

/// Durations as they are stored: `nil` while they go on.
struct StoredDurations {
    var wait: Int64?
    var ring: Int64?
    var talk: Int64?
    var hold: Int64?

    init(_ facts: CallFacts, isOver: Bool) {
        if isOver || facts.talkStartedAt != nil {
            wait = facts.waitMicroseconds
            if facts.ringStartedAt != nil { ring = facts.ringMicroseconds }
        }
        if isOver {
            talk = facts.talkMicroseconds
            hold = facts.holdMicroseconds
        }
    }
}

extension PostgresArray {
    /// Appends a word of the source; an empty one is NULL.
    mutating func append(optional word: StaticString) {
        if word.utf8CodeUnitCount == 0 { appendNull() } else { append(word) }
    }

    mutating func append(optional value: Int64?) {
        if let value { append(value) } else { appendNull() }
    }

    mutating func append(optional value: Bool?) {
        if let value { append(value) } else { appendNull() }
    }

    /// Appends a cause or code; none is NULL.
    mutating func append(unlessZero code: UInt16) {
        if code == 0 { appendNull() } else { append(Int32(code)) }
    }

    /// Appends the name of a PBX; one that has none is NULL.
    mutating func append(pbx: UInt16, _ names: [String]) {
        guard Int(pbx) < names.count else { return appendNull() }
        var name = names[Int(pbx)]
        _ = name.withUTF8 { append(optionalColumnText: UnsafeRawBufferPointer($0)) }
    }
}
