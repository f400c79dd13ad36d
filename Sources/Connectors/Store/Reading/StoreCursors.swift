package import CallEngine
package import Protocols

/// A place in the list of calls: behind this one the next page begins.
///
/// Calls are listed by start, newest first, then by id, greatest first; those without a start (only another
/// daemon can have made them) come last. Rows that are added meanwhile neither shift a page nor repeat a call.
package struct CallCursor: Sendable, Hashable {
    /// PBX time of the start, as stored.
    package var startedAt: Timestamp?
    /// Row id.
    package var id: CallUUID

    package init(startedAt: Timestamp?, id: CallUUID) {
        self.startedAt = startedAt
        self.id = id
    }

    /// Reads what `text` wrote; `nil` for anything else.
    package init?(_ text: String) {
        let parts = text.split(separator: "_", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[1].utf8.count == 32, let id = CallUUID(text: String(parts[1])) else {
            return nil
        }
        if parts[0].isEmpty {
            self.init(startedAt: nil, id: id)
        } else {
            guard let time = CursorTime.read(parts[0]) else { return nil }
            self.init(startedAt: time, id: id)
        }
    }

    /// Letters, digits, `-` and `_` only.
    package var text: String {
        "\(startedAt.map { String($0.microseconds) } ?? "")_\(id.string.filter { $0 != "-" })"
    }

    /// Whether a call at this place comes before (newer than) one at `other`.
    func isBefore(_ other: CallCursor) -> Bool {
        let (mine, theirs) = (startedAt?.microseconds ?? .min, other.startedAt?.microseconds ?? .min)
        if mine != theirs { return mine > theirs }
        return (id.high, id.low) > (other.id.high, other.id.low)
    }
}

/// A place in the events of a call: behind this one the next page begins.
package struct EventCursor: Sendable, Hashable {
    /// PBX time.
    package var occurredAt: Timestamp
    /// Row id.
    package var id: Int64

    package init(occurredAt: Timestamp, id: Int64) {
        self.occurredAt = occurredAt
        self.id = id
    }

    /// Reads what `text` wrote; `nil` for anything else.
    package init?(_ text: String) {
        let parts = text.split(separator: "_", omittingEmptySubsequences: false)
        guard parts.count == 2, let time = CursorTime.read(parts[0]), let id = CursorTime.number(parts[1])
        else {
            return nil
        }
        self.init(occurredAt: time, id: id)
    }

    /// Digits, `-` and `_` only.
    package var text: String { "\(occurredAt.microseconds)_\(id)" }
}

private enum CursorTime {
    /// Times that both databases can compare with: the years 1 to 9999.
    static let range: ClosedRange<Int64> = -62_135_596_800_000_000...253_402_300_799_999_999

    static func read(_ text: Substring) -> Timestamp? {
        number(text).flatMap { range.contains($0) ? Timestamp(microseconds: $0) : nil }
    }

    static func number(_ text: Substring) -> Int64? {
        text.hasPrefix("+") ? nil : Int64(text)
    }
}

/// Which of a call's events to read.
package struct EventPage: Sendable, Hashable {
    /// At most so many, 0 for none.
    package var limit: Int
    /// Only those behind this place.
    package var after: EventCursor?

    package init(limit: Int = StoreReads.maximumEvents, after: EventCursor? = nil) {
        self.limit = min(max(limit, 0), StoreReads.maximumEvents)
        self.after = after
    }

    /// As many as are ever read at once, from the first.
    package static let first = EventPage()
}

extension StoredCall {
    /// Its place in the list.
    package var cursor: CallCursor { CallCursor(startedAt: startedAt, id: id) }
}

extension StoredEvent {
    /// Its place among the events of its call.
    package var cursor: EventCursor { EventCursor(occurredAt: occurredAt, id: id) }
}
