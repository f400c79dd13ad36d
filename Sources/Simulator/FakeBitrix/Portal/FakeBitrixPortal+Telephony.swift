import Protocols

extension FakeBitrixPortal {
    /// `telephony.externalCall.register`; the checks in the real portal's order.
    mutating func register(
        _ parameters: PHPValue, _ caller: PortalCaller, at now: Timestamp
    ) throws(PortalError) -> PHPValue {
        try checkAuthType(caller)
        let userID = try namedUser(parameters)
        let type = parameters["TYPE"].integer
        guard (1...5).contains(type) else { throw telephonyError("Unknown TYPE") }
        guard let startDate = startDate(parameters["CALL_START_DATE"], at: now) else {
            throw telephonyError("CALL_START_DATE should be in the ISO-8601 format")
        }
        let number = parameters["PHONE_NUMBER"].text ?? ""
        let stripped = Self.stripped(number)
        guard !stripped.isEmpty, stripped != "0" else {
            throw telephonyError("Unsupported phone number format")
        }
        try checkActive(userID)

        let line = lineNumber(parameters["LINE_NUMBER"], at: now)
        let externalCallID = parameters["EXTERNAL_CALL_ID"].text.flatMap { $0.isEmpty ? nil : $0 }
        let showsCard = parameters["SHOW"] == .null || parameters["SHOW"].integer != 0
        let known = repeatedCall(
            of: caller, userID: userID, stripped: stripped, type: type, line: line,
            externalCallID: externalCallID, at: now)
        if let known {
            note(.registrationRepeated(callID: known.callID), at: now)
            if showsCard { show(known.callID, to: userID, at: now) }
            return registerResult(of: known, leadError: nil)
        }

        var call = ActiveCall(
            callID: makeCallID(at: now), externalCallID: externalCallID, userID: userID, phoneNumber: number,
            strippedNumber: stripped, type: type, line: line, startDate: startDate, registeredAt: now,
            isInternal: settings.users.contains { $0.isActive && $0.extensionNumber == stripped },
            showsCard: showsCard, createsLead: parameters["CRM_CREATE"].integer != 0,
            application: caller.application)
        let leadError = bind(&call, parameters, at: now)
        activeCalls[call.callID] = call
        activeByNumber[stripped, default: []].append(call.callID)
        activeOrder.append(call.callID)
        forgetOldest()
        note(.callRegistered(call), at: now)
        for entity in call.created {
            note(.entityCreated(kind: entity.kind, id: entity.id, callID: call.callID), at: now)
        }
        if showsCard { show(call.callID, to: userID, at: now) }
        return registerResult(of: call, leadError: leadError)
    }

    /// `telephony.externalCall.finish`; the checks in the real portal's order.
    mutating func finish(
        _ parameters: PHPValue, _ caller: PortalCaller, at now: Timestamp
    ) throws(PortalError) -> PHPValue {
        try checkAuthType(caller)
        let userID = try namedUser(parameters)
        guard case .string(let callID) = parameters["CALL_ID"] else {
            throw PortalError(
                status: 400, code: "INVALID_ARGUMENT", text: "CALL_ID must be a string", argument: "CALL_ID")
        }
        guard var call = activeCalls[callID] else {
            throw telephonyError("Call is not found (call should be registered prior to finishing")
        }
        try checkActive(userID)

        close(call)
        if cards[userID]?.remove(callID) != nil { note(.cardHidden(callID: callID, userID: userID), at: now) }
        for entity in call.created where entity.responsibleID != userID { move(entity, to: userID, at: now) }
        for index in call.created.indices { call.created[index].responsibleID = userID }

        let duration = max(0, parameters["DURATION"].integer)
        let sentCode = parameters["STATUS_CODE"].text ?? ""
        var row = StatisticsRow(
            id: makeID(), call: call, userID: userID, duration: duration,
            statusCode: sentCode.isEmpty ? (duration > 0 ? "200" : "304") : sentCode,
            failedReason: parameters["FAILED_REASON"].text ?? "", finishedAt: now)
        if call.binding != nil {
            row.activityID = makeID()
        } else if !call.isInternal {
            row.activityError = "Could not create activity: the call is not bound to any CRM entity"
        }
        statistics[callID] = row
        statisticsOrder.append(callID)
        note(.callFinished(row), at: now)
        if let activityID = row.activityID { note(.activityCreated(id: activityID, callID: callID), at: now) }
        if row.isMissed {
            missedNumbers.insert(call.strippedNumber)
            note(.missed(callID: callID), at: now)
        }
        if call.type == 1, row.statusCode == "200" { noteCallBack(to: call.strippedNumber, at: now) }
        if parameters["ADD_TO_CHAT"].integer != 0 { note(.chatNote(callID: callID), at: now) }
        forgetOldest()
        return statisticsResult(row)
    }

    /// `show` and `hide`: false for calls that are not active, with status 200.
    mutating func card(_ parameters: PHPValue, shown: Bool, at now: Timestamp) -> Bool {
        guard let callID = parameters["CALL_ID"].text, let call = activeCalls[callID] else { return false }
        var users: [Int]
        switch parameters["USER_ID"] {
        case .null: users = [call.userID]
        case .array(let list): users = list.values.map(\.integer)
        case let single: users = [single.integer]
        }
        users = users.filter { id in settings.users.contains { $0.id == id } }
        for userID in users {
            if shown {
                show(callID, to: userID, at: now)
            } else if cards[userID]?.remove(callID) != nil {
                note(.cardHidden(callID: callID, userID: userID), at: now)
            }
        }
        return true
    }

    /// `telephony.externalCall.searchCrmEntities`: contacts, leads, companies, in this order.
    func searchEntities(_ parameters: PHPValue) throws(PortalError) -> PHPValue {
        let number = Self.stripped(parameters["PHONE_NUMBER"].text ?? "")
        guard !number.isEmpty else { throw telephonyError("PHONE_NUMBER is empty") }
        return .list(
            directory.matches(Self.digits(number)).map { entity in
                let responsible = settings.users.first { $0.id == entity.responsibleID }
                return .map([
                    "CRM_ENTITY_TYPE": .string(entity.kind.rawValue), "CRM_ENTITY_ID": .int(entity.id),
                    "ASSIGNED_BY_ID": .int(entity.responsibleID), "NAME": .string(entity.name),
                    "ASSIGNED_BY": .map([
                        "ID": .string(String(entity.responsibleID)), "TIMEMAN_STATUS": .string("OPENED"),
                        "USER_PHONE_INNER": responsible?.extensionNumber.map { .string($0) } ?? .null,
                        "WORK_PHONE": .null, "PERSONAL_PHONE": .null,
                        "PERSONAL_MOBILE": responsible?.phones.first.map { .string($0) } ?? .null,
                    ]),
                ])
            })
    }

    // MARK: - Checks

    func checkAuthType(_ caller: PortalCaller) throws(PortalError) {
        guard settings.authPolicy == .webhookAllowed || !caller.isWebhook else {
            throw PortalError(
                status: 403, code: "WRONG_AUTH_TYPE",
                text: "Current authorization type is denied for this method")
        }
    }

    /// `USER_ID` wins when it is not zero, even if wrong; an extension must be that of an active employee.
    ///
    /// An extension that nobody has gives the same text as none at all.
    private func namedUser(_ parameters: PHPValue) throws(PortalError) -> Int {
        let userID = parameters["USER_ID"].integer
        if userID != 0 { return userID }
        let inner = parameters["USER_PHONE_INNER"].text ?? ""
        let match = inner.isEmpty ? nil : settings.users.first { $0.isActive && $0.extensionNumber == inner }
        guard let match else { throw telephonyError("USER_ID or USER_PHONE_INNER should be set") }
        return match.id
    }

    private func checkActive(_ userID: Int) throws(PortalError) {
        guard settings.users.contains(where: { $0.id == userID && $0.isActive }) else {
            throw telephonyError("User is not found or is not active")
        }
    }

    func telephonyError(_ text: String) -> PortalError {
        PortalError(status: 400, code: settings.errorCodeStyle.rawValue, text: text)
    }

    /// The start date in seconds since 1970; now when none is sent, nil when it cannot be read.
    ///
    /// Without an offset the portal's own zone is taken.
    private func startDate(_ value: PHPValue, at now: Timestamp) -> Int? {
        guard let text = value.text else { return nil }
        if text.isEmpty { return Int(now.microseconds / 1_000_000) }
        guard let read = Timestamp(text) else { return nil }
        let time = text.utf8.dropFirst(10)
        let hasZone = time.contains { $0 == 0x5A || $0 == 0x7A || $0 == 0x2B || $0 == 0x2D }
        return Int(read.microseconds / 1_000_000) - (hasZone ? 0 : settings.zoneSeconds)
    }

    /// Digits and `# * + , ;`.
    static func stripped(_ number: String) -> String {
        let kept = Set("0123456789#*+,;".utf8)
        return String(decoding: number.utf8.filter { kept.contains($0) }, as: UTF8.self)
    }

    // MARK: - Effects

    /// Recognises a registration sent again.
    ///
    /// The window runs from the call's start date, so a call registered late is never recognised.
    private func repeatedCall(
        of caller: PortalCaller, userID: Int, stripped: String, type: Int, line: String?,
        externalCallID: String?, at now: Timestamp
    ) -> ActiveCall? {
        let earliest = Int(now.microseconds / 1_000_000) - settings.recognitionSeconds
        let candidates = (activeByNumber[stripped] ?? []).lazy.compactMap { activeCalls[$0] }
        return candidates.first { call in
            call.application == caller.application && call.userID == userID && call.type == type
                && call.startDate >= earliest && (line == nil || call.line == line)
                && (externalCallID == nil || call.externalCallID == externalCallID)
        }
    }

    /// Takes a call off the open ones.
    private mutating func close(_ call: ActiveCall) {
        activeCalls[call.callID] = nil
        activeByNumber[call.strippedNumber]?.removeAll { $0 == call.callID }
        if activeByNumber[call.strippedNumber]?.isEmpty == true { activeByNumber[call.strippedNumber] = nil }
    }

    private mutating func lineNumber(_ value: PHPValue, at now: Timestamp) -> String? {
        let text = (value.text ?? "").split(separator: " ").joined(separator: " ")
        guard !text.isEmpty else { return nil }
        let line = String(text.prefix(50))
        if lineRows[line] == nil {
            lineRows[line] = PortalLine(id: makeID(), number: line, name: line)
            note(.lineCreated(number: line), at: now)
        }
        return line
    }

    /// Binds the call to what the CRM knows of the number, or makes something.
    ///
    /// Returns a warning.
    private mutating func bind(_ call: inout ActiveCall, _ parameters: PHPValue, at now: Timestamp) -> String?
    {
        guard !call.isInternal else { return nil }
        let givenID = parameters["CRM_ENTITY_ID"].integer
        if let kind = PortalSettings.Entity.Kind(rawValue: parameters["CRM_ENTITY_TYPE"].text ?? ""),
            givenID != 0
        {
            call.binding = directory.entity(kind, givenID)
            return nil
        }
        call.binding = directory.matches(Self.digits(call.strippedNumber)).first
        guard call.createsLead, call.binding == nil else { return nil }
        let digits = Self.digits(call.strippedNumber)
        if settings.users.contains(where: { $0.phones.contains(digits) }) {
            return "Lead creation is disabled for local users"
        }
        let sent = parameters["CRM_SOURCE"].text ?? ""
        let source =
            settings.sources.contains(sent) ? sent : settings.sources.contains("CALL") ? "CALL" : "OTHER"
        let kinds: [PortalSettings.Entity.Kind] = settings.crmMode == .leads ? [.lead] : [.contact, .deal]
        for kind in kinds {
            let entity = PortalSettings.Entity(
                kind: kind, id: makeID(), name: "\(call.phoneNumber) - call", phone: digits,
                responsibleID: call.userID, source: source)
            directory.insert(entity)
            call.created.append(entity)
        }
        call.binding = call.created.first
        return nil
    }

    private static func digits(_ number: String) -> String {
        String(decoding: number.utf8.filter { $0 >= 0x30 && $0 <= 0x39 }, as: UTF8.self)
    }

    private mutating func move(_ entity: PortalSettings.Entity, to userID: Int, at now: Timestamp) {
        guard directory.move(entity, to: userID) else { return }
        note(.responsibleMoved(entityID: entity.id, userID: userID), at: now)
    }

    private mutating func show(_ callID: String, to userID: Int, at now: Timestamp) {
        cards[userID, default: []].insert(callID)
        note(.cardShown(callID: callID, userID: userID), at: now)
    }

    private mutating func noteCallBack(to number: String, at now: Timestamp) {
        guard missedNumbers.contains(number) else { return }
        note(.calledBack(number: number), at: now)
    }

    private mutating func makeCallID(at now: Timestamp) -> String {
        var hex = ""
        for _ in 0..<2 {
            let word = String(random.next(), radix: 16)
            hex += String(repeating: "0", count: 16 - word.count) + word
        }
        return "externalCall.\(hex).\(now.microseconds / 1_000_000)"
    }

    /// Keeps what is remembered within its bounds.
    private mutating func forgetOldest() {
        let openBound = settings.maximumActiveCalls
        if activeOrder.count >= 2 * openBound || activeCalls.count > openBound {
            activeOrder.removeAll { activeCalls[$0] == nil }
            // A tenth leaves at once, so that the cost per call stays constant.
            let leaving =
                activeOrder.count > openBound ? max(activeOrder.count - openBound, openBound / 10) : 0
            for callID in activeOrder.prefix(leaving) {
                if let call = activeCalls[callID] { close(call) }
            }
            activeOrder.removeFirst(leaving)
        }
        let rowBound = settings.maximumStatistics
        if statisticsOrder.count >= 2 * rowBound {
            for callID in statisticsOrder.prefix(rowBound) { statistics[callID] = nil }
            statisticsOrder.removeFirst(rowBound)
        }
        if missedNumbers.count > rowBound { missedNumbers.removeAll() }
    }

    // MARK: - Results

    private func registerResult(of call: ActiveCall, leadError: String?) -> PHPValue {
        let lead = call.created.first { $0.kind == .lead }
        var result = PHPArray()
        result["CALL_ID"] = .string(call.callID)
        result["CRM_CREATED_LEAD"] = lead.map { .int($0.id) } ?? .null
        result["CRM_CREATED_ENTITIES"] = .list(
            call.created.map { entity in
                .map(["ENTITY_TYPE": .string(entity.kind.rawValue), "ENTITY_ID": .int(entity.id)])
            })
        result["CRM_ENTITY_TYPE"] = .string(call.binding?.kind.rawValue ?? "")
        result["CRM_ENTITY_ID"] = call.binding.map { .int($0.id) } ?? .null
        if let leadError { result["LEAD_CREATION_ERROR"] = .string(leadError) }
        return .array(result)
    }

    private func statisticsResult(_ row: StatisticsRow) -> PHPValue {
        let call = row.call
        var result = PHPArray()
        result["CALL_ID"] = .string(call.callID)
        result["EXTERNAL_CALL_ID"] = call.externalCallID.map { .string($0) } ?? .null
        result["PORTAL_USER_ID"] = .int(row.userID)
        result["PHONE_NUMBER"] = .string(call.phoneNumber)
        result["PORTAL_NUMBER"] = .string(call.line ?? "REST_APP:\(call.application)")
        result["INCOMING"] = .string(String(call.type))
        result["CALL_DURATION"] = .int(row.duration)
        result["CALL_START_DATE"] = .object
        result["CALL_STATUS"] = .int(row.callStatus)
        result["CALL_VOTE"] = .int(0)
        result["COST"] = .int(0)
        result["COST_CURRENCY"] = .string("")
        result["CALL_FAILED_CODE"] = .string(row.statusCode)
        result["CALL_FAILED_REASON"] = .string(row.failedReason)
        result["CRM_ACTIVITY_ID"] = row.activityID.map { .int($0) } ?? .null
        result["COMMENT"] = .null
        if let binding = call.binding {
            result["CRM_ENTITY_TYPE"] = .string(binding.kind.rawValue)
            result["CRM_ENTITY_ID"] = .int(binding.id)
        }
        result["ID"] = .int(row.id)
        if let error = row.activityError { result["ERRORS"] = .map(["ACTIVITY_CREATION": .string(error)]) }
        return .array(result)
    }
}
