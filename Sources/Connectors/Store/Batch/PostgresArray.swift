import Protocols

/// PostgreSQL types of our columns, by the object identifiers that are fixed in `pg_type.dat`.
enum PostgresType: UInt32 {
    case bool = 16
    case int8 = 20
    case int4 = 23
    case text = 25
    case timestamp = 1114
    case uuid = 2950
    case jsonb = 3802

    /// Its name in a statement.
    var name: String { "\(self)" }
}

/// A column of rows as one array in PostgreSQL's binary format (`array_recv`), ready to be a parameter.
///
///     int32 dimensions = 1 │ int32 has nulls │ oid │ int32 count │ int32 lower bound = 1 │ elements…
///     element: int32 length (−1: NULL) │ bytes
///
/// All numbers are big-endian. Timestamps are microseconds since 2000-01-01; a jsonb is the byte 1 and its text.
struct PostgresArray {
    static let headerBytes = 20
    /// Microseconds from 1970-01-01 to 2000-01-01, PostgreSQL's epoch.
    static let epochMicroseconds: Int64 = 946_684_800_000_000

    /// Header and elements; the header is valid after `finish()`.
    private(set) var bytes: [UInt8]
    /// Elements.
    private(set) var count = 0
    private var hasNulls = false
    private let type: PostgresType

    init(of type: PostgresType) {
        self.type = type
        bytes = [UInt8](repeating: 0, count: Self.headerBytes)
    }

    /// The elements, without the header.
    var elements: ArraySlice<UInt8> { bytes[Self.headerBytes...] }

    /// Takes elements as `elements` gave them; `nil` when they are not `count` whole elements.
    init?(of type: PostgresType, elements: ArraySlice<UInt8>, count: Int) {
        self.init(of: type)
        bytes.append(contentsOf: elements)
        var offset = Self.headerBytes
        for _ in 0..<count {
            guard offset + 4 <= bytes.count else { return nil }
            let length = bytes.withUnsafeBytes {
                Int(Int32(bigEndian: $0.loadUnaligned(fromByteOffset: offset, as: Int32.self)))
            }
            if length < 0 { hasNulls = true }
            offset += 4 + max(0, length)
        }
        guard offset == bytes.count else { return nil }
        self.count = count
    }

    /// Appends an element of so many bytes, which `fill` writes all of.
    ///
    /// Length and bytes in one piece: each append looks for room and for other owners of the column.
    @inline(__always)
    private mutating func append(element length: Int, _ fill: (UnsafeMutableRawPointer) -> Void) {
        bytes.append(addingCapacity: 4 + length) { room in
            room.withUnsafeMutableBufferPointer { buffer, used in
                guard let start = UnsafeMutableRawPointer(buffer.baseAddress) else { return }
                start.storeBytes(of: Int32(truncatingIfNeeded: length).bigEndian, as: Int32.self)
                fill(start + 4)
                used = 4 + length
            }
        }
        count += 1
    }

    @inline(__always)
    private mutating func append<Number: FixedWidthInteger & BitwiseCopyable>(number value: Number) {
        append(element: MemoryLayout<Number>.size) { $0.storeBytes(of: value.bigEndian, as: Number.self) }
    }

    /// Appends an element of these bytes; the one copy of an event's payload is here.
    @inline(__always)
    mutating func append(_ element: UnsafeRawBufferPointer) {
        append(element: element.count) { to in
            guard let from = element.baseAddress else { return }
            to.copyMemory(from: from, byteCount: element.count)
        }
    }

    /// Appends an element of these bytes.
    mutating func append(_ element: [UInt8]) {
        element.withUnsafeBytes { append($0) }
    }

    /// Appends a word of the source.
    mutating func append(_ word: StaticString) {
        append(UnsafeRawBufferPointer(start: word.utf8Start, count: word.utf8CodeUnitCount))
    }

    /// Appends a jsonb of this text.
    mutating func append(json text: UnsafeRawBufferPointer) {
        append(element: text.count + 1) { to in
            to.storeBytes(of: 1, as: UInt8.self)
            guard let from = text.baseAddress else { return }
            (to + 1).copyMemory(from: from, byteCount: text.count)
        }
    }

    /// Appends a timestamp without zone, in UTC; `nil` is NULL.
    @inline(__always)
    mutating func append(_ time: Timestamp?) {
        guard let time else { return appendNull() }
        append(number: Self.microseconds(time))
    }

    /// A time as PostgreSQL counts it.
    @inline(__always)
    static func microseconds(_ time: Timestamp) -> Int64 {
        // The least value would mean -infinity; one above it is a time that PostgreSQL refuses.
        let (value, overflow) = time.microseconds.subtractingReportingOverflow(epochMicroseconds)
        return overflow ? Int64.min + 1 : value
    }

    mutating func append(high: UInt64, low: UInt64) {
        append(element: 16) { to in
            to.storeBytes(of: high.bigEndian, as: UInt64.self)
            to.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
        }
    }

    mutating func append(_ value: Int32) { append(number: value) }

    mutating func append(_ value: Int64) { append(number: value) }

    mutating func append(_ value: Bool) { append(number: value ? 1 as UInt8 : 0) }

    mutating func appendNull() {
        bytes.append(addingCapacity: 4) { room in
            room.withUnsafeMutableBufferPointer { buffer, used in
                guard let start = UnsafeMutableRawPointer(buffer.baseAddress) else { return }
                start.storeBytes(of: -1, as: Int32.self)
                used = 4
            }
        }
        hasNulls = true
        count += 1
    }

    /// Copies an element of another column of the same type, as it stands there.
    mutating func append(copying element: UnsafeRawBufferPointer?) {
        if let element { append(element) } else { appendNull() }
    }

    /// Writes the header; to be called before the array is sent.
    mutating func finish() {
        let count = UInt32(truncatingIfNeeded: count)
        bytes.withUnsafeMutableBytes { target in
            func store(_ word: UInt32, at index: Int) {
                target.storeBytes(of: word.bigEndian, toByteOffset: index * 4, as: UInt32.self)
            }
            store(1, at: 0)
            store(hasNulls ? 1 : 0, at: 1)
            store(type.rawValue, at: 2)
            store(count, at: 3)
            store(1, at: 4)
        }
    }

    /// Empties the column; its memory is kept up to `keptBytes`.
    mutating func removeAll(keepingUpTo keptBytes: Int) {
        if bytes.capacity > keptBytes {
            bytes = [UInt8](repeating: 0, count: Self.headerBytes)
        } else {
            bytes.removeLast(bytes.count - Self.headerBytes)
        }
        count = 0
        hasNulls = false
    }

    /// Walks over the elements of a column whose memory is held by the caller.
    struct Cursor {
        private let base: UnsafeRawBufferPointer
        private var offset = PostgresArray.headerBytes

        /// Starts at the first element of `array`, which is what `PostgresArray.bytes` holds.
        init(_ array: UnsafeRawBufferPointer) {
            base = array
        }

        /// The next element, borrowed from the column; `nil` is NULL.
        ///
        /// Call at most `count` times.
        mutating func next() -> UnsafeRawBufferPointer? {
            let length = Int(Int32(bigEndian: base.loadUnaligned(fromByteOffset: offset, as: Int32.self)))
            offset += 4
            guard length >= 0 else { return nil }
            defer { offset += length }
            return UnsafeRawBufferPointer(rebasing: base[offset..<offset + length])
        }

        /// The next element of a timestamp column.
        mutating func nextTimestamp() -> Timestamp? {
            guard let raw = next() else { return nil }
            let value = Int64(bigEndian: raw.loadUnaligned(as: Int64.self))
            return Timestamp(microseconds: value &+ PostgresArray.epochMicroseconds)
        }
    }
}
