import CallEngine
import Protocols

extension WriteBatch {
    /// Takes the rows of one section.
    func take(
        _ section: BatchRecord.Section, _ reader: inout RecordReader, _ pbxNames: [String]
    ) throws(BatchRecord.Damage) {
        switch section {
        case .events: setEvents(try EventRows(reading: &reader))
        case .calls: try takeCalls(&reader, pbxNames)
        case .crmUpdates:
            for _ in 0..<(try reader.uint32()) {
                let callID = [UInt8](try reader.slice())
                let bitrixCallID = [UInt8](try reader.slice())
                callID.withUnsafeBytes { callID in
                    bitrixCallID.withUnsafeBytes { appendCRM(callID: callID, bitrixCallID: $0) }
                }
            }
        case .crmActions:
            for _ in 0..<(try reader.uint32()) {
                attach(crm: try CRMAction(reading: &reader, pbxNames))
            }
        case .notes:
            for _ in 0..<(try reader.uint32()) { append(note: try StoreNote(reading: &reader)) }
        }
    }

    private func takeCalls(
        _ reader: inout RecordReader, _ pbxNames: [String]
    ) throws(BatchRecord.Damage) {
        var pbxs: [UInt16] = []
        for _ in 0..<(try reader.uint32()) {
            let name = String(decoding: try reader.slice(), as: UTF8.self)
            pbxs.append(pbxNames.firstIndex(of: name).map { UInt16(truncatingIfNeeded: $0) } ?? .max)
        }
        for _ in 0..<(try reader.uint32()) {
            var fields = RecordReader(try reader.slice())
            let (record, texts) = try CallRecord.read(&fields, pbxs: pbxs)
            appendCall(record, longTexts: texts)
            // Batches of an earlier version end here.
            if !fields.isAtEnd { try appendDetails(reading: &fields, pbxs: pbxs) }
        }
    }
}

extension EventRows {
    func encode(into writer: inout RecordWriter) {
        writer.append(UInt32(count))
        for column in parameters { writer.append(bytes: column.elements) }
    }

    init(reading reader: inout RecordReader) throws(BatchRecord.Damage) {
        let count = Int(try reader.uint32())
        var columns: [PostgresArray] = []
        for type in Self.columnTypes {
            guard let column = PostgresArray(of: type, elements: try reader.slice(), count: count) else {
                throw .malformed("event columns")
            }
            columns.append(column)
        }
        self.init(columns: columns)
    }
}

extension CallRows {
    func encode(into writer: inout RecordWriter, _ pbxNames: [String]) {
        writer.append(UInt32(pbxNames.count))
        for name in pbxNames { writer.append(bytes: name.utf8) }
        writer.append(UInt32(count))
        for row in records.indices {
            writer.sized { writer in
                records[row].write(into: &writer)
                withCallID(at: row) { writer.append(bytes: $0) }
                withCallerNumber(at: row) { writer.append(bytes: $0) }
                withCalleeNumber(at: row) { writer.append(bytes: $0) }
                if let entry = details(at: row) {
                    entry.encode(into: &writer, of: details)
                } else {
                    writer.append(UInt8(0))
                }
                // New fields go here, at the end.
            }
        }
    }
}

extension CallRecord {
    /// All but the texts.
    fileprivate func write(into writer: inout RecordWriter) {
        writer.append(id.high)
        writer.append(id.low)
        writer.append(startedAt.microseconds)
        writer.append(time: answeredAt)
        writer.append(time: endedAt)
        writer.append(insertedAt.microseconds)
        writer.append(updatedAt.microseconds)
        writer.append(eventCount)
        writer.append(hangupCause)
        writer.append(openLegs)
        writer.append(pbx)
        writer.append(direction.rawValue)
        writer.append(status.rawValue)
        writer.append(outcome.rawValue)
        writer.append(flags.rawValue)
    }

    fileprivate static func read(
        _ reader: inout RecordReader, pbxs: [UInt16]
    ) throws(BatchRecord.Damage) -> (CallRecord, LongTexts?) {
        let id = CallUUID(high: try reader.uint64(), low: try reader.uint64())
        let startedAt = Timestamp(microseconds: try reader.int64())
        let (answeredAt, endedAt) = (try reader.time(), try reader.time())
        var record = CallRecord(
            id: id, startedAt: startedAt, insertedAt: Timestamp(microseconds: try reader.int64()))
        record.answeredAt = answeredAt
        record.endedAt = endedAt
        record.updatedAt = Timestamp(microseconds: try reader.int64())
        record.eventCount = try reader.uint32()
        record.hangupCause = try reader.uint16()
        record.openLegs = try reader.uint16()
        let pbx = Int(try reader.uint16())
        record.pbx = pbx < pbxs.count ? pbxs[pbx] : .max
        record.direction = try Self.word(reader.uint8(), "direction")
        record.status = try Self.word(reader.uint8(), "status")
        record.outcome = try Self.word(reader.uint8(), "outcome")
        record.flags = Flags(rawValue: try reader.uint8())
        let texts = [[UInt8](try reader.slice()), [UInt8](try reader.slice()), [UInt8](try reader.slice())]
        let fits = [
            texts[0].withUnsafeBytes { record.callID.assign($0) },
            texts[1].withUnsafeBytes { record.callerNumber.assign($0) },
            texts[2].withUnsafeBytes { record.calleeNumber.assign($0) },
        ]
        if !fits.contains(false) { return (record, nil) }
        return (
            record,
            LongTexts(
                callID: fits[0] ? nil : texts[0], callerNumber: fits[1] ? nil : texts[1],
                calleeNumber: fits[2] ? nil : texts[2])
        )
    }

    fileprivate static func word<Word: RawRepresentable<UInt8>>(
        _ value: UInt8, _ name: String
    ) throws(BatchRecord.Damage) -> Word {
        guard let word = Word(rawValue: value) else { throw .malformed(name) }
        return word
    }
}

extension CRMAction {
    func encode(into writer: inout RecordWriter, _ pbxNames: [String]) {
        let (kind, call): (UInt8, CRMCall) =
            switch self {
            case .register(let call): (1, call)
            case .finish(let call): (2, call)
            case .telephones(let call): (3, call)
            }
        writer.append(kind)
        writer.sized { writer in
            writer.append(bytes: call.callID.utf8)
            writer.append(call.direction.rawValue)
            writer.append(text: call.callerNumber)
            writer.append(text: call.calleeNumber)
            writer.append(call.startedAt.microseconds)
            writer.append(time: call.answeredAt)
            writer.append(time: call.endedAt)
            writer.append(call.outcome.rawValue)
            writer.append(call.hangupCause)
            // All of it, also what comes to be known of calls later.
            writer.append(bytes: call.json)
            writer.append(bytes: (Int(call.pbx) < pbxNames.count ? pbxNames[Int(call.pbx)] : "").utf8)
            // New fields go here, at the end.
        }
    }

    fileprivate init(reading reader: inout RecordReader, _ pbxNames: [String]) throws(BatchRecord.Damage) {
        let kind = try reader.uint8()
        var fields = RecordReader(try reader.slice())
        var call = CRMCall(
            callID: String(decoding: try fields.slice(), as: UTF8.self),
            direction: try CallRecord.word(fields.uint8(), "direction"), callerNumber: try fields.text(),
            calleeNumber: try fields.text(), startedAt: Timestamp(microseconds: try fields.int64()),
            answeredAt: try fields.time(), endedAt: try fields.time(),
            outcome: try CallRecord.word(fields.uint8(), "outcome"), hangupCause: try fields.uint16())
        if !fields.isAtEnd {
            call = CRMCall(json: [UInt8](try fields.slice())) ?? call
            let name = String(decoding: try fields.slice(), as: UTF8.self)
            call.pbx = pbxNames.firstIndex(of: name).map { UInt16(truncatingIfNeeded: $0) } ?? 0
        }
        switch kind {
        case 1: self = .register(call)
        case 2: self = .finish(call)
        case 3: self = .telephones(call)
        default: throw .malformed("CRM action")
        }
    }
}

extension StoreNote {
    func encode(into writer: inout RecordWriter) {
        switch self {
        case .gap(let gap):
            writer.append(UInt8(1))
            writer.sized { writer in
                writer.append(gap.id.high)
                writer.append(gap.id.low)
                for text in [gap.pbx, gap.reason, gap.detail] { writer.append(bytes: text.utf8) }
                for time in [gap.from, gap.to, gap.insertedAt] { writer.append(time.microseconds) }
                for count in [gap.callsEnded, gap.callsFound, gap.callsKept] { writer.append(Int64(count)) }
                // New fields go here, at the end.
            }
        case .sighting(let sighting):
            writer.append(UInt8(2))
            writer.sized { writer in
                writer.append(bytes: sighting.pbx.utf8)
                writer.append(sighting.seenAt.microseconds)
                writer.append(time: sighting.startedAt)
                // New fields go here, at the end.
            }
        }
    }

    fileprivate init(reading reader: inout RecordReader) throws(BatchRecord.Damage) {
        let kind = try reader.uint8()
        var fields = RecordReader(try reader.slice())
        switch kind {
        case 1:
            let id = CallUUID(high: try fields.uint64(), low: try fields.uint64())
            let texts = [try fields.string(), try fields.string(), try fields.string()]
            let times = [try fields.int64(), try fields.int64(), try fields.int64()]
                .map { Timestamp(microseconds: $0) }
            let counts = [try fields.int64(), try fields.int64(), try fields.int64()].map { Int($0) }
            self = .gap(
                StoredGap(
                    id: id, pbx: texts[0], from: times[0], to: times[1], reason: texts[1], detail: texts[2],
                    callsEnded: counts[0], callsFound: counts[1], callsKept: counts[2], insertedAt: times[2]))
        case 2:
            self = .sighting(
                PBXSighting(
                    pbx: try fields.string(), seenAt: Timestamp(microseconds: try fields.int64()),
                    startedAt: try fields.time()))
        default: throw .malformed("note")
        }
    }
}
