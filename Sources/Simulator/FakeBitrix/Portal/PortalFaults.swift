/// A misfortune on the way to or from the portal.
package enum PortalFault: Sendable, Hashable {
    /// The method runs; the answer comes so late.
    case delayAfterEffect(Duration)
    /// The connection is cut and nothing ran.
    case cutBeforeEffect
    /// The method runs; the connection is cut instead of an answer.
    case cutAfterEffect
    /// A proxy's page, and nothing ran.
    case page(status: Int)
    /// A proxy's page although the method ran.
    case pageAfterEffect(status: Int)
    /// A batch is cut off after so many commands, and a proxy's page says so.
    case diesInBatch(after: Int)
    /// An answer of the portal's with this error, and nothing ran.
    case refusal(status: Int, code: String, text: String)
    /// Status 200 with this as body, and nothing ran.
    case body(String)

    /// 503 for too many requests.
    package static let queryLimit = refusal(
        status: 503, code: "QUERY_LIMIT_EXCEEDED", text: "Too many requests")
    /// 429 for too much running time.
    package static let operationTimeLimit = refusal(
        status: 429, code: "OPERATION_TIME_LIMIT", text: "Method is blocked due to operation time limit.")
}

/// When a fault strikes.
package struct PortalFaultRule: Sendable {
    /// Method in lower case; nil: any.
    ///
    /// A refusal of a named method also strikes the method's commands inside a batch.
    package var method: String?
    package var fault: PortalFault
    /// Requests left alone before the first one struck.
    package var after = 0
    /// Requests struck; nil: all from then on.
    package var count: Int?
    /// Of the requests it could strike, how many in a hundred it does.
    package var percent = 100

    package init(
        _ fault: PortalFault, method: String? = nil, after: Int = 0, count: Int? = nil, percent: Int = 100
    ) {
        self.fault = fault
        self.method = method
        self.after = after
        self.count = count
        self.percent = percent
    }

    /// Reads `cut-after=5,page=2`: faults and of how many requests in a hundred each strikes; `nil` for what it does not know.
    package static func rules(parsing text: String) -> [PortalFaultRule]? {
        let names: [String: PortalFault] = [
            "cut-before": .cutBeforeEffect, "cut-after": .cutAfterEffect, "page": .page(status: 502),
            "page-after": .pageAfterEffect(status: 500), "limit": .queryLimit,
        ]
        var rules: [PortalFaultRule] = []
        for part in text.split(separator: ",") {
            let sides = part.split(separator: "=")
            guard sides.count == 2, let fault = names[String(sides[0])], let percent = Int(sides[1]),
                (0...100).contains(percent)
            else { return nil }
            rules.append(PortalFaultRule(fault, percent: percent))
        }
        return rules
    }

    /// Whether this request is struck; counts it.
    mutating func strikes(_ requested: String, random: inout some RandomNumberGenerator) -> Bool {
        if let method, method != requested { return false }
        if after > 0 {
            after -= 1
            return false
        }
        if let count, count <= 0 { return false }
        if percent < 100, Int.random(in: 0..<100, using: &random) >= percent { return false }
        if let count { self.count = count - 1 }
        return true
    }
}
