import Foundation
import NIOCore
import NIOFoundationCompat

/// What is decoded of an ARI event.
struct Event: Decodable {
    struct Channel: Decodable {
        struct Variables: Decodable {
            enum CodingKeys: String, CodingKey { case linkedID = "CHANNEL(linkedid)" }

            var linkedID: String?
        }

        var id: String
        var state: String?
        var channelvars: Variables?
    }

    var type: String
    var timestamp: String?
    var channel: Channel?
    var peer: Channel?
}

/// One conversation: what the row of `calls` says.
final class Call {
    let id = UUID()
    let callID: String
    let startedAt: Int64
    var answeredAt: Int64?
    var endedAt: Int64?
    var channels: Set<String> = []

    init(callID: String, startedAt: Int64) {
        self.callID = callID
        self.startedAt = startedAt
    }

    var row: CallRow {
        CallRow(
            id: id, callID: callID,
            status: endedAt != nil ? "finished" : answeredAt != nil ? "answered" : "ringing",
            startedAt: startedAt, answeredAt: answeredAt, endedAt: endedAt)
    }
}

/// A row of `calls`; times are microseconds since 1970.
struct CallRow: Sendable {
    var id: UUID
    var callID: String
    var status: String
    var startedAt: Int64
    var answeredAt: Int64?
    var endedAt: Int64?
}

/// A row of `call_events`; the payload is the message as it came.
struct EventRow: Sendable {
    var callID: String
    var type: String
    var payload: ByteBuffer
    var occurredAt: Int64
}

/// Calls that live, by linkedid; of the event loop's thread alone.
final class Calls {
    private var byID: [String: Call] = [:]
    private let decoder = JSONDecoder()

    /// Moves the call that an event belongs to; gives the event's row and the call's.
    func take(_ message: ByteBuffer) throws -> (EventRow, CallRow) {
        let event = try decoder.decode(Event.self, from: message)
        let channel = event.channel ?? event.peer
        let channelID = channel?.id ?? "unknown"
        let callID = channel?.channelvars?.linkedID ?? channelID
        let at = event.timestamp.flatMap(Self.microseconds) ?? Int64(Date().timeIntervalSince1970 * 1e6)
        let call = byID[callID] ?? Call(callID: callID, startedAt: at)
        byID[callID] = call
        if event.type == "ChannelDestroyed" {
            call.channels.remove(channelID)
            if call.channels.isEmpty {
                call.endedAt = at
                byID[callID] = nil
            }
        } else {
            call.channels.insert(channelID)
            if call.answeredAt == nil, channel?.state == "Up" { call.answeredAt = at }
        }
        return (EventRow(callID: callID, type: event.type, payload: message, occurredAt: at), call.row)
    }

    /// `2026-01-31T12:34:56.789+0100`, by hand: Foundation's parsers take ten times as long as all the rest.
    static func microseconds(_ text: String) -> Int64? {
        var text = text
        return text.withUTF8 { bytes -> Int64? in
            guard bytes.count == 28 else { return nil }
            func number(_ start: Int, _ count: Int) -> Int {
                (start..<start + count).reduce(0) { $0 * 10 + Int(bytes[$1] &- 48) }
            }
            var parts = tm()
            parts.tm_year = Int32(number(0, 4) - 1900)
            parts.tm_mon = Int32(number(5, 2) - 1)
            parts.tm_mday = Int32(number(8, 2))
            parts.tm_hour = Int32(number(11, 2))
            parts.tm_min = Int32(number(14, 2))
            parts.tm_sec = Int32(number(17, 2))
            let zone = (number(24, 2) * 60 + number(26, 2)) * (bytes[23] == 45 ? -60 : 60)
            return Int64(timegm(&parts) - zone) * 1_000_000 + Int64(number(20, 3)) * 1000
        }
    }
}
