extension Migration {
    /// Columns for what the old daemon did not keep of a call; SQLite has them from the first.
    static let callFacts = Migration(
        version: 2, name: "what the old daemon did not keep of a call",
        postgres: """
            ALTER TABLE calls ADD COLUMN IF NOT EXISTS bitrix_call_id varchar(255);
            ALTER TABLE calls ADD COLUMN IF NOT EXISTS outcome varchar(255);
            ALTER TABLE calls ADD COLUMN IF NOT EXISTS hangup_cause integer;
            ALTER TABLE calls ADD COLUMN IF NOT EXISTS pbx varchar(255);
            ALTER TABLE calls ADD COLUMN IF NOT EXISTS ended_estimated boolean;
            """,
        sqlite: nil)
}
