import Protocols

extension FakeBitrixPortal {
    /// Rows of one page of a list.
    static let pageSize = 50

    /// `user.get`: filter, sort, pages of 50.
    ///
    /// `ID` is a text, `ACTIVE` is not.
    func users(_ parameters: PHPValue) -> MethodOutcome {
        let filter = parameters["FILTER"].array ?? parameters["filter"].array ?? PHPArray()
        var rows = settings.users.filter { user in
            filter.entries.allSatisfy { entry in Self.matches(user, entry.key.text.uppercased(), entry.value)
            }
        }
        let field = (parameters["sort"].text ?? "").uppercased()
        let descends = (parameters["order"].text ?? "").uppercased() == "DESC"
        rows.sort { left, right in
            let isBefore =
                field == "NAME" && left.name != right.name ? left.name < right.name : left.id < right.id
            return isBefore != descends
        }
        let start = max(0, parameters["start"].integer)
        let page = rows.dropFirst(start).prefix(Self.pageSize)
        let next = start + page.count
        return MethodOutcome(
            .list(
                page.map { user in
                    .map([
                        "ID": .string(String(user.id)), "ACTIVE": .bool(user.isActive),
                        "NAME": .string(user.name),
                        "UF_PHONE_INNER": user.extensionNumber.map { .string($0) } ?? .null,
                        "PERSONAL_MOBILE": user.phones.first.map { .string($0) } ?? .string(""),
                        "USER_TYPE": .string("employee"),
                    ])
                }),
            total: rows.count, next: next < rows.count ? next : nil)
    }

    private static func matches(_ user: PortalSettings.User, _ field: String, _ wanted: PHPValue) -> Bool {
        switch field {
        case "ID":
            let ids = wanted.array?.values ?? [wanted]
            return ids.contains { $0.integer == user.id }
        case "ACTIVE":
            let isTrue = wanted == .bool(true) || ["1", "true", "Y"].contains(wanted.text ?? "")
            return user.isActive == isTrue
        case "UF_PHONE_INNER": return (user.extensionNumber ?? "") == (wanted.text ?? "")
        case "USER_TYPE": return wanted.text == "employee"
        default: return true
        }
    }
}
