import Testing

@testable import Connectors

@Suite("DATABASE_URL")
struct StoreLocationTests {
    private func postgres(_ url: String) throws -> PostgresLocation {
        guard case .postgres(let location) = try StoreLocation(databaseURL: url) else {
            throw StoreError.configuration("not PostgreSQL")
        }
        return location
    }

    @Test("without it the embedded file is used")
    func absent() throws {
        #expect(try StoreLocation(databaseURL: nil) == .sqlite(path: "callflow-fast.sqlite3"))
        #expect(try StoreLocation(databaseURL: "") == .sqlite(path: "callflow-fast.sqlite3"))
    }

    @Test(
        "sqlite paths",
        arguments: [
            ("sqlite:calls.db", "calls.db"), ("sqlite:/var/lib/calls.db", "/var/lib/calls.db"),
            ("sqlite:///var/lib/calls.db", "/var/lib/calls.db"), ("SQLite:a:b", "a:b"),
        ])
    func sqlite(_ url: String, _ path: String) throws {
        #expect(try StoreLocation(databaseURL: url) == .sqlite(path: path))
    }

    @Test("the old daemon's URL")
    func ecto() throws {
        let location = try postgres(
            "ecto://call%20flow:p%40ss%3Aword@db.example:6432/call_flow?ssl=true&pool_size=20")
        #expect(location["user"] == "call flow")
        #expect(location["password"] == "p@ss:word")
        #expect(location["host"] == "db.example")
        #expect(location["port"] == "6432")
        #expect(location["dbname"] == "call_flow")
        #expect(location["sslmode"] == "require")
        #expect(location["pool_size"] == nil)
        #expect(try postgres("ecto://u:p@h/d?ssl=false")["sslmode"] == "disable")
        #expect(try postgres("ecto://u:p@h/d")["sslmode"] == nil)
        #expect(try postgres("ecto://u:p@h/d")["port"] == nil)
        #expect(try postgres("ecto://u:p@ss@h/d")["password"] == "p@ss", "a raw @ as the old daemon takes it")
        #expect(try postgres("ecto://u:p@/d?socket_dir=/run/postgresql")["host"] == "/run/postgresql")
    }

    @Test("libpq's URLs, several hosts included")
    func libpq() throws {
        let several = try postgres(
            "postgresql://u@a:5433,b,[::1]:5434/d?target_session_attrs=any&sslmode=verify-full")
        #expect(several["host"] == "a,b,::1")
        #expect(several["port"] == "5433,5432,5434")
        #expect(several["target_session_attrs"] == "any")
        #expect(several["sslmode"] == "verify-full")
        let socket = try postgres("postgres://%2Frun%2Fpostgresql/d")
        #expect(socket["host"] == "/run/postgresql")
        let bare = try postgres("postgres:///d?host=/tmp&user=me")
        #expect(bare["host"] == "/tmp")
        #expect(bare["user"] == "me")
    }

    @Test(
        "what is wrong is told by name and never quoted",
        arguments: [
            ("secret", "scheme"), ("mysql://u:secret@h/d", "scheme"), ("postgres:u:secret@h/d", "//"),
            ("ecto://u:secret@h:abc/d", "port"), ("ecto://u:secret@h:0/d", "port"),
            ("ecto://u:secret@h:99999/d", "port"),
            ("ecto://u:secret@h", "database name"), ("ecto://u:secret@/d", "host"),
            ("ecto://u:secret%zz@h/d", "password"), ("ecto://u:secret%0@h/d", "password"),
            ("ecto://u:secret%00@h/d", "password"), ("ecto://u:secret%+1@h/d", "password"),
            ("ecto://u:secret@[::1/d", "bracket"), ("ecto://u:secret@[::1]x/d", "IPv6"),
            ("ecto://u:secret@h/d?ssl=secret", "ssl"), ("ecto://u:secret@h/d?colour=secret", "colour"),
            ("sqlite:", "path"), ("sqlite://", "path"),
        ])
    func wrong(_ url: String, _ says: String) {
        do {
            let location = try StoreLocation(databaseURL: url)
            Issue.record("taken as \(location)")
        } catch {
            guard case .configuration(let text) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(text.contains("DATABASE_URL"))
            #expect(text.contains(says), "\(text)")
            #expect(!text.contains("secret"))
        }
    }

    @Test("its description holds no secret")
    func redaction() throws {
        let url = "postgres://user:topsecret@one:5433,two/calls?sslpassword=alsosecret"
        let location = try StoreLocation(databaseURL: url)
        #expect(location.description == "postgresql://one:5433,two:5432/calls")
        #expect("\(location)" == "postgresql://one:5433,two:5432/calls")
        let parameters = try postgres(url)
        #expect(parameters.scrubbed("a topsecret b alsosecret") == "a *** b ***")
        #expect(try StoreLocation(databaseURL: "postgres://[::1]/d").description == "postgresql://[::1]/d")
    }

    @Test("one of several servers can be left out, by name and port")
    func withoutOne() throws {
        let several = try postgres("postgres://u@a:5433,b,a/d?sslmode=require")
        let others = try #require(several.without(host: "a", port: "5432"))
        #expect(others["host"] == "a,b")
        #expect(others["port"] == "5433,5432")
        #expect(others["sslmode"] == "require")
        #expect(others.without(host: "b", port: "5432")?["host"] == "a")
        #expect(
            others.without(host: "b", port: "5432")?.without(host: "a", port: "5433") == nil, "the last stays"
        )
        #expect(several.without(host: "c", port: "5432") == nil)
        #expect(try postgres("postgres://a,b/d").without(host: "b", port: "5432")?["port"] == "5432")
    }

    @Test("writers go to the primary whatever the URL asks for; reads go where it says, else to the primary")
    func targets() throws {
        func target(_ url: String, _ purpose: PostgresPurpose) throws -> String? {
            let connector = PostgresConnector(location: try postgres(url), settings: StoreSettings())
            return connector.parameters(for: purpose).last { $0.keyword == "target_session_attrs" }?.value
        }
        let writer = PostgresPurpose.writer(PostgresCommitLedger(writer: 16))
        #expect(try target("postgres://a,b/d", writer) == "read-write")
        #expect(try target("postgres://a,b/d", .reader) == "read-write")
        #expect(try target("postgres://a,b/d", .upkeep) == "read-write")
        #expect(try target("postgres://a/d", writer) == nil)
        #expect(try target("postgres://a/d", .reader) == nil)
        for wish in ["prefer-standby", "standby", "read-only"] {
            #expect(try target("postgres://a,b/d?target_session_attrs=\(wish)", writer) == "read-write")
            #expect(try target("postgres://a,b/d?target_session_attrs=\(wish)", .reader) == wish)
        }
        for wish in ["any", "primary", "read-write"] {
            #expect(try target("postgres://a,b/d?target_session_attrs=\(wish)", writer) == wish)
        }
    }

    @Test("what the operator says stands above our own connection settings")
    func defaults() throws {
        let own = PostgresConnector(location: try postgres("postgres://a,b/d"), settings: StoreSettings())
        let ours = Dictionary(
            uniqueKeysWithValues: own.parameters(for: .writer(PostgresCommitLedger(writer: 1 << 32))).map {
                ($0.keyword, $0.value)
            })
        #expect(ours["application_name"] == "callflow-fast")
        #expect(ours["target_session_attrs"] == "read-write", "several hosts: write to the primary")
        #expect(ours["keepalives_idle"] == "15")
        let theirs = PostgresConnector(
            location: try postgres("postgres://a/d?application_name=x&keepalives_idle=60&connect_timeout=3"),
            settings: StoreSettings())
        let given = Dictionary(
            uniqueKeysWithValues: theirs.parameters(for: .writer(PostgresCommitLedger(writer: 1 << 32))).map {
                ($0.keyword, $0.value)
            })
        #expect(given["application_name"] == "x")
        #expect(given["keepalives_idle"] == "60")
        #expect(given["connect_timeout"] == "3")
        #expect(given["target_session_attrs"] == nil)
    }
}
