import Protocols

/// How the database keeps `call_events`, looked up in its catalogue.
struct PostgresEventTable {
    /// A partition, attached or about to go.
    struct Partition: Equatable {
        /// Quoted, with its schema.
        var name: String
        /// Days since 1970; `nil` for bounds that are none of ours (a default partition, MINVALUE, MAXVALUE).
        var days: Range<Int>?
        /// A `DETACH CONCURRENTLY` was begun and not finished.
        var isDetachPending: Bool
        /// Takes what no other partition takes; none of ours.
        var isDefault: Bool
    }

    /// Quoted, with its schema.
    var name: String
    /// Quoted schema.
    var schema: String
    /// Made by us: partitioned by ranges of `inserted_at`.
    ///
    /// Any other table is written and read as it is.
    var isPartitioned: Bool
    var partitions: [Partition]
    /// The server's day, counted from 1970.
    var today: Int

    /// Days that have a partition which takes rows.
    var covered: [Range<Int>] { partitions.filter { !$0.isDetachPending }.compactMap(\.days) }

    /// Whether the table that the connection sees is one of ours, in one cheap look.
    static let isPartitioned = """
        SELECT coalesce(bool_or(pg_get_partkeydef(oid) = 'RANGE (inserted_at)'), false) FROM pg_class
        WHERE oid = to_regclass('call_events') AND relkind = 'p'
        """

    /// Looks it up; `nil` when there is no such table.
    init?(_ connection: PostgresConnection) throws(StoreError) {
        let found = try connection.rows(
            """
            SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), quote_ident(n.nspname),
                (c.relkind = 'p' AND pg_get_partkeydef(c.oid) = 'RANGE (inserted_at)')::text,
                floor(extract(epoch FROM now()) / 86400)::bigint::text
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.oid = to_regclass('call_events')
            """)
        guard let row = found.first, let name = row[0], let schema = row[1], let today = Int(row[3] ?? "")
        else {
            return nil
        }
        self.name = name
        self.schema = schema
        self.today = today
        isPartitioned = row[2] == "true"
        partitions = []
        guard isPartitioned else { return }
        partitions = try connection.rows(
            """
            SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), i.inhdetachpending::text,
                (extract(epoch FROM (regexp_match(b.text, 'FROM \\(''([^'']+)''\\)'))[1]::timestamp)
                    / 86400)::float8::text,
                (extract(epoch FROM (regexp_match(b.text, 'TO \\(''([^'']+)''\\)'))[1]::timestamp)
                    / 86400)::float8::text, (b.text = 'DEFAULT')::text
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace,
                LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid) AS text) b
            WHERE i.inhparent = to_regclass('call_events')
            """
        ).map { row in
            // A bound within a day is somebody else's: the day counts as covered where all of it is.
            let (from, to) = (Double(row[2] ?? ""), Double(row[3] ?? ""))
            var days: Range<Int>?
            if let from, let to, from.rounded(.up) < to.rounded(.down) {
                days = Int(from.rounded(.up))..<Int(to.rounded(.down))
            }
            return Partition(
                name: row[0] ?? "", days: days, isDetachPending: row[1] == "true",
                isDefault: row[4] == "true")
        }
    }
}
