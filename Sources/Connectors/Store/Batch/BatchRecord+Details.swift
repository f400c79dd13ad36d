import CallEngine
import Protocols

/// Details of a call in the spool: fields at the end of its row.
///
///     0: none, else 1 │ facts │ ended │ repeated │ count, legs… │ count, segments…
///
/// Facts, legs and segments carry their lengths, so each may get further fields at its end.
extension DetailRows.Entry {
    func encode(into writer: inout RecordWriter, of rows: DetailRows) {
        writer.append(UInt8(1))
        writer.sized { facts.encode(into: &$0) }
        writer.append(UInt8(isOver ? 1 : 0))
        writer.append(UInt8(isRepeated ? 1 : 0))
        writer.append(UInt32(legs.count))
        for index in legs {
            writer.sized { rows.legs[index].encode(into: &$0, segment: rows.segmentOfLeg[index]) }
        }
        writer.append(UInt32(segments.count))
        for index in segments { writer.sized { rows.segments[index].encode(into: &$0) } }
    }
}

extension DetailRows {
    /// - Parameter pbxs: Places of the batch's PBXs in the configuration of today.
    mutating func append(
        reading reader: inout RecordReader, at row: Int, pbxs: [UInt16]
    ) throws(BatchRecord.Damage) {
        guard try reader.uint8() == 1 else { return }
        var fields = RecordReader(try reader.slice())
        let facts = try CallFacts(reading: &fields)
        let (isOver, isRepeated) = (try reader.uint8() != 0, try reader.uint8() != 0)
        var legs: [LegRecord] = []
        var segmentOfLeg: [Int32] = []
        for _ in 0..<(try reader.uint32()) {
            var fields = RecordReader(try reader.slice())
            var (leg, segment) = try LegRecord.read(&fields)
            leg.pbx = Int(leg.pbx) < pbxs.count ? pbxs[Int(leg.pbx)] : .max
            legs.append(leg)
            segmentOfLeg.append(segment)
        }
        var segments: [CallSegment] = []
        for _ in 0..<(try reader.uint32()) {
            var fields = RecordReader(try reader.slice())
            segments.append(try CallSegment.read(&fields))
        }
        append(
            facts: facts, isOver: isOver, isRepeated: isRepeated, legs: legs, segmentOfLeg: segmentOfLeg,
            segments: segments, at: row)
    }
}

extension CallFacts {
    fileprivate func encode(into writer: inout RecordWriter) {
        for word in [outcome.rawValue, rule.rawValue, hungUpBy.rawValue, isIncomplete ? 1 : 0] {
            writer.append(word)
        }
        writer.append(cause)
        writer.append(sipCode)
        writer.append(time: ringStartedAt)
        writer.append(time: talkStartedAt)
        for duration in [waitMicroseconds, ringMicroseconds, talkMicroseconds, holdMicroseconds] {
            writer.append(duration)
        }
        writer.append(postDialDelayMicroseconds ?? -1)
        writer.append(attemptCount)
        for text in [answeredBy, operatorNumber, transferredBy, transferredTo] { writer.append(inline: text) }
        writer.append(inline: queue)
        writer.append(inline: mergedInto)
    }

    fileprivate init(reading reader: inout RecordReader) throws(BatchRecord.Damage) {
        self.init()
        outcome = try reader.word("outcome")
        rule = try reader.word("outcome rule")
        hungUpBy = try reader.word("hung up by")
        isIncomplete = try reader.uint8() != 0
        cause = try reader.uint16()
        sipCode = try reader.uint16()
        ringStartedAt = try reader.time()
        talkStartedAt = try reader.time()
        waitMicroseconds = try reader.int64()
        ringMicroseconds = try reader.int64()
        talkMicroseconds = try reader.int64()
        holdMicroseconds = try reader.int64()
        let postDial = try reader.int64()
        postDialDelayMicroseconds = postDial < 0 ? nil : postDial
        attemptCount = try reader.uint32()
        answeredBy = try reader.inline()
        operatorNumber = try reader.inline()
        transferredBy = try reader.inline()
        transferredTo = try reader.inline()
        queue = try reader.inline()
        mergedInto = try reader.inline()
    }
}

extension LegRecord {
    fileprivate func encode(into writer: inout RecordWriter, segment: Int32) {
        writer.append(inline: channelID)
        writer.append(startedAt.microseconds)
        writer.append(inline: name)
        writer.append(inline: number)
        writer.append(roles.rawValue)
        writer.append(result.rawValue)
        writer.append(evidence.rawValue)
        writer.append(pbx)
        writer.append(inline: dialedBy)
        for time in [dialedAt, ringingAt, answeredAt, talkStartedAt, endedAt] { writer.append(time: time) }
        writer.append(talkMicroseconds)
        writer.append(holdMicroseconds)
        writer.append(cause)
        writer.append(sipCode)
        writer.append(UInt8(isEndEstimated ? 1 : 0))
        writer.append(inline: cameFrom)
        writer.append(segment)
    }

    fileprivate static func read(
        _ reader: inout RecordReader
    ) throws(BatchRecord.Damage) -> (LegRecord, segment: Int32) {
        var leg = LegRecord(
            channelID: try reader.inline(), startedAt: Timestamp(microseconds: try reader.int64()))
        leg.name = try reader.inline()
        leg.number = try reader.inline()
        leg.roles = LegRoles(rawValue: try reader.uint16())
        leg.result = try reader.word("leg's result")
        leg.evidence = try reader.word("leg's evidence")
        leg.pbx = try reader.uint16()
        leg.dialedBy = try reader.inline()
        leg.dialedAt = try reader.time()
        leg.ringingAt = try reader.time()
        leg.answeredAt = try reader.time()
        leg.talkStartedAt = try reader.time()
        leg.endedAt = try reader.time()
        leg.talkMicroseconds = try reader.int64()
        leg.holdMicroseconds = try reader.int64()
        leg.cause = try reader.uint16()
        leg.sipCode = try reader.uint16()
        leg.isEndEstimated = try reader.uint8() != 0
        leg.cameFrom = try reader.inline()
        return (leg, Int32(bitPattern: try reader.uint32()))
    }
}

extension CallSegment {
    fileprivate func encode(into writer: inout RecordWriter) {
        for word in [kind.rawValue, result.rawValue, transfer.rawValue] { writer.append(word) }
        writer.append(inline: name)
        writer.append(inline: by)
        writer.append(startedAt.microseconds)
        writer.append(endedAt.microseconds)
    }

    fileprivate static func read(_ reader: inout RecordReader) throws(BatchRecord.Damage) -> CallSegment {
        let kind: SegmentKind = try reader.word("segment's kind")
        let result: LegResult = try reader.word("segment's result")
        let transfer: TransferKind = try reader.word("kind of transfer")
        let name: InlineText<40> = try reader.inline()
        let by: InlineText<40> = try reader.inline()
        var segment = CallSegment(
            kind, name: name, from: Timestamp(microseconds: try reader.int64()),
            to: Timestamp(microseconds: try reader.int64()))
        segment.result = result
        segment.transfer = transfer
        segment.by = by
        return segment
    }
}

extension RecordWriter {
    fileprivate mutating func append<let size: Int>(inline text: InlineText<size>) {
        text.withUnsafeBytes { append(bytes: $0) }
    }
}

extension RecordReader {
    /// A text as it was appended; what a larger room held is cut.
    fileprivate mutating func inline<let size: Int>() throws(BatchRecord.Damage) -> InlineText<size> {
        var text = InlineText<size>()
        _ = (try slice()).withUnsafeBytes { text.assign($0) }
        return text
    }

    fileprivate mutating func word<Word: RawRepresentable<UInt8>>(
        _ name: String
    ) throws(BatchRecord.Damage) -> Word {
        guard let word = Word(rawValue: try uint8()) else { throw .malformed(name) }
        return word
    }
}
