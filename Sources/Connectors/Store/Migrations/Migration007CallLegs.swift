extension Migration {
    /// What is derived from a call's legs: columns of its row, its legs, and its parts in order.
    ///
    /// Durations are whole microseconds. `derived_at` tells which derivation a row is of; rows of `call_legs` and
    /// `call_segments` belong to the call's row of the same. `callflow_outcomes` has the outcomes in words, for reports.
    /// All columns are added by one statement that looks at no row, so it holds the table for an instant only.
    static let callLegs = Migration(
        version: 7, name: "legs and parts of calls, and what they say",
        postgres: """
            ALTER TABLE calls
                ADD COLUMN IF NOT EXISTS partial boolean, ADD COLUMN IF NOT EXISTS derived_at timestamp,
                ADD COLUMN IF NOT EXISTS outcome_rule varchar(255), ADD COLUMN IF NOT EXISTS hung_up_by varchar(255),
                ADD COLUMN IF NOT EXISTS sip_code integer, ADD COLUMN IF NOT EXISTS ring_started_at timestamp,
                ADD COLUMN IF NOT EXISTS talk_started_at timestamp, ADD COLUMN IF NOT EXISTS wait_us bigint,
                ADD COLUMN IF NOT EXISTS ring_us bigint, ADD COLUMN IF NOT EXISTS talk_us bigint,
                ADD COLUMN IF NOT EXISTS hold_us bigint, ADD COLUMN IF NOT EXISTS post_dial_us bigint,
                ADD COLUMN IF NOT EXISTS answered_by varchar(255),
                ADD COLUMN IF NOT EXISTS operator_number varchar(255),
                ADD COLUMN IF NOT EXISTS transferred_by varchar(255),
                ADD COLUMN IF NOT EXISTS transferred_to varchar(255), ADD COLUMN IF NOT EXISTS queue varchar(255),
                ADD COLUMN IF NOT EXISTS attempts integer, ADD COLUMN IF NOT EXISTS merged_into varchar(255),
                ADD COLUMN IF NOT EXISTS incomplete boolean;
            CREATE TABLE call_legs (
                call_id varchar(255) NOT NULL, leg_no integer NOT NULL, channel_id varchar(255) NOT NULL,
                channel_name varchar(255), number varchar(255), role varchar(255) NOT NULL, result varchar(255),
                result_rule varchar(255), pbx varchar(255), dialed_by varchar(255), came_from varchar(255), segment_no integer,
                started_at timestamp NOT NULL, dialed_at timestamp, ringing_at timestamp, answered_at timestamp,
                talk_started_at timestamp, ended_at timestamp, ring_us bigint NOT NULL, talk_us bigint NOT NULL,
                hold_us bigint NOT NULL, cause integer, sip_code integer, ended_estimated boolean NOT NULL,
                derived_at timestamp NOT NULL, PRIMARY KEY (call_id, leg_no));
            CREATE TABLE call_segments (
                call_id varchar(255) NOT NULL, segment_no integer NOT NULL, kind varchar(255) NOT NULL,
                name varchar(255), result varchar(255), by_number varchar(255), transfer varchar(255),
                started_at timestamp NOT NULL, ended_at timestamp NOT NULL, derived_at timestamp NOT NULL,
                PRIMARY KEY (call_id, segment_no));
            CREATE TABLE callflow_outcomes (
                outcome varchar(255) PRIMARY KEY, text_en varchar(255) NOT NULL, text_ru varchar(255) NOT NULL);
            INSERT INTO callflow_outcomes VALUES \(outcomes);
            """,
        sqlite: """
            \(columns.map { "ALTER TABLE calls ADD COLUMN \($0);" }.joined(separator: "\n"))
            CREATE TABLE call_legs (
                call_id TEXT NOT NULL, leg_no INTEGER NOT NULL, channel_id TEXT NOT NULL, channel_name TEXT,
                number TEXT, role TEXT NOT NULL, result TEXT, result_rule TEXT, pbx TEXT, dialed_by TEXT, came_from TEXT,
                segment_no INTEGER, started_at INTEGER NOT NULL, dialed_at INTEGER, ringing_at INTEGER,
                answered_at INTEGER, talk_started_at INTEGER, ended_at INTEGER, ring_us INTEGER NOT NULL,
                talk_us INTEGER NOT NULL, hold_us INTEGER NOT NULL, cause INTEGER, sip_code INTEGER,
                ended_estimated INTEGER NOT NULL, derived_at INTEGER NOT NULL,
                PRIMARY KEY (call_id, leg_no)) WITHOUT ROWID;
            CREATE TABLE call_segments (
                call_id TEXT NOT NULL, segment_no INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT, result TEXT,
                by_number TEXT, transfer TEXT, started_at INTEGER NOT NULL, ended_at INTEGER NOT NULL,
                derived_at INTEGER NOT NULL, PRIMARY KEY (call_id, segment_no)) WITHOUT ROWID;
            CREATE TABLE callflow_outcomes (
                outcome TEXT PRIMARY KEY NOT NULL, text_en TEXT NOT NULL, text_ru TEXT NOT NULL) WITHOUT ROWID;
            INSERT INTO callflow_outcomes VALUES \(outcomes);
            """)

    private static let columns = [
        "partial INTEGER", "derived_at INTEGER", "outcome_rule TEXT", "hung_up_by TEXT", "sip_code INTEGER",
        "ring_started_at INTEGER", "talk_started_at INTEGER", "wait_us INTEGER", "ring_us INTEGER",
        "talk_us INTEGER", "hold_us INTEGER", "post_dial_us INTEGER", "answered_by TEXT",
        "operator_number TEXT",
        "transferred_by TEXT", "transferred_to TEXT", "queue TEXT", "attempts INTEGER", "merged_into TEXT",
        "incomplete INTEGER",
    ]

    /// As `CallOutcome` has them when this was released; a later outcome brings its own migration.
    private static let outcomes = """
        ('answered', 'Answered', 'Отвечен'),
        ('abandoned', 'Missed: caller hung up', 'Пропущен: звонящий положил трубку'),
        ('no_answer', 'No answer', 'Нет ответа'), ('busy', 'Busy', 'Занято'), ('rejected', 'Declined', 'Отклонён'),
        ('cancelled', 'Cancelled by caller', 'Отменён звонящим'), ('number_invalid', 'Wrong number', 'Неверный номер'),
        ('unavailable', 'Not reachable', 'Абонент недоступен'),
        ('congestion', 'Network busy or failed', 'Сеть перегружена или неисправна'),
        ('failed', 'Technical failure', 'Технический сбой'), ('lost', 'Record incomplete', 'Запись неполная'),
        ('merged', 'Part of another call', 'Часть другого звонка'), ('voicemail', 'Voicemail', 'Голосовая почта'),
        ('ivr_only', 'Self-service', 'Самообслуживание')
        """
}
