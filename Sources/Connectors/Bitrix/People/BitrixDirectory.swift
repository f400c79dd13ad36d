import Protocols

/// The portal's active employees by extension, as of the last time that all pages of `user.get` were read.
package struct BitrixDirectory: Sendable, Hashable {
    /// Users that are kept; a portal with more has its later ones left out, and their calls go by extension.
    package static let maximumUsers = 50_000

    private var byExtension: [String: Int] = [:]
    private var byUser: [Int: String] = [:]
    private var active: Set<Int> = []

    /// Nobody.
    package init() {}

    /// Active employees.
    package var count: Int { active.count }
    /// Extensions that somebody has.
    package var extensionCount: Int { byExtension.count }

    /// Who has an extension.
    package func userID(extension number: String) -> Int? { byExtension[number] }

    /// The extension that somebody has.
    package func `extension`(of userID: Int) -> String? { byUser[userID] }

    /// Whether somebody of this id works there.
    package func isActive(_ userID: Int) -> Bool { active.contains(userID) }

    /// Takes one user in; the first with an extension keeps it.
    mutating func add(_ userID: Int, extension number: String?) {
        guard active.count < Self.maximumUsers else { return }
        active.insert(userID)
        guard let number, !number.isEmpty, byExtension[number] == nil else { return }
        byExtension[number] = userID
        if byUser[userID] == nil { byUser[userID] = number }
    }
}

/// Reads the directory page by page; no socket, no clock.
///
/// A reading that fails leaves the directory as it was.
package struct BitrixDirectoryReading: Sendable {
    /// Pages that are read; a portal that always names a next one must not keep us for ever.
    package static let maximumPages = 1_000

    private var directory = BitrixDirectory()
    private var pages = 0

    /// Begins with the first page.
    package init() {}

    /// The request for the first page.
    package var firstCommand: BitrixCommand { .users(start: 0) }

    /// What a page led to.
    package enum Outcome: Sendable, Hashable {
        /// Ask for the next page.
        case next(BitrixCommand)
        /// All are read.
        case complete(BitrixDirectory)
        /// The page cannot be read; keep what there was.
        case failed(reason: String)
    }

    /// Takes a page in.
    ///
    /// - Parameters:
    ///   - status: The HTTP status.
    ///   - body: The answer, whatever it is.
    package mutating func take(status: Int, body: [UInt8]) -> Outcome {
        guard status == 200, let value = try? JSONValue.parse(body.span.bytes),
            let rows = value["result"]?.array
        else {
            let reply = BitrixReplyDecoder().decode(status: status, body: body)
            switch reply {
            case .refusal(let refusal): return .failed(reason: refusal.summary)
            case .noAnswer(_, let reason): return .failed(reason: reason)
            case .success: return .failed(reason: "the answer to user.get is no list")
            }
        }
        for row in rows {
            guard let id = row["ID"]?.text.flatMap({ Int($0) }), id > 0, row["ACTIVE"]?.bool != false else {
                continue
            }
            // The portal keeps digits only; a stray space would hide an employee.
            let number = row["UF_PHONE_INNER"]?.text.map { PhoneNumber.digits($0) }
            directory.add(id, extension: number)
        }
        pages += 1
        guard let next = value["next"]?.int.flatMap({ Int(exactly: $0) }), next > 0, !rows.isEmpty else {
            return .complete(directory)
        }
        guard pages < Self.maximumPages else { return .complete(directory) }
        return .next(.users(start: next))
    }
}
