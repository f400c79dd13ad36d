extension Migration {
    /// What CRMs are to be told of calls, written in the transaction that changes the call (docs/adr).
    ///
    /// The second index holds only what is still to be done, so it stays small however many rows there are.
    static let crmSteps = Migration(
        version: 8, name: "what CRMs are to be told of calls",
        postgres: """
            CREATE TABLE callflow_crm_steps (
                id bigserial PRIMARY KEY, target varchar(255) NOT NULL, pbx varchar(255) NOT NULL,
                call_id varchar(255) NOT NULL, step varchar(255) NOT NULL, state varchar(255) NOT NULL,
                call text NOT NULL, attempts integer NOT NULL, due_at timestamp, sent_at timestamp,
                claimed_by varchar(255), last_error varchar(255), crm_call_id varchar(255),
                crm_user varchar(255), created_at timestamp NOT NULL, updated_at timestamp NOT NULL);
            CREATE UNIQUE INDEX callflow_crm_steps_call_index ON callflow_crm_steps (call_id, target, step);
            CREATE INDEX callflow_crm_steps_open_index ON callflow_crm_steps (target, id)
                WHERE state IN ('waiting', 'sending', 'doubtful');
            CREATE INDEX callflow_crm_steps_failed_index ON callflow_crm_steps (id) WHERE state = 'failed';
            """,
        sqlite: """
            CREATE TABLE callflow_crm_steps (
                id INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, pbx TEXT NOT NULL,
                call_id TEXT NOT NULL, step TEXT NOT NULL, state TEXT NOT NULL, call TEXT NOT NULL,
                attempts INTEGER NOT NULL, due_at INTEGER, sent_at INTEGER, claimed_by TEXT, last_error TEXT,
                crm_call_id TEXT, crm_user TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL);
            CREATE UNIQUE INDEX callflow_crm_steps_call_index ON callflow_crm_steps (call_id, target, step);
            CREATE INDEX callflow_crm_steps_open_index ON callflow_crm_steps (target, id)
                WHERE state IN ('waiting', 'sending', 'doubtful');
            CREATE INDEX callflow_crm_steps_failed_index ON callflow_crm_steps (id) WHERE state = 'failed';
            """)
}
