import Protocols

extension BitrixReplyDecoder {
    /// Reads the answer to a request.
    ///
    /// - Parameters:
    ///   - departure: What was sent.
    ///   - status: The HTTP status.
    ///   - body: The body, whatever it is.
    package func decode(
        _ departure: BitrixOutbox.Departure, status: Int, body: [UInt8]
    ) -> BitrixAnswer {
        let reply = decode(status: status, body: body)
        guard case .success(var success) = reply else { return .whole(reply) }
        guard departure.isBatch else {
            if departure.method == .statistics || departure.method == .search {
                guard let value = try? JSONValue.parse(body.span.bytes) else { return .whole(reply) }
                let list = Self.list(value["result"])
                success.rows = list.count
                success.callID = list.rows.first?["CALL_ID"]?.text
                success.responsibleID = Self.responsibleID(list.rows)
            }
            return .whole(.success(success))
        }
        guard let value = try? JSONValue.parse(body.span.bytes), let result = value["result"],
            result.members != nil
        else { return .whole(.noAnswer(mayHaveRun: true, reason: "the answer to a batch has no result")) }
        let results = result["result"]
        let errors = result["result_error"]
        let times = result["result_time"]
        return .parts(
            departure.parts.map { part in
                // An empty map comes as a list; an error comes before a result, should both be there.
                if let error = errors?[part.key], !error.isNull { return .refusal(refusal(error)) }
                guard let value = results?[part.key] else { return nil }
                return .success(self.success(value, time: times?[part.key]))
            })
    }

    private func refusal(_ error: JSONValue) -> BitrixRefusal {
        // The newer REST interface puts an object where the older has a text.
        let code = error["error"]?.string ?? error["error"]?["code"]?.string ?? ""
        let text = error["error_description"]?.string ?? error["error"]?["message"]?.string ?? ""
        return BitrixRefusal(status: 400, code: cut(code), text: cut(text))
    }

    private func success(_ value: JSONValue, time: JSONValue?) -> BitrixSuccess {
        let list = Self.list(value)
        let warnings = [value["LEAD_CREATION_ERROR"]?.string, value["ERRORS"]?["ACTIVITY_CREATION"]?.string]
        return BitrixSuccess(
            callID: (list.rows.first ?? value)["CALL_ID"]?.text,
            warnings: warnings.compactMap { $0 }.filter { !$0.isEmpty }.map(cut),
            operatingResetsAfter: Self.resetDelay(
                from: time?["finish"]?.double, to: time?["operating_reset_at"]?.double),
            operating: time?["operating"]?.double, duration: time?["duration"]?.double, rows: list.count,
            responsibleID: Self.responsibleID(list.rows))
    }

    private static func responsibleID(_ rows: [JSONValue]) -> Int? {
        rows.first?["ASSIGNED_BY_ID"]?.text.flatMap { Int($0) }
    }

    private static func list(_ value: JSONValue?) -> (rows: [JSONValue], count: Int) {
        let rows = value?.array ?? []
        return (rows, rows.count)
    }
}

extension JSONValue {
    /// A text, or a whole number as text: the portal's ids come as either.
    var text: String? { string ?? int.map { String($0) } }
}
