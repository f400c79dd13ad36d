package import Protocols

/// What the portal tells a handler: a form, every value a text.
package struct PortalEvent: Sendable, Hashable {
    /// `ONEXTERNALCALLSTART` and so on.
    package var name: String
    /// The body, `application/x-www-form-urlencoded` with bracket keys.
    package var body: [UInt8]
}

extension FakeBitrixPortal {
    /// An employee clicks a number: the portal registers the call itself and tells the handler.
    ///
    /// - Returns: The event and the call's `CALL_ID`; nil when the user cannot call.
    package mutating func click(
        userID: Int, number: String, entity: PortalSettings.Entity? = nil, at now: Timestamp
    ) -> (event: PortalEvent, callID: String)? {
        guard let user = settings.users.first(where: { $0.id == userID && $0.isActive }) else { return nil }
        var parameters = PHPArray()
        parameters["USER_ID"] = .int(userID)
        parameters["PHONE_NUMBER"] = .string(number)
        parameters["TYPE"] = .int(1)
        parameters["CRM_CREATE"] = .int(1)
        parameters["SHOW"] = .int(1)
        if let line = settings.outgoingLine { parameters["LINE_NUMBER"] = .string(line) }
        let portal = PortalCaller(
            key: "portal", application: "", userID: userID, scopes: [], isWebhook: false)
        guard let result = try? register(.array(parameters), portal, at: now),
            let callID = result["CALL_ID"].text
        else { return nil }
        note(.clicked(callID: callID, userID: userID), at: now)
        let event = self.event(
            "ONEXTERNALCALLSTART",
            [
                ("PHONE_NUMBER", number),
                ("PHONE_NUMBER_INTERNATIONAL", number.hasPrefix("+") ? number : "+" + number),
                ("EXTENSION", user.extensionNumber ?? ""), ("USER_ID", String(userID)), ("CALL_LIST_ID", "0"),
                ("LINE_NUMBER", settings.outgoingLine ?? ""), ("IS_MOBILE", "0"), ("CALL_ID", callID),
                ("CRM_ENTITY_TYPE", entity?.kind.rawValue ?? ""),
                // Without an entity the id is "0" or empty.
                ("CRM_ENTITY_ID", entity.map { String($0.id) } ?? "0"),
            ], at: now)
        return (event, callID)
    }

    /// Somebody asks to be called back in a form of the CRM's.
    package func callBackRequest(number: String, text: String, at now: Timestamp) -> PortalEvent {
        event(
            "ONEXTERNALCALLBACKSTART",
            [
                ("PHONE_NUMBER", number), ("TEXT", text), ("VOICE", "enfemale"), ("CRM_ENTITY_TYPE", ""),
                ("CRM_ENTITY_ID", ""), ("LINE_NUMBER", settings.outgoingLine ?? ""),
            ], at: now)
    }

    private func event(_ name: String, _ data: [(String, String)], at now: Timestamp) -> PortalEvent {
        var query = Query()
        query.append("event", name)
        query.append("event_handler_id", "1")
        for (key, value) in data { query.append("data[\(key)]", value) }
        query.append("ts", String(now.microseconds / 1_000_000))
        for (key, value) in [
            ("domain", settings.host), ("member_id", "fake"),
            ("client_endpoint", "\(settings.baseURL)/rest/"),
            ("server_endpoint", "https://oauth.bitrix.info/rest/"),
            ("application_token", settings.applicationToken),
        ] {
            query.append("auth[\(key)]", value)
        }
        var body: [UInt8] = []
        query.encode(into: &body)
        return PortalEvent(name: name, body: body)
    }
}
