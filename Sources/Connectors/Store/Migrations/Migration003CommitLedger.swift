extension Migration {
    /// Which batches of which writer were committed (`PostgresCommitLedger`); a SQLite commit tells by itself.
    static let commitLedger = Migration(
        version: 3, name: "which batches of which writer were committed",
        postgres: """
            CREATE TABLE callflow_writers (
                writer varchar(255) NOT NULL, slot integer NOT NULL, batch bigint NOT NULL,
                committed_at timestamp NOT NULL, PRIMARY KEY (writer, slot)) WITH (fillfactor = 20);
            """,
        sqlite: nil)
}
