import Glibc
import Protocols

/// One JSON text, read by both readers of the product, which must agree.
enum JSONCheck {
    static func run(depth: Int) throws(ProbeError) -> Int32 {
        let text = try standardInput()
        let scanner = JSONFieldScanner(JSONFieldPlan([["type"], ["channel", "id"]]), maximumDepth: depth)
        var error: JSONError?
        // The second time with all keys learned.
        for _ in 0..<2 {
            do throws(JSONError) {
                _ = try scanner.scan(text.span.bytes)
                error = nil
            } catch let found { error = found }
        }
        // Reading a tree recurses as deep as the text nests, so it is asked only to the product's own depth.
        if depth <= 128 {
            let limits = JSONValue.Limits(depth: depth, values: .max, bytes: JSONFieldScanner.maximumBytes)
            var other: JSONError?
            do throws(JSONError) { _ = try JSONValue.parse(text.span.bytes, limits: limits) } catch let found
            {
                other = found
            }
            // Valid as it is, only not to be held in a Double.
            if other?.kind != .numberOutOfRange, other != error {
                let said = [error, other].map { $0?.description ?? "valid" }.joined(separator: "; ")
                throw ProbeError("the two readers disagree: \(said)")
            }
        }
        guard let error else { return 0 }
        ProtocolProbe.note("not JSON: \(error)")
        return 1
    }

    private static func standardInput() throws(ProbeError) -> [UInt8] {
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 1 << 16)
        // One byte more than is read as JSON, so that a longer text is seen to be too long.
        while bytes.count <= JSONFieldScanner.maximumBytes {
            let count = read(STDIN_FILENO, &part, part.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw ProbeError("standard input: \(String(cString: strerror(errno)))") }
            if count == 0 { break }
            bytes.append(contentsOf: part[..<count])
        }
        return bytes
    }
}
