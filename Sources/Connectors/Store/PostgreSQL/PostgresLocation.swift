/// Connection parameters of PostgreSQL, by libpq's keywords (PostgreSQL documentation, 34.1.2).
package struct PostgresLocation: Sendable, Hashable, CustomStringConvertible {
    /// Keyword and value, in order; values are secret for `password`, `sslpassword`.
    private(set) var parameters: [(keyword: String, value: String)] = []

    /// libpq's keywords that may stand in the query.
    static let keywords: Set<String> = [
        "host", "hostaddr", "port", "dbname", "user", "password", "passfile", "channel_binding",
        "connect_timeout", "client_encoding", "options", "application_name", "fallback_application_name",
        "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
        "sslmode", "requiressl", "sslcompression", "sslcert", "sslkey", "sslpassword", "sslrootcert",
        "sslcrl",
        "sslcrldir", "sslsni", "requirepeer", "ssl_min_protocol_version", "ssl_max_protocol_version",
        "gssencmode", "krbsrvname", "gsslib", "service", "target_session_attrs", "load_balance_hosts",
    ]

    /// Options of Ecto and Postgrex that say nothing to us: pools, queues, logging of the old daemon.
    static let ignoredEctoOptions: Set<String> = [
        "pool", "pool_size", "pool_count", "timeout", "queue_target", "queue_interval", "idle_interval",
        "idle_limit", "log", "stacktrace", "prepare", "parameters", "types", "ssl_opts", "socket_options",
        "show_sensitive_data_on_connection_error", "ownership_timeout", "handshake_timeout", "ping_timeout",
        "backoff_min", "backoff_max", "backoff_type", "disconnect_on_error_codes", "search_path", "ipv6",
        "maintenance_database", "after_connect", "migration_lock", "template", "encoding",
    ]

    private static let secretKeywords: Set<String> = ["password", "sslpassword"]

    /// Takes parameters as they are.
    package init(parameters: [(keyword: String, value: String)]) {
        self.parameters = parameters
    }

    /// Reads what stands after `scheme://`.
    ///
    /// The user part ends at the last `@` before the path, as it does for the old daemon, so that a password
    /// may hold a raw `@`.
    init(afterScheme text: Substring, isEcto: Bool) throws(StoreError) {
        let authorityEnd = text.firstIndex { $0 == "/" || $0 == "?" || $0 == "#" } ?? text.endIndex
        let authority = text[..<authorityEnd]
        var hosts = authority
        if let at = authority.lastIndex(of: "@") {
            hosts = authority[authority.index(after: at)...]
            let userInfo = authority[..<at]
            let colon = userInfo.firstIndex(of: ":") ?? userInfo.endIndex
            try set("user", decoding: userInfo[..<colon], what: "the user")
            if colon < userInfo.endIndex {
                try set("password", decoding: userInfo[userInfo.index(after: colon)...], what: "the password")
            }
        }
        try readHosts(hosts)
        var rest = text[authorityEnd...]
        if let hash = rest.firstIndex(of: "#") { rest = rest[..<hash] }
        let queryStart = rest.firstIndex(of: "?") ?? rest.endIndex
        try set("dbname", decoding: rest[..<queryStart].drop { $0 == "/" }, what: "the database name")
        for pair in rest[queryStart...].dropFirst().split(separator: "&") {
            let equals = pair.firstIndex(of: "=") ?? pair.endIndex
            try readOption(
                String(pair[..<equals]).lowercased(), value: pair[equals...].dropFirst(), isEcto: isEcto)
        }
        if isEcto {
            guard self["dbname"] != nil else { throw .configuration("DATABASE_URL has no database name") }
            guard self["host"] != nil else { throw .configuration("DATABASE_URL has no host") }
        }
    }

    /// The value of a keyword.
    package subscript(keyword: String) -> String? {
        parameters.last { $0.keyword == keyword }?.value
    }

    /// Replaces or adds a parameter; an empty value counts as none.
    package mutating func set(_ keyword: String, _ value: String) {
        parameters.removeAll { $0.keyword == keyword }
        if !value.isEmpty { parameters.append((keyword, value)) }
    }

    /// Adds a parameter unless the operator gave one.
    mutating func setDefault(_ keyword: String, _ value: String) {
        if self[keyword] == nil { set(keyword, value) }
    }

    /// Whether several servers are named, of which one is written to.
    var hasSeveralHosts: Bool { (self["host"] ?? self["hostaddr"] ?? "").contains(",") }

    /// The same without one of several servers; `nil` when it is not among them, or the only one.
    func without(host: String, port: String) -> PostgresLocation? {
        guard self["hostaddr"] == nil, let all = self["host"] else { return nil }
        var hosts = all.split(separator: ",", omittingEmptySubsequences: false)
        var ports = (self["port"] ?? "5432").split(separator: ",", omittingEmptySubsequences: false)
        if ports.count == 1 { ports = Array(repeating: ports[0], count: hosts.count) }
        guard hosts.count > 1, ports.count == hosts.count,
            let index = hosts.indices.first(where: { hosts[$0] == host && ports[$0] == port })
        else { return nil }
        hosts.remove(at: index)
        ports.remove(at: index)
        var others = self
        others.set("host", hosts.joined(separator: ","))
        others.set("port", ports.joined(separator: ","))
        return others
    }

    /// Host, port and database for logs; never a secret.
    package var description: String {
        let hosts = (self["host"] ?? self["hostaddr"] ?? "local socket").split(separator: ",")
        let ports = (self["port"] ?? "").split(separator: ",", omittingEmptySubsequences: false)
        let places = hosts.enumerated().map { index, host in
            let port = ports.count == hosts.count ? ports[index] : ports.first ?? ""
            let name = host.contains(":") ? "[\(host)]" : String(host)
            return port.isEmpty ? name : "\(name):\(port)"
        }
        return "postgresql://\(places.joined(separator: ","))/\(self["dbname"] ?? self["user"] ?? "")"
    }

    /// `text` without the password, should a library have put it there.
    func scrubbed(_ text: String) -> String {
        var result = text
        for parameter in parameters
        where Self.secretKeywords.contains(parameter.keyword) && parameter.value.utf8.count >= 3 {
            result = result.split(separator: parameter.value, omittingEmptySubsequences: false)
                .joined(separator: "***")
        }
        return result
    }

    package static func == (left: PostgresLocation, right: PostgresLocation) -> Bool {
        left.parameters.elementsEqual(right.parameters) { $0.keyword == $1.keyword && $0.value == $1.value }
    }

    package func hash(into hasher: inout Hasher) {
        for parameter in parameters {
            hasher.combine(parameter.keyword)
            hasher.combine(parameter.value)
        }
    }
}

// MARK: - Reading

extension PostgresLocation {
    private mutating func set(_ keyword: String, decoding text: Substring, what: String) throws(StoreError) {
        guard let value = Self.percentDecoded(text) else {
            throw .configuration("DATABASE_URL: \(what) has a broken percent escape")
        }
        set(keyword, value)
    }

    private mutating func readHosts(_ text: Substring) throws(StoreError) {
        guard !text.isEmpty else { return }
        var (hosts, ports): ([String], [String]) = ([], [])
        for place in text.split(separator: ",", omittingEmptySubsequences: false) {
            var (host, port) = (place, Substring())
            if place.hasPrefix("[") {
                guard let end = place.firstIndex(of: "]") else {
                    throw .configuration("DATABASE_URL: an IPv6 address has no closing bracket")
                }
                host = place[place.index(after: place.startIndex)..<end]
                port = place[place.index(after: end)...]
                guard port.isEmpty || port.hasPrefix(":") else {
                    throw .configuration("DATABASE_URL: there is text between an IPv6 address and its port")
                }
                port = port.dropFirst()
            } else if let colon = place.firstIndex(of: ":") {
                host = place[..<colon]
                port = place[place.index(after: colon)...]
            }
            guard let name = Self.percentDecoded(host) else {
                throw .configuration("DATABASE_URL: the host has a broken percent escape")
            }
            hosts.append(name)
            ports.append(String(port))
        }
        for port in ports where !port.isEmpty {
            guard let number = UInt16(port), number > 0 else {
                throw .configuration("DATABASE_URL: the port is no number from 1 to 65535")
            }
        }
        set("host", hosts.joined(separator: ","))
        if ports.contains(where: { !$0.isEmpty }) {
            set("port", ports.map { $0.isEmpty ? "5432" : $0 }.joined(separator: ","))
        }
    }

    private mutating func readOption(_ name: String, value: Substring, isEcto: Bool) throws(StoreError) {
        guard let value = Self.percentDecoded(value) else {
            throw .configuration("DATABASE_URL: the value of option \(name) has a broken percent escape")
        }
        switch name {
        case "ssl":
            // Ecto's own; libpq's URIs know `ssl=true` too (JDBC's habit). Certificates are checked only
            // with `sslmode=verify-full`, as the old daemon did not check them either.
            guard value == "true" || value == "false" else {
                throw .configuration("DATABASE_URL: option ssl must be true or false")
            }
            setDefault("sslmode", value == "true" ? "require" : "disable")
        case "socket_dir" where isEcto: set("host", value)
        case "hostname" where isEcto: set("host", value)
        case "database" where isEcto: set("dbname", value)
        case "username" where isEcto: set("user", value)
        case _ where Self.keywords.contains(name): set(name, value)
        case _ where Self.ignoredEctoOptions.contains(name): break
        default: throw .configuration("DATABASE_URL has an unknown option: \(name.prefix(40))")
        }
    }

    /// Percent-decoded once; `nil` for a broken escape, U+0000 or what is no UTF-8 then.
    static func percentDecoded(_ text: Substring) -> String? {
        guard text.utf8.contains(UInt8(ascii: "%")) else { return String(text) }
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard rest.count >= 2, rest.first != UInt8(ascii: "+"),
                let value = UInt8(String(rest.prefix(2)) ?? "", radix: 16), value != 0
            else { return nil }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }
}
