import CallEngine
import Protocols

/// The list of calls as one statement, made for what is asked: only conditions that are wanted stand in it, so
/// that a planner sees which index serves.
struct CallListQuery {
    enum Dialect {
        case postgres, sqlite
    }

    enum Value: Equatable {
        case text(String)
        case number(Int64)
        case time(Timestamp)
        case id(CallUUID)
    }

    /// What `StoredRow.call` reads.
    static let columns = CallColumn.names + ", bitrix_call_id"
    /// Where Bitrix24's id stands among them; the others by `place(of:)`.
    static let bitrixPlace = CallColumn.allCases.count

    static func place(of column: CallColumn) -> Int { column.rawValue }

    private(set) var sql = ""
    /// Values of `$1`, `$2` and so on.
    private(set) var values: [Value] = []
    private let dialect: Dialect

    init(_ filter: CallFilter, _ dialect: Dialect) {
        self.dialect = dialect
        let limit = place(.number(Int64(filter.boundedLimit)))
        var conditions = [
            dialect == .postgres ? "outcome IS DISTINCT FROM 'merged'" : "outcome IS NOT 'merged'"
        ]
        if let status = filter.status { conditions.append("status = \(place(.text(status)))") }
        if let direction = filter.direction { conditions.append("direction = \(place(.text(direction)))") }
        if let time = filter.openBefore {
            conditions.append("status IN ('ringing', 'answered') AND inserted_at < \(place(.time(time)))")
        }
        var withStart: String? = "started_at IS NOT NULL"
        var withoutStart = "started_at IS NULL"
        if let after = filter.after {
            let id = place(.id(after.id))
            if let time = after.startedAt {
                let time = place(.time(time))
                // The first comparison is for an index that has only the start.
                withStart = "started_at <= \(time) AND (started_at, id) < (\(time), \(id))"
            } else {
                withStart = nil
                withoutStart += " AND id < \(id)"
            }
        }
        let common = conditions.joined(separator: " AND ")
        var parts: [String] = []
        if let withStart {
            parts.append(
                """
                SELECT * FROM (SELECT \(Self.columns) FROM calls WHERE \(withStart) AND \(common)
                    ORDER BY started_at DESC, id DESC LIMIT \(limit)) AS with_start
                """)
        }
        parts.append(
            """
            SELECT * FROM (SELECT \(Self.columns) FROM calls WHERE \(withoutStart) AND \(common)
                ORDER BY id DESC LIMIT \(limit)) AS without_start
            """)
        // The second is looked at only when the first has not filled the page.
        sql = parts.joined(separator: "\nUNION ALL\n") + "\nLIMIT \(limit)"
    }

    private mutating func place(_ value: Value) -> String {
        values.append(value)
        guard dialect == .postgres else { return "?\(values.count)" }
        switch value {
        case .text: return "$\(values.count)::text"
        case .number: return "$\(values.count)::int4"
        case .time: return "$\(values.count)::timestamp"
        case .id: return "$\(values.count)::uuid"
        }
    }
}

extension CallListQuery.Value {
    /// As PostgreSQL reads it.
    var text: String {
        switch self {
        case .text(let text): text
        case .number(let number): String(number)
        case .time(let time): time.formatted(.microseconds)
        case .id(let id): id.string
        }
    }
}
