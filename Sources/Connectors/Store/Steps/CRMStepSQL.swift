/// What both stores share of the statements on steps.
enum CRMStepSQL {
    /// Rows looked at in one step of removing old ones.
    static let prunedRows = 1_000

    /// What is done with a step that is there already: cards take the newest, the others stay as they are.
    static let onConflict = """
        ON CONFLICT (call_id, target, step) DO UPDATE SET state = 'waiting', call = excluded.call, attempts = 0,
            due_at = NULL, last_error = NULL, created_at = excluded.created_at, updated_at = excluded.updated_at
            WHERE s.step = 'cards'
        """

    /// Who may be given a step; cards also when they are done, since a newer state of them may have come meanwhile.
    static let mayBeClaimed =
        "(s.state IN ('waiting', 'doubtful') OR s.step = 'cards' AND s.state <> 'sending'"

    /// A page of a list and one row more; parameters: the row behind which it begins, and how many.
    static func list(
        _ query: CRMStepQuery, columns: String, _ parameters: (after: String, limit: String)
    ) -> String {
        let isOpen = query.kind == .open
        let condition = isOpen ? "state IN (\(CRMStepState.openWords))" : "state = 'failed'"
        return """
            SELECT \(columns), (SELECT count(*) FROM callflow_crm_steps WHERE \(condition))
            FROM callflow_crm_steps AS s WHERE \(condition) AND id \(isOpen ? ">" : "<") \(parameters.after)
            ORDER BY id \(isOpen ? "ASC" : "DESC") LIMIT \(parameters.limit)
            """
    }

    /// Before the first row of a list.
    static func start(_ query: CRMStepQuery) -> Int64 { query.after ?? (query.kind == .open ? 0 : .max) }
}
