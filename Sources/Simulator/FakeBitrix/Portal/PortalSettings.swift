/// What kind of portal the stand-in is.
package struct PortalSettings: Sendable {
    /// Which credentials may call the telephony methods.
    ///
    /// Documentation and practice disagree, so both exist.
    package enum AuthPolicy: Sendable { case webhookAllowed, applicationOnly }
    /// What `error` holds for errors of the telephony methods.
    package enum ErrorCodeStyle: String, Sendable, CaseIterable {
        case errorCore = "ERROR_CORE"
        case empty = ""
    }
    /// What is made for an unknown number: a lead, or, in the CRM without leads, a contact with a deal.
    package enum CRMMode: Sendable { case leads, simple }

    /// The request bucket.
    package struct Plan: Sendable, Hashable {
        package var perSecond: Double
        package var limit: Double
        package init(perSecond: Double, limit: Double) {
            self.perSecond = perSecond
            self.limit = limit
        }
        package static let normal = Plan(perSecond: 2, limit: 50)
        package static let enterprise = Plan(perSecond: 5, limit: 250)
        /// Practically without limits, for demonstrations.
        package static let unlimited = Plan(perSecond: 1_000_000, limit: 1_000_000)

        /// `unlimited`, `normal` or `enterprise`.
        package init?(named name: String) {
            switch name {
            case "unlimited": self = .unlimited
            case "normal": self = .normal
            case "enterprise": self = .enterprise
            default: return nil
            }
        }
    }

    /// An incoming webhook.
    package struct Webhook: Sendable {
        package var userID: Int
        package var secret: String
        package var scopes: Set<String>
        package init(userID: Int = 1, secret: String, scopes: Set<String> = ["telephony", "crm", "user"]) {
            self.userID = userID
            self.secret = secret
            self.scopes = scopes
        }
    }

    /// An employee.
    package struct User: Sendable {
        package var id: Int
        package var name: String
        /// `UF_PHONE_INNER`.
        package var extensionNumber: String?
        package var isActive = true
        /// Outside numbers of the employee, digits only.
        package var phones: [String] = []
        package init(
            id: Int, name: String, extensionNumber: String? = nil, isActive: Bool = true,
            phones: [String] = []
        ) {
            self.id = id
            self.name = name
            self.extensionNumber = extensionNumber
            self.isActive = isActive
            self.phones = phones
        }
    }

    /// Something in the CRM that calls are bound to.
    package struct Entity: Sendable, Hashable {
        package enum Kind: String, Sendable {
            case contact = "CONTACT", lead = "LEAD", company = "COMPANY", deal = "DEAL"
        }
        package var kind: Kind
        package var id: Int
        package var name: String
        /// Digits only.
        package var phone: String
        package var responsibleID: Int
        package var source: String?
        package init(
            kind: Kind, id: Int, name: String, phone: String, responsibleID: Int, source: String? = nil
        ) {
            self.kind = kind
            self.id = id
            self.name = name
            self.phone = phone
            self.responsibleID = responsibleID
            self.source = source
        }
    }

    package var host = "portal.example"
    /// Where the portal is reached, without a slash at the end; for upload addresses and events.
    ///
    /// A server that listens puts its own address here.
    package var baseURL = PortalSettings.defaultBaseURL
    package static let defaultBaseURL = "https://portal.example"
    package var webhooks: [Webhook]
    /// OAuth access tokens; what is sent as `auth`.
    package var accessTokens: [String: Webhook] = [:]
    /// What an application proves itself with when it renews its tokens.
    package var clientID = "local.fake"
    package var clientSecret = "fakeclientsecret"
    /// Sent with each event; the handler's only proof of origin.
    package var applicationToken = "fakeapplicationtoken"
    /// The line that calls begun in the portal go out by.
    package var outgoingLine: String?
    /// Whether the webhook's user may read the statistics.
    package var statisticsReadable = true
    package var authPolicy = AuthPolicy.webhookAllowed
    package var errorCodeStyle = ErrorCodeStyle.errorCore
    package var crmMode = CRMMode.leads
    package var plan = Plan.normal
    /// Running time that a method may use up in ten minutes per key, in seconds; nil: not enforced.
    package var operatingLimit: Double?
    /// Running time of one call of a method (lower-case name), in seconds; else ``defaultRunningTime``.
    package var runningTime: [String: Double] = [:]
    package var defaultRunningTime = 0.31
    /// The portal's zone, seconds east of UTC.
    package var zoneSeconds = 3 * 3600
    package var users: [User]
    package var entities: [Entity] = []
    package var sources: Set<String> = ["CALL", "WEB", "OTHER", "ADVERTISING"]
    /// How long an unfinished call is recognised when it is registered again, from its start date.
    package var recognitionSeconds = 30 * 60
    /// Bounds of what the stand-in remembers; the oldest leave.
    package var maximumActiveCalls = 50_000
    package var maximumStatistics = 20_000
    package var maximumEntities = 20_000
    package var maximumLogEntries = 20_000

    /// A portal with one webhook of user 1 and a few employees.
    package init(
        secret: String = "s3cr3tt0k3n",
        users: [User] = [
            User(id: 1, name: "Irina Admin"),
            User(id: 7, name: "Oleg Sales", extensionNumber: "101"),
            User(id: 8, name: "Anna Support", extensionNumber: "102"),
            User(id: 9, name: "Former Employee", extensionNumber: "199", isActive: false),
        ]
    ) {
        webhooks = [Webhook(secret: secret)]
        self.users = users
    }
}

extension PortalSettings {
    /// A portal for demonstrations: no limits, and an employee for each extension of the simulated PBX.
    package static func demonstration(extensions: ClosedRange<Int> = 101...140) -> PortalSettings {
        let names = [
            "Anna", "Boris", "Clara", "Dmitri", "Elena", "Fedor", "Galina", "Ivan", "Katya", "Leonid",
        ]
        let employees = extensions.map { number in
            User(
                id: number, name: "\(names[number % names.count]) \(number)", extensionNumber: String(number))
        }
        var settings = PortalSettings(users: [User(id: 1, name: "Irina Admin")] + employees)
        settings.plan = .unlimited
        return settings
    }
}
