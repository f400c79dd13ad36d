/// An HTTP request as the portal gets it.
package struct PortalRequest: Sendable {
    package var httpMethod: String
    /// Path and query as they stood on the request line.
    package var target: String
    package var contentType: String?
    package var body: [UInt8]
    /// The peer's address without the port; requests are counted by it.
    package var source: String

    package init(
        httpMethod: String = "POST", target: String, contentType: String? = nil, body: [UInt8] = [],
        source: String = "127.0.0.1"
    ) {
        self.httpMethod = httpMethod
        self.target = target
        self.contentType = contentType
        self.body = body
        self.source = source
    }

    /// The path, still percent-encoded.
    package var path: String { String(target.prefix { $0 != "?" }) }
    /// The query after `?`; empty when there is none.
    package var queryText: String { String(target.dropFirst(path.count).dropFirst()) }
}

/// What the portal answers, and whether it arrives.
package struct PortalReply: Sendable {
    package var status: Int
    package var contentType = "application/json; charset=utf-8"
    package var body: [UInt8]
    package var delivery = Delivery.now

    /// How the answer travels; anything but `.now` is an injected fault.
    package enum Delivery: Sendable, Hashable {
        case now
        /// After a while, by which the client may have given up.
        case after(Duration)
        /// The connection is cut instead.
        case cut
    }

    /// The body as text.
    package var text: String { String(decoding: body, as: UTF8.self) }
}

/// How parameters are read: the rules of PHP and of the portal's REST entry.
enum PortalParameters {
    /// The deepest nesting of brackets and of JSON that is read.
    static let maximumDepth = 32

    /// Reads query and body.
    ///
    /// JSON only under exactly `application/json` (what follows `;` does not count), its keys above the
    /// query's; JSON that does not parse is as good as no body; any other type but multipart is read as a
    /// form.
    static func read(_ request: PortalRequest) -> PHPArray {
        var parameters = form(request.queryText)
        let type = request.contentType?.prefix { $0 != ";" }.lowercased() ?? ""
        let body: PHPArray
        switch type {
        case "application/json":
            guard case .array(let array)? = PHPValue(json: request.body) else { return parameters }
            body = array
        case "multipart/form-data":
            body = PHPArray()
        default:
            body = form(String(decoding: request.body, as: UTF8.self))
        }
        for entry in body.entries { parameters[entry.key] = entry.value }
        return parameters
    }

    /// Reads `A=1&B[C]=2&D[]=3` as `parse_str` does.
    static func form(_ text: String) -> PHPArray {
        var result = PHPValue.array(PHPArray())
        for piece in text.utf8.split(separator: 0x26) {
            let parts = piece.split(separator: 0x3D, maxSplits: 1, omittingEmptySubsequences: false)
            let name = decoded(parts[0])
            let value = parts.count > 1 ? decoded(parts[1]) : ""
            guard let path = keyPath(name) else { continue }
            set(&result, path[...], .string(value))
        }
        return result.array ?? PHPArray()
    }

    /// `A[B][]` is A, B, and "the next index" (nil).
    ///
    /// A name without its closing bracket is taken as it stands.
    private static func keyPath(_ name: String) -> [PHPArray.Key?]? {
        guard let bracket = name.firstIndex(of: "["), bracket != name.startIndex else {
            return name.isEmpty ? nil : [PHPArray.Key(name)]
        }
        var path: [PHPArray.Key?] = [PHPArray.Key(String(name[..<bracket]))]
        var rest = name[bracket...]
        while rest.first == "[", let close = rest.firstIndex(of: "]"), path.count < maximumDepth {
            let key = String(rest[rest.index(after: rest.startIndex)..<close])
            path.append(key.isEmpty ? nil : PHPArray.Key(key))
            rest = rest[rest.index(after: close)...]
        }
        return path
    }

    private static func set(_ value: inout PHPValue, _ path: ArraySlice<PHPArray.Key?>, _ leaf: PHPValue) {
        guard let key = path.first else {
            value = leaf
            return
        }
        var array = value.array ?? PHPArray()
        var child = key.flatMap { array[$0] } ?? .null
        set(&child, path.dropFirst(), leaf)
        if let key { array[key] = child } else { array.append(child) }
        value = .array(array)
    }

    /// Percent-decoding as PHP does it: `+` is a space, a malformed `%` stays as it is.
    static func decoded(_ text: Substring.UTF8View.SubSequence) -> String {
        let bytes = Array(text)
        var output: [UInt8] = []
        var index = 0
        while index < bytes.count {
            if bytes[index] == 0x25, index + 2 < bytes.count, let high = hex(bytes[index + 1]),
                let low = hex(bytes[index + 2])
            {
                output.append(high << 4 | low)
                index += 3
            } else {
                output.append(bytes[index] == 0x2B ? 0x20 : bytes[index])
                index += 1
            }
        }
        return String(decoding: output, as: UTF8.self)
    }

    private static func hex(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x37
        case 0x61...0x66: byte - 0x57
        default: nil
        }
    }
}
