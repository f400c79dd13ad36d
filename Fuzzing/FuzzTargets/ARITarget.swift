import CallEngine
import Protocols

/// One or several events, 0x1E between them, read by one reader that learns from each.
enum ARITarget {
    static func check(_ input: UnsafeRawBufferPointer) throws(Finding) {
        var learning = ARIEventReader()
        let texts = input.split(
            separator: JSONTarget.separator, maxSplits: JSONTarget.maximumTexts - 1,
            omittingEmptySubsequences: false)
        for text in texts {
            let payload = UnsafeRawBufferPointer(rebasing: text)
            let reference = JSONReference.value(Array(payload), depth: JSONTarget.depth)
            for _ in 0..<2 {
                var event = ARIEvent()
                do throws(JSONError) { try learning.read(payload.bytes, into: &event) } catch {
                    if case .object = reference { throw Finding("refused: \(error)") }
                    continue
                }
                guard case .object = reference, let reference else {
                    throw Finding("taken, and is no object")
                }
                try compare(event, payload, reference)
            }
            try snapshot(Array(payload), reference)
        }
    }

    private static func compare(
        _ event: ARIEvent, _ payload: UnsafeRawBufferPointer, _ root: JSONReference.Value
    ) throws(Finding) {
        try same(event.type, ["type"], payload, root)
        if event.kind != .other {
            try hold(string(["type"], root) == Array(event.kind.typeName.description.utf8), "another kind")
        }
        try same(event.bridgeID, ["bridge", "id"], payload, root)
        // A time with escapes in it is not read.
        let time = event.timestamp
        if let text = string(["timestamp"], root), let time {
            try hold(Timestamp(text.span.bytes) == time, "another time")
        } else {
            try hold(time == nil, "a time out of nothing")
        }
        switch event.kind {
        case .dial:
            try same(event.channel, "peer", payload, root)
            try same(event.caller, "caller", payload, root)
            try same(event.dialStatus, ["dialstatus"], payload, root)
        case .bridgeAttendedTransfer: try same(event.channel, "transferer_first_leg", payload, root)
        case .bridgeBlindTransfer: break
        case .channelVarset:
            try same(event.variable, ["variable"], payload, root)
            try same(event.value, ["value"], payload, root)
            try same(event.channel, "channel", payload, root)
        default: try same(event.channel, "channel", payload, root)
        }
    }

    private static func same(
        _ channel: ARIChannel, _ object: String, _ payload: UnsafeRawBufferPointer,
        _ root: JSONReference.Value
    ) throws(Finding) {
        try same(channel.id, [object, "id"], payload, root)
        try same(channel.name, [object, "name"], payload, root)
        guard channel.isPresent else { return }
        try same(channel.callerNumber, [object, "caller", "number"], payload, root)
        try same(channel.callerName, [object, "caller", "name"], payload, root)
        try same(channel.connectedNumber, [object, "connected", "number"], payload, root)
        try same(channel.context, [object, "dialplan", "context"], payload, root)
        try same(channel.exten, [object, "dialplan", "exten"], payload, root)
        try same(channel.internalNumber, [object, "channelvars", "intNum"], payload, root)
        try same(channel.externalNumber, [object, "channelvars", "extNum"], payload, root)
    }

    private static func same(
        _ text: ARIText, _ path: [String], _ payload: UnsafeRawBufferPointer, _ root: JSONReference.Value
    ) throws(Finding) {
        let expected = string(path, root) ?? []
        try hold(Int(text.offset) + Int(text.count) <= payload.count, "\(path) reaches beyond the event")
        let found = text.withBytes(in: payload) { Array($0) }
        try hold(found == expected, "\(path) is another text")
    }

    private static func string(_ path: [String], _ value: JSONReference.Value) -> [UInt8]? {
        var value = value
        for key in path {
            guard case .object(let members) = value,
                let member = members.last(where: { $0.key == Array(key.utf8) })
            else { return nil }
            value = member.value
        }
        guard case .string(let text) = value else { return nil }
        return text
    }

    /// The same text as the answer of `GET /channels`.
    private static func snapshot(_ list: [UInt8], _ reference: JSONReference.Value?) throws(Finding) {
        var events: [[UInt8]] = []
        do throws(JSONError) {
            try ChannelSnapshot.forEachChannel(in: list) { events.append($0) }
        } catch {
            if case .array = reference { throw Finding("a list is refused: \(error)") }
            return
        }
        guard case .array(let elements) = reference else { throw Finding("taken as a list, and is none") }
        let objects = elements.filter { if case .object = $0 { true } else { false } }
        try hold(events.count == objects.count, "\(events.count) channels of \(objects.count)")
        for event in events {
            // One level deeper than in the list.
            try hold(JSONReference.value(event, depth: JSONTarget.depth + 1) != nil, "a channel is cut wrong")
        }
    }
}
