public import Protocols

/// The answer of `GET /ari/channels` as events, so that one path reads both.
public enum ChannelSnapshot {
    /// Calls `body` with each channel as the text of a `ChannelSnapshot` event.
    ///
    /// - Throws: `JSONError` when `list` is no JSON array.
    public static func forEachChannel(
        in list: [UInt8], _ body: ([UInt8]) -> Void
    ) throws(JSONError) {
        guard try JSONFieldScanner(JSONFieldPlan([])).scan(list.span.bytes).root == .array else {
            throw JSONError(.unexpectedByte, at: 0)
        }
        var event: [UInt8] = []
        for range in elements(of: list) {
            event.removeAll(keepingCapacity: true)
            event.append(contentsOf: #"{"type":"ChannelSnapshot","channel":"#.utf8)
            event.append(contentsOf: list[range])
            event.append(0x7D)
            body(event)
        }
    }

    /// Where the objects of a valid JSON array of objects lie.
    private static func elements(of list: [UInt8]) -> [Range<Int>] {
        var ranges: [Range<Int>] = []
        var depth = 0
        var start = 0
        var isInString = false
        var index = 0
        while index < list.count {
            switch list[index] {
            case 0x5C where isInString: index += 1
            case 0x22: isInString.toggle()
            case 0x7B where !isInString:
                if depth == 1 { start = index }
                depth += 1
            case 0x5B where !isInString: depth += 1
            case 0x7D where !isInString:
                depth -= 1
                if depth == 1 { ranges.append(start..<index + 1) }
            case 0x5D where !isInString: depth -= 1
            default: break
            }
            index += 1
        }
        return ranges
    }
}
