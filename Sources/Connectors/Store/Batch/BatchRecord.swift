import CallEngine
import Protocols

/// A batch as bytes, for the spool: compact, versioned, checked when read back.
///
///     magic "CFB" │ version 1 │ sections… │ checksum of all before (8 bytes)
///     section: kind (1 byte) │ length (4) │ bytes
///
/// All numbers are little-endian. A kind of row is a section; fields of a row may be added at its end, since each
/// carries its length. A reader refuses sections and versions it does not know rather than lose their rows.
enum BatchRecord {
    static let magic: [UInt8] = [0x43, 0x46, 0x42]
    static let version: UInt8 = 1

    /// Kinds of sections; a released number is never given another meaning.
    enum Section: UInt8, CaseIterable {
        /// Columns of event rows, as `EventRows` holds them.
        case events = 1
        case calls = 2
        case crmUpdates = 3
        /// What the CRM shall be told once the batch is durable.
        case crmActions = 4
        /// Gaps and sightings of PBXs.
        case notes = 5
    }

    /// Why a record cannot be read.
    enum Damage: Error, Equatable {
        case truncated
        case checksum
        /// Written by a newer version of this program.
        case unknownVersion(UInt8)
        case unknownSection(UInt8)
        case malformed(String)
    }

    /// Encodes a batch.
    ///
    /// - Parameter pbxNames: Names by `CallRecord.pbx`; a name outlives the order of the configuration.
    static func encode(_ batch: WriteBatch, pbxNames: [String]) -> [UInt8] {
        var writer = RecordWriter(reserving: batch.byteCount + 1024)
        for byte in magic { writer.append(byte) }
        writer.append(version)
        if batch.eventCount > 0 { writer.section(.events) { batch.events.encode(into: &$0) } }
        if batch.callCount > 0 { writer.section(.calls) { batch.calls.encode(into: &$0, pbxNames) } }
        if !batch.crmUpdates.isEmpty {
            writer.section(.crmUpdates) { writer in
                writer.append(UInt32(batch.crmUpdates.count))
                for update in batch.crmUpdates {
                    writer.append(bytes: update.callID)
                    writer.append(bytes: update.bitrixCallID)
                }
            }
        }
        if !batch.crmActions.isEmpty {
            writer.section(.crmActions) { writer in
                writer.append(UInt32(batch.crmActions.count))
                for action in batch.crmActions { action.encode(into: &writer, pbxNames) }
            }
        }
        if !batch.notes.isEmpty {
            writer.section(.notes) { writer in
                writer.append(UInt32(batch.notes.count))
                for note in batch.notes { note.encode(into: &writer) }
            }
        }
        writer.append(RecordChecksum.of(writer.bytes))
        return writer.bytes
    }

    /// Whether a record's checksum is right.
    static func isWhole(_ bytes: [UInt8]) -> Bool {
        guard bytes.count >= magic.count + 1 + 8 else { return false }
        var tail = RecordReader(bytes[(bytes.count - 8)...])
        return (try? tail.uint64()) == RecordChecksum.of(bytes[..<(bytes.count - 8)])
    }

    /// Reads a record back.
    static func decode(_ bytes: [UInt8], pbxNames: [String]) throws(Damage) -> WriteBatch {
        guard bytes.count >= magic.count + 1 + 8 else { throw .truncated }
        let body = bytes.count - 8
        var tail = RecordReader(bytes[body...])
        guard try tail.uint64() == RecordChecksum.of(bytes[..<body]) else { throw .checksum }
        guard bytes.starts(with: magic) else { throw .malformed("no batch") }
        guard bytes[magic.count] == version else { throw .unknownVersion(bytes[magic.count]) }
        let batch = WriteBatch()
        var reader = RecordReader(bytes[(magic.count + 1)..<body])
        while !reader.isAtEnd {
            let kind = try reader.uint8()
            guard let section = Section(rawValue: kind) else { throw .unknownSection(kind) }
            var content = RecordReader(try reader.slice())
            try batch.take(section, &content, pbxNames)
        }
        return batch
    }
}

/// Finds damage by chance (a torn write, a flipped bit); keeps nobody out.
enum RecordChecksum {
    /// Eight bytes a step: a multiply and a rotation each, as in wyhash and its kin.
    static func of(_ bytes: some Collection<UInt8>) -> UInt64 {
        bytes.withContiguousStorageIfAvailable { mix(UnsafeRawBufferPointer($0)) }
            ?? [UInt8](bytes).withUnsafeBytes { mix($0) }
    }

    private static func mix(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        var hash: UInt64 = 0x9E37_79B9_7F4A_7C15 ^ UInt64(bytes.count)
        var index = 0
        while index &+ 8 <= bytes.count {
            step(&hash, UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self)))
            index &+= 8
        }
        var rest: UInt64 = 0
        while index < bytes.count {
            rest = rest << 8 | UInt64(bytes[index])
            index &+= 1
        }
        step(&hash, rest)
        return hash ^ hash >> 32
    }

    @inline(__always)
    private static func step(_ hash: inout UInt64, _ word: UInt64) {
        hash = (hash ^ word) &* 0xD6E8_FEB8_6659_FD93
        hash = hash << 29 | hash >> 35
    }
}

/// Appends the parts of a record.
struct RecordWriter {
    private(set) var bytes: [UInt8] = []

    init(reserving count: Int = 0) { bytes.reserveCapacity(count) }

    mutating func append(_ value: some FixedWidthInteger) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    /// Appends bytes with their length.
    mutating func append(bytes more: some Collection<UInt8>) {
        append(UInt32(truncatingIfNeeded: more.count))
        bytes.append(contentsOf: more)
    }

    /// Appends a text, or that there is none.
    mutating func append(text: String?) {
        append(UInt8(text == nil ? 0 : 1))
        if let text { append(bytes: text.utf8) }
    }

    /// Appends a time, or that there is none.
    mutating func append(time: Timestamp?) {
        append(UInt8(time == nil ? 0 : 1))
        append(time?.microseconds ?? 0)
    }

    /// Appends what `body` writes, with its length before it.
    mutating func sized(_ body: (inout RecordWriter) -> Void) {
        let start = bytes.count
        append(UInt32(0))
        body(&self)
        let length = UInt32(truncatingIfNeeded: bytes.count - start - 4)
        bytes.withUnsafeMutableBytes {
            $0.storeBytes(of: length.littleEndian, toByteOffset: start, as: UInt32.self)
        }
    }

    /// Appends a section.
    mutating func section(_ kind: BatchRecord.Section, _ body: (inout RecordWriter) -> Void) {
        append(kind.rawValue)
        sized(body)
    }
}

/// Takes the parts of a record off its front; never reads past its end.
struct RecordReader {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

    var isAtEnd: Bool { rest.isEmpty }

    private mutating func integer<Value: FixedWidthInteger>(
        _: Value.Type
    ) throws(BatchRecord.Damage) -> Value {
        let size = MemoryLayout<Value>.size
        guard rest.count >= size else { throw .truncated }
        let value = rest.withUnsafeBytes { Value(littleEndian: $0.loadUnaligned(as: Value.self)) }
        rest = rest.dropFirst(size)
        return value
    }

    mutating func uint8() throws(BatchRecord.Damage) -> UInt8 { try integer(UInt8.self) }
    mutating func uint16() throws(BatchRecord.Damage) -> UInt16 { try integer(UInt16.self) }
    mutating func uint32() throws(BatchRecord.Damage) -> UInt32 { try integer(UInt32.self) }
    mutating func uint64() throws(BatchRecord.Damage) -> UInt64 { try integer(UInt64.self) }
    mutating func int64() throws(BatchRecord.Damage) -> Int64 { try integer(Int64.self) }

    /// What was appended with its length.
    mutating func slice() throws(BatchRecord.Damage) -> ArraySlice<UInt8> {
        let count = Int(try uint32())
        guard rest.count >= count else { throw .truncated }
        defer { rest = rest.dropFirst(count) }
        return rest.prefix(count)
    }

    /// A text that is always there.
    mutating func string() throws(BatchRecord.Damage) -> String {
        String(decoding: try slice(), as: UTF8.self)
    }

    mutating func text() throws(BatchRecord.Damage) -> String? {
        guard try uint8() != 0 else { return nil }
        return String(decoding: try slice(), as: UTF8.self)
    }

    mutating func time() throws(BatchRecord.Damage) -> Timestamp? {
        let isThere = try uint8() != 0
        let microseconds = try int64()
        return isThere ? Timestamp(microseconds: microseconds) : nil
    }
}
