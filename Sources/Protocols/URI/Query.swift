/// The name and value pairs of a query or of an `application/x-www-form-urlencoded` body, in order.
///
/// Names may repeat. What is asked for by name is the last one, as with JSON's repeated keys.
public struct Query: Sendable, Equatable {
    /// One pair, decoded.
    public struct Item: Sendable, Equatable {
        /// The name.
        public var name: String
        /// The value; empty when the text had none.
        public var value: String

        /// Makes a pair.
        public init(name: String, value: String) {
            self.name = name
            self.value = value
        }
    }

    /// The most pairs that are read; a text with more is refused.
    public static let maximumItems = 1000

    /// The pairs in order.
    public var items: [Item]

    /// Makes a query of pairs.
    public init(_ items: [Item] = []) { self.items = items }

    /// Makes a query of pairs.
    public init(_ pairs: KeyValuePairs<String, String>) {
        items = pairs.map { Item(name: $0.key, value: $0.value) }
    }

    /// Reads `a=1&b=%20&c`; empty pieces between `&` are skipped.
    ///
    /// - Returns: nil when a `%` is malformed, a text is not UTF-8, or there are too many pairs.
    public init?(parsing text: some StringProtocol) {
        items = []
        for piece in text.split(separator: "&") {
            guard items.count < Query.maximumItems else { return nil }
            let parts = piece.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = PercentCoding.decoded(parts[0], plus: .space) else { return nil }
            guard let value = parts.count > 1 ? PercentCoding.decoded(parts[1], plus: .space) : "" else {
                return nil
            }
            items.append(Item(name: name, value: value))
        }
    }

    /// The value of the last pair of that name.
    public subscript(name: String) -> String? {
        items.last { $0.name == name }?.value
    }

    /// All values of that name, in order.
    public func values(of name: String) -> [String] {
        items.lazy.filter { $0.name == name }.map(\.value)
    }

    /// Adds a pair at the end.
    public mutating func append(_ name: String, _ value: String) {
        items.append(Item(name: name, value: value))
    }

    /// Appends the encoded text, which is both a query and a form body.
    public func encode(into output: inout [UInt8]) {
        for (index, item) in items.enumerated() {
            if index > 0 { output.append(0x26) }
            PercentCoding.encode(item.name, plus: .space, into: &output)
            output.append(0x3D)
            PercentCoding.encode(item.value, plus: .space, into: &output)
        }
    }

    /// The encoded text.
    public var encoded: String {
        var output: [UInt8] = []
        encode(into: &output)
        return String(decoding: output, as: UTF8.self)
    }
}
