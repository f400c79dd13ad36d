import Protocols

/// Reads the portal's answers; one per client, since the scanner learns the order of keys.
///
/// Forgiving where the portal is: an empty map comes as `[]`, ids as texts or numbers, `error` may be empty.
package final class BitrixReplyDecoder {
    private enum Path: Int, CaseIterable {
        case result, callID, leadError, activityError, error, errorCode, errorMessage, errorDescription
        case timeFinish, timeDuration, operating, operatingReset

        var keys: [String] {
            switch self {
            case .result: ["result"]
            case .callID: ["result", "CALL_ID"]
            case .leadError: ["result", "LEAD_CREATION_ERROR"]
            case .activityError: ["result", "ERRORS", "ACTIVITY_CREATION"]
            case .error: ["error"]
            // The shape of the newer REST interface, should a proxy method ever answer with it.
            case .errorCode: ["error", "code"]
            case .errorMessage: ["error", "message"]
            case .errorDescription: ["error_description"]
            case .timeFinish: ["time", "finish"]
            case .timeDuration: ["time", "duration"]
            case .operating: ["time", "operating"]
            case .operatingReset: ["time", "operating_reset_at"]
            }
        }
    }

    private let scanner = JSONFieldScanner(JSONFieldPlan(Path.allCases.map(\.keys)), maximumDepth: 32)

    /// A decoder.
    package init() {}

    /// Reads an answer.
    ///
    /// - Parameters:
    ///   - status: The HTTP status.
    ///   - body: The body, whatever it is.
    package func decode(status: Int, body: [UInt8]) -> BitrixReply {
        let bytes = body.span.bytes
        guard let scan = try? scanner.scan(bytes), scan.root == .object else {
            return withoutJSON(status: status)
        }
        let error = self[.error]
        if status >= 300 || (error.isPresent && error.kind != .null && error.kind != .false) {
            let code = text(.error, in: bytes) ?? text(.errorCode, in: bytes) ?? ""
            let description = text(.errorDescription, in: bytes) ?? text(.errorMessage, in: bytes) ?? ""
            return .refusal(BitrixRefusal(status: status, code: cut(code), text: cut(description)))
        }
        guard self[.result].isPresent else {
            return .noAnswer(
                mayHaveRun: true, reason: "the answer has neither result nor error (HTTP \(status))")
        }
        let warnings = [Path.leadError, .activityError].compactMap { text($0, in: bytes) }.filter {
            !$0.isEmpty
        }
        return .success(
            BitrixSuccess(
                callID: text(.callID, in: bytes), warnings: warnings.map(cut),
                operatingResetsAfter: Self.resetDelay(
                    from: self[.timeFinish].double(in: bytes), to: self[.operatingReset].double(in: bytes)),
                operating: self[.operating].double(in: bytes),
                duration: self[.timeDuration].double(in: bytes),
                finishedAt: self[.timeFinish].double(in: bytes)))
    }

    private subscript(path: Path) -> JSONField { scanner[path.rawValue] }

    /// A text, or a number as it is written.
    private func text(_ path: Path, in bytes: RawSpan) -> String? {
        let field = self[path]
        switch field.kind {
        case .string: return field.string(in: bytes)
        case .number: return String(decoding: bytes, in: field.bounds)
        case .absent, .true, .false, .null, .object, .array: return nil
        }
    }

    static func resetDelay(from finish: Double?, to reset: Double?) -> Duration? {
        guard let finish, let reset, reset > finish else { return nil }
        // Ten minutes is the portal's whole window; anything longer is a mistake of somebody's.
        return .seconds(min(reset - finish, 600))
    }

    /// A page of a proxy, an empty body, a cut one.
    private func withoutJSON(status: Int) -> BitrixReply {
        switch status {
        case 200..<300, 500...:
            .noAnswer(mayHaveRun: true, reason: "the answer is no JSON (HTTP \(status))")
        default: .refusal(BitrixRefusal(status: status, code: "", text: "the answer is no JSON"))
        }
    }

    func cut(_ text: String) -> String {
        guard text.utf8.count > BitrixRefusal.maximumTextBytes else { return text }
        return String(decoding: text.utf8.prefix(BitrixRefusal.maximumTextBytes), as: UTF8.self) + "…"
    }
}
