import CScan

/// The tokens of JSON (RFC 8259), checked in full, over raw memory.
///
/// Functions take the text as `p` and `n` bytes, and the position `i`, which is at most `n`; they read
/// nothing outside. 16 bytes are looked at together only where 16 are left, or where the last 16 of the text
/// can be looked at again.
enum JSONLexer {
    typealias Text = UnsafePointer<UInt8>

    /// The first position from `i` on that is no white space.
    @inline(__always)
    static func skipSpace(_ p: Text, _ i: Int, _ n: Int) -> Int {
        var i = i
        while i < n, p[i] <= 0x20, p[i] == 0x20 || p[i] == 0x0A || p[i] == 0x0D || p[i] == 0x09 { i &+= 1 }
        return i
    }

    /// Walks the rest of a string that the wide steps did not finish: escapes, UTF-8, the text's last bytes.
    ///
    /// - Parameter i: A position inside the string, not inside a character or escape.
    /// - Returns: The position of the closing quote, and whether an escape was met.
    @inline(never)
    static func string(
        _ p: Text, _ i: Int, _ n: Int, _ features: inout JSONFeatures
    ) throws(JSONError) -> (end: Int, hasEscapes: Bool) {
        var i = i
        var hasEscapes = false
        while true {
            i = plainRun(p, i, n)
            guard i < n else { throw JSONError(.unexpectedEnd, at: n) }
            let byte = p[i]
            if byte == 0x22 { return (i, hasEscapes) }
            if byte == 0x5C {
                hasEscapes = true
                i = try escape(p, i, n, &features)
            } else if byte < 0x20 {
                throw JSONError(.controlCharacter, at: i)
            } else {
                // Text in another script than Latin comes in runs: stay here until it ends.
                repeat {
                    let length = characterLength(p, i, n)
                    guard length > 0 else { throw JSONError(.invalidUTF8, at: i) }
                    i &+= length
                } while i < n && p[i] >= 0x80
            }
        }
    }

    /// Where a run of plain characters from `i` on ends: at a quote, backslash, control or non-ASCII byte,
    /// or at `n`.
    @inline(__always)
    private static func plainRun(_ p: Text, _ i: Int, _ n: Int) -> Int {
        var i = i
        while n &- i >= 16 {
            let mask = cscan_string_stops16(p + i)
            if mask != 0 { return i &+ mask.trailingZeroBitCount }
            i &+= 16
        }
        if n >= 16, i < n {
            let mask = cscan_string_stops16(p + (n &- 16)) >> UInt32(truncatingIfNeeded: 16 &- (n &- i))
            return mask != 0 ? i &+ mask.trailingZeroBitCount : n
        }
        while i < n, p[i] >= 0x20, p[i] < 0x80, p[i] != 0x22, p[i] != 0x5C { i &+= 1 }
        return i
    }

    /// Checks the escape at `i`, a surrogate pair as one, and gives the position behind it.
    private static func escape(
        _ p: Text, _ i: Int, _ n: Int, _ features: inout JSONFeatures
    ) throws(JSONError) -> Int {
        guard i &+ 1 < n else { throw JSONError(.unexpectedEnd, at: n) }
        switch p[i &+ 1] {
        case 0x22, 0x5C, 0x2F, 0x62, 0x66, 0x6E, 0x72, 0x74: return i &+ 2
        case 0x75: break
        default: throw JSONError(.invalidEscape, at: i)
        }
        guard let unit = codeUnit(p, i &+ 2, n) else {
            throw n &- i < 6 && isHexadecimal(p, i &+ 2, n)
                ? JSONError(.unexpectedEnd, at: n) : JSONError(.invalidEscape, at: i)
        }
        if unit == 0 { features.insert(.nulEscape) }
        guard unit & 0xF800 == 0xD800 else { return i &+ 6 }
        if unit < 0xDC00, n &- i >= 12, p[i &+ 6] == 0x5C, p[i &+ 7] == 0x75,
            let low = codeUnit(p, i &+ 8, n), low & 0xFC00 == 0xDC00
        {
            return i &+ 12
        }
        features.insert(.loneSurrogate)
        return i &+ 6
    }

    private static func isHexadecimal(_ p: Text, _ i: Int, _ n: Int) -> Bool {
        var i = i
        while i < n {
            guard ASCII.hexValue(p[i]) != nil else { return false }
            i &+= 1
        }
        return true
    }

    /// The UTF-16 code unit of four hexadecimal digits at `i`.
    static func codeUnit(_ p: Text, _ i: Int, _ n: Int) -> UInt16? {
        guard n &- i >= 4 else { return nil }
        var unit: UInt16 = 0
        for k in 0..<4 {
            guard let digit = ASCII.hexValue(p[i &+ k]) else { return nil }
            unit = unit << 4 | UInt16(digit)
        }
        return unit
    }

    /// How many bytes the character at `i`, which is not ASCII, takes; 0 when it is not UTF-8.
    @inline(__always)
    private static func characterLength(_ p: Text, _ i: Int, _ n: Int) -> Int {
        let first = p[i]
        let left = n &- i
        if first >= 0xC2, first <= 0xDF {
            return left >= 2 && p[i &+ 1] & 0xC0 == 0x80 ? 2 : 0
        }
        if first & 0xF0 == 0xE0 {
            guard left >= 3, p[i &+ 1] & 0xC0 == 0x80, p[i &+ 2] & 0xC0 == 0x80 else { return 0 }
            if first == 0xE0, p[i &+ 1] < 0xA0 { return 0 }
            if first == 0xED, p[i &+ 1] > 0x9F { return 0 }
            return 3
        }
        guard first >= 0xF0, first <= 0xF4, left >= 4, p[i &+ 1] & 0xC0 == 0x80, p[i &+ 2] & 0xC0 == 0x80,
            p[i &+ 3] & 0xC0 == 0x80
        else { return 0 }
        if first == 0xF0, p[i &+ 1] < 0x90 { return 0 }
        if first == 0xF4, p[i &+ 1] > 0x8F { return 0 }
        return 4
    }

    /// Checks the number at `i` and gives the position behind it (§6).
    static func number(
        _ p: Text, _ i: Int, _ n: Int, _ features: inout JSONFeatures
    ) throws(JSONError) -> Int {
        let start = i
        var i = i
        if p[i] == 0x2D { i &+= 1 }
        guard i < n else { throw JSONError(.unexpectedEnd, at: n) }
        if p[i] == 0x30 {
            i &+= 1
            if i < n, ASCII.isDigit(p[i]) { throw JSONError(.invalidNumber, at: start) }
        } else {
            i = try digits(p, i, n, start)
        }
        if i < n, p[i] == 0x2E { i = try digits(p, i &+ 1, n, start) }
        if i < n, p[i] | 0x20 == 0x65 {
            i &+= 1
            if i < n, p[i] == 0x2B || p[i] == 0x2D { i &+= 1 }
            let exponent = i
            i = try digits(p, i, n, start)
            if i &- exponent > 3 { features.insert(.extremeNumber) }
        }
        if i &- start > 1000 { features.insert(.extremeNumber) }
        return i
    }

    @inline(__always)
    private static func digits(_ p: Text, _ i: Int, _ n: Int, _ start: Int) throws(JSONError) -> Int {
        guard i < n else { throw JSONError(.unexpectedEnd, at: n) }
        guard ASCII.isDigit(p[i]) else { throw JSONError(.invalidNumber, at: start) }
        var i = i &+ 1
        while i < n, ASCII.isDigit(p[i]) { i &+= 1 }
        return i
    }

    /// Checks `true`, `false` or `null` at `i`, whose first letter is known, and gives the position behind.
    static func literal(_ p: Text, _ i: Int, _ n: Int) throws(JSONError) -> Int {
        let rest: StaticString =
            switch p[i] {
            case 0x74: "rue"
            case 0x66: "alse"
            default: "ull"
            }
        var k = i &+ 1
        var letter = rest.utf8Start
        for _ in 0..<rest.utf8CodeUnitCount {
            guard k < n else { throw JSONError(.unexpectedEnd, at: n) }
            guard p[k] == letter.pointee else { throw JSONError(.invalidLiteral, at: i) }
            k &+= 1
            letter += 1
        }
        return k
    }

    /// Appends the characters of a string's checked text, escapes resolved; a lone surrogate becomes U+FFFD.
    static func unescape(_ text: UnsafeRawBufferPointer, into output: inout [UInt8]) {
        var i = 0
        let n = text.count
        while i < n {
            let byte = text[i]
            guard byte == 0x5C, i + 1 < n else {
                output.append(byte)
                i += 1
                continue
            }
            i += 2
            switch text[i - 1] {
            case 0x62: output.append(0x08)
            case 0x66: output.append(0x0C)
            case 0x6E: output.append(0x0A)
            case 0x72: output.append(0x0D)
            case 0x74: output.append(0x09)
            case 0x75:
                guard let unit = hexUnit(text, i) else { return }
                i += 4
                var scalar = UInt32(unit)
                if unit & 0xFC00 == 0xD800, i + 6 <= n, text[i] == 0x5C, text[i + 1] == 0x75,
                    let low = hexUnit(text, i + 2), low & 0xFC00 == 0xDC00
                {
                    scalar = 0x10000 + (UInt32(unit & 0x3FF) << 10 | UInt32(low & 0x3FF))
                    i += 6
                }
                append(Unicode.Scalar(scalar) ?? "\u{FFFD}", to: &output)
            default: output.append(text[i - 1])
            }
        }
    }

    private static func hexUnit(_ text: UnsafeRawBufferPointer, _ i: Int) -> UInt16? {
        guard i + 4 <= text.count else { return nil }
        var unit: UInt16 = 0
        for k in 0..<4 {
            guard let digit = ASCII.hexValue(text[i + k]) else { return nil }
            unit = unit << 4 | UInt16(digit)
        }
        return unit
    }

    private static func append(_ scalar: Unicode.Scalar, to output: inout [UInt8]) {
        output.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
    }
}
