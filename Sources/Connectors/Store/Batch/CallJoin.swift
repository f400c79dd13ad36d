/// How a newer state of a call is joined into the row that is there (`c`, the new one `excluded`); the same in both
/// databases but for the names of two functions.
enum CallJoin {
    /// The assignments of `ON CONFLICT … DO UPDATE SET`; see `PostgresStatements.upsertCalls` for the rules.
    ///
    /// - Parameters:
    ///   - least: The function that gives the smaller of two values, and of a value and NULL the value or NULL.
    ///   - greatest: The same for the greater one.
    static func assignments(least: String, greatest: String) -> String {
        func smaller(_ column: String) -> String {
            "coalesce(\(least)(c.\(column), excluded.\(column)), c.\(column), excluded.\(column))"
        }
        var lines = [
            """
            direction = CASE WHEN excluded.direction = 'unknown'
                OR (c.updated_at > excluded.updated_at AND c.direction <> 'unknown')
                THEN coalesce(c.direction, excluded.direction) ELSE excluded.direction END
            """,
            """
            status = CASE WHEN \(isSplit) OR \(rank("excluded")) > \(rank("c"))
                OR (\(rank("excluded")) = \(rank("c")) AND excluded.updated_at >= c.updated_at)
                THEN excluded.status ELSE c.status END
            """,
            "started_at = \(smaller("started_at"))", "answered_at = \(smaller("answered_at"))",
            """
            ended_estimated = CASE WHEN excluded.ended_at IS NOT NULL
                AND (c.ended_at IS NULL OR excluded.updated_at >= c.updated_at)
                THEN excluded.ended_estimated ELSE c.ended_estimated END
            """,
            "ended_at = CASE WHEN \(isSplit) THEN excluded.ended_at ELSE \(newer("ended_at")) END",
            "updated_at = \(greatest)(c.updated_at, excluded.updated_at)",
            "outcome = CASE WHEN \(isDerivedAnew) THEN excluded.outcome ELSE \(newer("outcome")) END",
            "derived_at = CASE WHEN \(isDerivedAnew) THEN excluded.derived_at ELSE c.derived_at END",
        ]
        for column in ["caller_number", "callee_number", "hangup_cause", "pbx", "partial"] {
            lines.append("\(column) = \(newer(column))")
        }
        for column in CallColumn.derived.map(\.name) {
            lines.append(
                "\(column) = CASE WHEN \(isDerivedAnew) THEN excluded.\(column) ELSE c.\(column) END")
        }
        return lines.joined(separator: ",\n")
    }

    /// The new state has a derivation, and the row has none or an older one.
    private static let isDerivedAnew = "excluded.derived_at >= coalesce(c.derived_at, excluded.derived_at)"

    /// The row says that the call became part of another, and the new state takes that back.
    private static let isSplit =
        "(c.merged_into IS NOT NULL AND excluded.merged_into IS NULL AND \(isDerivedAnew))"

    private static func newer(_ column: String) -> String {
        """
        CASE WHEN excluded.updated_at >= c.updated_at THEN coalesce(excluded.\(column), c.\(column))
        ELSE coalesce(c.\(column), excluded.\(column)) END
        """
    }

    private static func rank(_ table: String) -> String {
        "(CASE \(table).status WHEN 'ringing' THEN 0 WHEN 'answered' THEN 1 ELSE 2 END)"
    }
}
