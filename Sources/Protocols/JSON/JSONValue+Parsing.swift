extension JSONValue {
    /// Limits of a tree.
    public struct Limits: Sendable, Equatable {
        /// How deep objects and arrays may nest.
        ///
        /// Reading recurses that deep.
        public var depth: Int
        /// How many values, keys not counted, the tree may have.
        public var values: Int
        /// How many bytes the text may have.
        public var bytes: Int

        /// Makes limits.
        public init(depth: Int = 128, values: Int = 100_000, bytes: Int = 16 << 20) {
            self.depth = depth
            self.values = values
            self.bytes = bytes
        }
    }

    /// Reads a text: one value with white space round it (RFC 8259).
    ///
    /// - Parameters:
    ///   - bytes: The text, UTF-8 without a byte order mark.
    ///   - limits: What the tree may cost.
    /// - Throws: When it is not JSON or over a limit, with the offset of the wrong byte.
    public static func parse(_ bytes: RawSpan, limits: Limits = Limits()) throws(JSONError) -> JSONValue {
        guard bytes.byteCount <= limits.bytes else { throw JSONError(.tooLong, at: limits.bytes) }
        return try bytes.withUnsafeBytes { (buffer) throws(JSONError) -> JSONValue in
            guard let base = buffer.baseAddress, buffer.count > 0 else {
                throw JSONError(.unexpectedEnd, at: 0)
            }
            var reader = Reader(
                p: base.assumingMemoryBound(to: UInt8.self), n: buffer.count, valuesLeft: limits.values)
            return try reader.document(depth: limits.depth)
        }
    }

    /// Reads a text; see ``parse(_:limits:)-(RawSpan,_)``.
    public static func parse(_ text: String, limits: Limits = Limits()) throws(JSONError) -> JSONValue {
        let bytes = Array(text.utf8)
        return try parse(bytes.span.bytes, limits: limits)
    }

    private struct Reader {
        let p: UnsafePointer<UInt8>
        let n: Int
        var valuesLeft: Int
        var i = 0
        var features = JSONFeatures()

        init(p: UnsafePointer<UInt8>, n: Int, valuesLeft: Int) {
            self.p = p
            self.n = n
            self.valuesLeft = valuesLeft
        }

        mutating func document(depth: Int) throws(JSONError) -> JSONValue {
            i = JSONLexer.skipSpace(p, 0, n)
            let value = try value(depth: depth)
            i = JSONLexer.skipSpace(p, i, n)
            guard i == n else { throw JSONError(.trailingBytes, at: i) }
            return value
        }

        /// Reads the value at `i`, in front of which there is no white space.
        private mutating func value(depth: Int) throws(JSONError) -> JSONValue {
            guard i < n else { throw JSONError(.unexpectedEnd, at: n) }
            guard valuesLeft > 0 else { throw JSONError(.tooManyValues, at: i) }
            valuesLeft -= 1
            switch p[i] {
            case 0x22: return .string(try string())
            case 0x7B:
                guard depth > 0 else { throw JSONError(.tooDeep, at: i) }
                return .object(try members(depth: depth - 1))
            case 0x5B:
                guard depth > 0 else { throw JSONError(.tooDeep, at: i) }
                return .array(try elements(depth: depth - 1))
            case 0x2D, 0x30...0x39: return try number()
            case 0x74, 0x66, 0x6E:
                let first = p[i]
                i = try JSONLexer.literal(p, i, n)
                return first == 0x6E ? .null : .bool(first == 0x74)
            default: throw JSONError(.unexpectedByte, at: i)
            }
        }

        private mutating func string() throws(JSONError) -> String {
            let start = i + 1
            let (end, hasEscapes) = try JSONLexer.string(p, start, n, &features)
            i = end + 1
            let text = UnsafeRawBufferPointer(start: p + start, count: end - start)
            guard hasEscapes else { return String(decoding: text, as: UTF8.self) }
            var plain: [UInt8] = []
            plain.reserveCapacity(text.count)
            JSONLexer.unescape(text, into: &plain)
            return String(decoding: plain, as: UTF8.self)
        }

        private mutating func number() throws(JSONError) -> JSONValue {
            let start = i
            i = try JSONLexer.number(p, i, n, &features)
            let text = UnsafeRawBufferPointer(start: p + start, count: i - start)
            if let integer = JSONNumber.integer(text) { return .int(integer) }
            guard let double = JSONNumber.double(text) else { throw JSONError(.numberOutOfRange, at: start) }
            return .double(double)
        }

        /// Whether a further element or member comes; if so, `i` stands at it.
        private mutating func goesOn(until close: UInt8) throws(JSONError) -> Bool {
            i = JSONLexer.skipSpace(p, i, n)
            guard i < n else { throw JSONError(.unexpectedEnd, at: n) }
            let byte = p[i]
            guard byte == 0x2C || byte == close else { throw JSONError(.unexpectedByte, at: i) }
            i += 1
            if byte == close { return false }
            i = JSONLexer.skipSpace(p, i, n)
            return true
        }

        /// Whether the object or array that opens at `i` is empty; if not, `i` stands at its first.
        private mutating func isEmpty(_ close: UInt8) throws(JSONError) -> Bool {
            i = JSONLexer.skipSpace(p, i + 1, n)
            guard i < n else { throw JSONError(.unexpectedEnd, at: n) }
            guard p[i] == close else { return false }
            i += 1
            return true
        }

        private mutating func elements(depth: Int) throws(JSONError) -> [JSONValue] {
            if try isEmpty(0x5D) { return [] }
            var elements: [JSONValue] = []
            repeat { elements.append(try value(depth: depth)) } while try goesOn(until: 0x5D)
            return elements
        }

        private mutating func members(depth: Int) throws(JSONError) -> [Member] {
            if try isEmpty(0x7D) { return [] }
            var members: [Member] = []
            repeat {
                guard i < n else { throw JSONError(.unexpectedEnd, at: n) }
                guard p[i] == 0x22 else { throw JSONError(.unexpectedByte, at: i) }
                let key = try string()
                i = JSONLexer.skipSpace(p, i, n)
                guard i < n else { throw JSONError(.unexpectedEnd, at: n) }
                guard p[i] == 0x3A else { throw JSONError(.unexpectedByte, at: i) }
                i = JSONLexer.skipSpace(p, i + 1, n)
                members.append(Member(key: key, value: try value(depth: depth)))
            } while try goesOn(until: 0x7D)
            return members
        }
    }
}
