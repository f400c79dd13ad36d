/// One field to be written.
public struct HTTPField: Sendable, Equatable {
    /// The name, a token; case does not matter.
    public var name: String
    /// The value.
    public var value: String

    /// Makes a field.
    public init(_ name: String, _ value: String) {
        self.name = name
        self.value = value
    }
}

/// The fields of a received head, in order; names are compared without case (RFC 9110 §5).
///
/// It owns one copy of the head's bytes; names and values are ranges of it and become strings when asked for.
public struct HTTPFields: Sendable {
    private let bytes: [UInt8]
    private let entries: [(name: ByteRange, value: ByteRange)]

    /// No fields.
    public init() {
        bytes = []
        entries = []
    }

    init(bytes: [UInt8], entries: [(name: ByteRange, value: ByteRange)]) {
        self.bytes = bytes
        self.entries = entries
    }

    /// How many field lines there are.
    public var count: Int { entries.count }

    /// The field line at `index`, in the order received.
    public func field(at index: Int) -> HTTPField {
        HTTPField(text(entries[index].name), text(entries[index].value))
    }

    /// The value of the field; several lines of the same name are joined by `, ` (RFC 9110 §5.3).
    public subscript(name: String) -> String? {
        var joined: String?
        for entry in entries where isNamed(entry.name, name) {
            if let before = joined {
                joined = before + ", " + text(entry.value)
            } else {
                joined = text(entry.value)
            }
        }
        return joined
    }

    /// The values of all field lines of that name, in order.
    public func values(of name: String) -> [String] {
        entries.lazy.filter { isNamed($0.name, name) }.map { text($0.value) }
    }

    /// How many field lines have that name.
    public func count(of name: String) -> Int {
        entries.lazy.filter { isNamed($0.name, name) }.count
    }

    /// Whether the field, a comma-separated list, has `token` as a member; compared without case.
    public func hasToken(_ token: String, in name: String) -> Bool {
        tokens(of: name).contains { $0 == token.lowercased() }
    }

    /// The members of a comma-separated list in lower case, without parameters' meaning; empty ones are left out
    /// (RFC 9110 §5.6.1.2).
    public func tokens(of name: String) -> [String] { members(of: name).filter { !$0.isEmpty } }

    /// The same with empty members.
    func members(of name: String) -> [String] {
        values(of: name).flatMap { value in
            value.utf8.split(separator: 0x2C, omittingEmptySubsequences: false).map { piece in
                let isSpace: (UInt8) -> Bool = { $0 == ASCII.space || $0 == ASCII.tab }
                let trimmed = piece.drop(while: isSpace).reversed().drop(while: isSpace).reversed()
                return String(decoding: trimmed.map(ASCII.lowercased), as: UTF8.self)
            }
        }
    }

    private func isNamed(_ range: ByteRange, _ name: String) -> Bool {
        guard Int(range.count) == name.utf8.count else { return false }
        var index = Int(range.offset)
        for byte in name.utf8 {
            guard ASCII.lowercased(bytes[index]) == ASCII.lowercased(byte) else { return false }
            index += 1
        }
        return true
    }

    private func text(_ range: ByteRange) -> String {
        String(decoding: bytes[range.bounds], as: UTF8.self)
    }
}

/// Cuts field lines (RFC 9112 §5).
///
/// The lines are known to end in CR LF and nowhere else to hold LF.
struct HTTPFieldReader {
    let bytes: UnsafeRawBufferPointer

    /// Reads the fields from `start` to the empty line that ends at `end`.
    func fields(from start: Int, to end: Int) throws(HTTPError) -> HTTPFields {
        var entries: [(name: ByteRange, value: ByteRange)] = []
        var lineStart = start
        while lineStart < end - 2 {
            var lineEnd = lineStart
            while bytes[lineEnd] != ASCII.lineFeed { lineEnd += 1 }
            entries.append(try field(from: lineStart, to: lineEnd - 1))
            lineStart = lineEnd + 1
        }
        return HTTPFields(bytes: [UInt8](UnsafeRawBufferPointer(rebasing: bytes[0..<end])), entries: entries)
    }

    private func field(from start: Int, to end: Int) throws(HTTPError) -> (name: ByteRange, value: ByteRange)
    {
        if isSpace(bytes[start]) { throw .obsoleteLineFolding }
        var colon = start
        while colon < end, ASCII.isTokenByte(bytes[colon]) { colon += 1 }
        guard colon < end else { throw .malformedField }
        guard bytes[colon] == 0x3A else { throw isSpace(bytes[colon]) ? .spaceBeforeColon : .malformedField }
        guard colon > start else { throw .malformedField }
        var first = colon + 1
        var last = end
        while first < last, isSpace(bytes[first]) { first += 1 }
        while last > first, isSpace(bytes[last - 1]) { last -= 1 }
        for index in first..<last {
            let byte = bytes[index]
            if byte == ASCII.carriageReturn { throw .bareCarriageReturn }
            guard byte >= ASCII.space || byte == ASCII.tab, byte != 0x7F else { throw .malformedField }
        }
        return (ByteRange(start..<colon), ByteRange(first..<last))
    }

    private func isSpace(_ byte: UInt8) -> Bool { byte == ASCII.space || byte == ASCII.tab }
}

/// Finds the empty line that ends a head or trailer section, looking at each byte once though it comes in
/// pieces.
struct HTTPSectionScanner: Sendable {
    private var scanned = 0
    private var lineStart = 0
    private var lines = 0

    /// - Returns: The end of the section, behind its empty line; nil when it is not there yet.
    mutating func end(
        in bytes: UnsafeRawBufferPointer, limits: HTTPLimits, hasStartLine: Bool
    ) throws(HTTPError) -> Int? {
        while scanned < bytes.count {
            let byte = bytes[scanned]
            scanned += 1
            if hasStartLine, lines == 0, scanned > limits.startLineBytes { throw .startLineTooLong }
            if scanned > limits.headBytes { throw .fieldsTooLarge }
            guard byte == ASCII.lineFeed else { continue }
            guard scanned - lineStart >= 2, bytes[scanned - 2] == ASCII.carriageReturn else {
                throw .bareLineFeed
            }
            if scanned - lineStart == 2 { return scanned }
            lines += 1
            lineStart = scanned
            if lines > limits.fieldCount + (hasStartLine ? 1 : 0) { throw .tooManyFields }
        }
        return nil
    }
}
