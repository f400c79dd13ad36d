import Protocols

extension FakeBitrixPortal {
    /// The most commands of a batch that run; each further one gets an error of its own.
    static let maximumBatchCommands = 50

    /// `batch`: commands in order, each an error or a result of its own, no way back.
    mutating func batch(
        _ parameters: PHPArray, caller: PortalCaller, at now: Timestamp
    ) throws(PortalError) -> PHPValue {
        // Unlike the telephony parameters, these names may be written in any case.
        func parameter(_ name: String) -> PHPValue {
            parameters.entries.first { $0.key.text.lowercased() == name }?.value ?? .null
        }
        guard let commands = parameter("cmd").array else {
            throw PortalError(
                status: 400, code: "ERROR_ARGUMENT", text: "Argument 'cmd' is null or empty", argument: "cmd")
        }
        let halts = parameter("halt").isTruthy
        var results = PHPArray()
        var errors = PHPArray()
        var totals = PHPArray()
        var nexts = PHPArray()
        var times = PHPArray()
        for (position, entry) in commands.entries.enumerated() {
            if let batchDiesAfter, position >= batchDiesAfter { break }
            // A command that is no text vanishes without a trace.
            guard case .string(let command) = entry.value else { continue }
            let state: [String: PHPValue] = [
                "result": .array(results), "error": .array(errors), "total": .array(totals),
                "next": .array(nexts), "time": .array(times),
            ]
            do throws(PortalError) {
                let (method, arguments) = Self.parse(command, resolvingAgainst: state)
                guard position < Self.maximumBatchCommands else {
                    throw PortalError(
                        status: 400, code: "ERROR_BATCH_LENGTH_EXCEEDED", text: "Max batch length exceeded")
                }
                guard !["batch", "upload", "download"].contains(method) else {
                    throw PortalError(
                        status: 400, code: "ERROR_BATCH_METHOD_NOT_ALLOWED",
                        text: "Method is not allowed for batch usage")
                }
                requestCounts[method, default: 0] += 1
                if let refusal = refusalStriking(method) { throw refusal }
                let outcome = try run(method, arguments, caller: caller, at: now)
                results[entry.key] = outcome.result
                if let total = outcome.total { totals[entry.key] = .int(total) }
                if let next = outcome.next { nexts[entry.key] = .int(next) }
                times[entry.key] = timeBlock(of: method, caller: caller, at: now)
            } catch {
                note(error, method: "batch: \(command.prefix { $0 != "?" })", at: now)
                errors[entry.key] = error.envelope
                if halts { break }
            }
        }
        return .map([
            "result": .array(results), "result_error": .array(errors), "result_total": .array(totals),
            "result_next": .array(nexts), "result_time": .array(times),
        ])
    }

    /// Of the faults, those that refuse a named method strike inside a batch too.
    private mutating func refusalStriking(_ method: String) -> PortalError? {
        for index in faults.indices where faults[index].method == method {
            guard case .refusal(let status, let code, let text) = faults[index].fault,
                faults[index].strikes(method, random: &random)
            else { continue }
            return PortalError(status: status, code: code, text: text)
        }
        return nil
    }

    /// Takes `method?parameters` apart and puts what `$result[…]` refers to in its place.
    package static func parse(
        _ command: String, resolvingAgainst state: [String: PHPValue]
    ) -> (method: String, parameters: PHPArray) {
        let method = methodName(String(command.prefix { $0 != "?" }))
        let query = command.drop { $0 != "?" }.dropFirst()
        var parameters = PortalParameters.form(String(query))
        for entry in parameters.entries { parameters[entry.key] = resolve(entry.value, state) }
        return (method, parameters)
    }

    private static func resolve(_ value: PHPValue, _ state: [String: PHPValue]) -> PHPValue {
        switch value {
        case .array(var array):
            for entry in array.entries { array[entry.key] = resolve(entry.value, state) }
            return .array(array)
        case .string(let text): return resolve(text, state)
        case .null, .bool, .int, .double, .object: return value
        }
    }

    /// A value that is one reference becomes what it refers to, of whatever type; inside a longer text only
    /// texts and numbers are put in.
    ///
    /// A path that leads nowhere stops at the last level that exists.
    private static func resolve(_ text: String, _ state: [String: PHPValue]) -> PHPValue {
        guard text.contains("$") else { return .string(text) }
        if let found = reference(in: text[...], state), found.rest.isEmpty { return found.value }
        var output = ""
        var rest = text[...]
        while let first = rest.first {
            if first == "$", let found = reference(in: rest, state), found.value.array == nil,
                let value = found.value.text
            {
                output += value
                rest = found.rest
            } else {
                output.append(first)
                rest = rest.dropFirst()
            }
        }
        return .string(output)
    }

    private static func reference(
        in text: Substring, _ state: [String: PHPValue]
    ) -> (value: PHPValue, rest: Substring)? {
        guard text.first == "$" else { return nil }
        let name = text.dropFirst().prefix { $0.isLetter }
        guard var value = state[String(name)] else { return nil }
        var rest = text.dropFirst(1 + name.count)
        var isLost = false
        while rest.first == "[", let close = rest.firstIndex(of: "]") {
            let key = PHPArray.Key(String(rest[rest.index(after: rest.startIndex)..<close]))
            if !isLost, let next = value.array?[key] { value = next } else { isLost = true }
            rest = rest[rest.index(after: close)...]
        }
        return (value, rest)
    }
}
