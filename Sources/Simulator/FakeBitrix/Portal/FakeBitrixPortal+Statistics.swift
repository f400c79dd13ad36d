import Protocols

extension FakeBitrixPortal {
    /// `voximplant.statistic.get`: filter, sort, pages of 50; every scalar a text.
    func statistics(_ parameters: PHPValue) throws(PortalError) -> MethodOutcome {
        guard settings.statisticsReadable else {
            throw PortalError(status: 403, code: "ACCESS_DENIED", text: "Access denied!")
        }
        let filter = parameters["FILTER"].array ?? parameters["filter"].array ?? PHPArray()
        let conditions = filter.entries.map { StatisticsCondition(key: $0.key.text, wanted: $0.value) }
        let field = (parameters["SORT"].text ?? parameters["sort"].text ?? "").uppercased()
        let descends = (parameters["ORDER"].text ?? parameters["order"].text ?? "").uppercased() == "DESC"
        var rows = statisticsOrder.compactMap { statistics[$0] }.filter { row in
            conditions.allSatisfy { $0.holds(for: row) }
        }
        rows.sort { left, right in
            let isBefore =
                switch field {
                case "CALL_DURATION" where left.duration != right.duration: left.duration < right.duration
                case "CALL_START_DATE" where left.call.startDate != right.call.startDate:
                    left.call.startDate < right.call.startDate
                default: left.id < right.id
                }
            return isBefore != descends
        }
        let start = max(0, parameters["start"].integer)
        let page = rows.dropFirst(start).prefix(Self.pageSize)
        let next = start + page.count
        return MethodOutcome(
            .list(page.map(describe)), total: rows.count, next: next < rows.count ? next : nil)
    }

    private func describe(_ row: StatisticsRow) -> PHPValue {
        let call = row.call
        let startDate = localTime(Timestamp(microseconds: Int64(call.startDate) * 1_000_000))
        return .map([
            "ID": .string(String(row.id)), "PORTAL_USER_ID": .string(String(row.userID)),
            "PORTAL_NUMBER": .string(call.line ?? "REST_APP:\(call.application)"),
            "PHONE_NUMBER": .string(call.phoneNumber), "CALL_ID": .string(call.callID),
            "EXTERNAL_CALL_ID": call.externalCallID.map { .string($0) } ?? .null,
            "CALL_CATEGORY": .string("external"), "CALL_DURATION": .string(String(row.duration)),
            "CALL_START_DATE": .string(startDate), "CALL_VOTE": .null, "COST": .string("0.0000"),
            "COST_CURRENCY": .string(""), "CALL_FAILED_CODE": .string(row.statusCode),
            "CALL_FAILED_REASON": .string(row.failedReason),
            "CRM_ENTITY_TYPE": call.binding.map { .string($0.kind.rawValue) } ?? .null,
            "CRM_ENTITY_ID": call.binding.map { .string(String($0.id)) } ?? .null,
            "CRM_ACTIVITY_ID": row.activityID.map { .string(String($0)) } ?? .null,
            "RECORD_FILE_ID": row.fileID.map { .string(String($0)) } ?? .null,
            "TRANSCRIPT_ID": row.transcriptID.map { .string(String($0)) } ?? .null,
            "CALL_TYPE": .string(String(call.type)),
        ])
    }

    /// `telephony.call.attachTranscription`: only after finish; the checks in the real portal's order.
    mutating func attachTranscription(
        _ parameters: PHPValue, at now: Timestamp
    ) throws(PortalError) -> PHPValue {
        let callID = parameters["CALL_ID"].text ?? ""
        guard !callID.isEmpty else { throw telephonyError("CALL_ID should be set") }
        guard let messages = parameters["MESSAGES"].array else {
            throw telephonyError("MESSAGES should be an array")
        }
        for (index, message) in messages.values.enumerated() {
            func wrong(_ field: String, _ problem: String) -> PortalError {
                telephonyError("MESSAGES[\(index)][\(field)] \(problem)")
            }
            guard ["User", "Client"].contains(message["SIDE"].text ?? "") else {
                throw wrong("SIDE", "should be either User or Client")
            }
            guard message["START_TIME"].integer >= 0 else {
                throw wrong("START_TIME", "should not be negative")
            }
            guard message["STOP_TIME"].integer > 0 else {
                throw wrong("STOP_TIME", "should be greater than zero")
            }
            guard message["MESSAGE"].text?.isEmpty == false else {
                throw wrong("MESSAGE", "should not be empty")
            }
        }
        guard statistics[callID] != nil else {
            throw telephonyError("Call \(callID) is not found. Is it finished?")
        }
        let id = makeID()
        statistics[callID]?.transcriptID = id
        note(.transcriptionAttached(callID: callID, messageCount: messages.count), at: now)
        return .map(["TRANSCRIPT_ID": .int(id)])
    }
}

/// One entry of a filter, such as `>=CALL_DURATION`.
private struct StatisticsCondition {
    var sign: String
    var field: String
    var wanted: [String]

    init(key: String, wanted: PHPValue) {
        sign = String(key.prefix { "<>=!".contains($0) })
        field = key.dropFirst(sign.count).uppercased()
        self.wanted = (wanted.array?.values ?? [wanted]).map { $0.text ?? "" }
    }

    func holds(for row: StatisticsRow) -> Bool {
        switch field {
        case "ID": compares(row.id)
        case "PORTAL_USER_ID": compares(row.userID)
        case "CALL_DURATION": compares(row.duration)
        case "CALL_TYPE": compares(row.call.type)
        case "CRM_ACTIVITY_ID": compares(row.activityID ?? 0)
        case "CALL_START_DATE":
            wanted.allSatisfy { text in
                guard let time = Timestamp(text) else { return false }
                return Self.compare(row.call.startDate, sign, Int(time.microseconds / 1_000_000))
            }
        case "CALL_ID": equals(row.call.callID)
        case "EXTERNAL_CALL_ID": equals(row.call.externalCallID ?? "")
        case "PHONE_NUMBER": equals(row.call.phoneNumber)
        case "PORTAL_NUMBER": equals(row.call.line ?? "")
        case "CALL_FAILED_CODE": equals(row.statusCode)
        // The real portal leaves out conditions on fields that it does not know.
        default: true
        }
    }

    private func equals(_ value: String) -> Bool { wanted.contains(value) != (sign == "!") }

    private func compares(_ value: Int) -> Bool {
        guard !["", "=", "!"].contains(sign) else { return equals(String(value)) }
        return wanted.allSatisfy { Self.compare(value, sign, Int($0) ?? 0) }
    }

    private static func compare(_ value: Int, _ sign: String, _ wanted: Int) -> Bool {
        switch sign {
        case ">": value > wanted
        case ">=": value >= wanted
        case "<": value < wanted
        case "<=": value <= wanted
        case "!": value != wanted
        default: value == wanted
        }
    }
}
