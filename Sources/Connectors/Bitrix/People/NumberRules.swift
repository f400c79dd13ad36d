import Glibc

/// Rewrites numbers between the PBX's form and the portal's: POSIX extended regular expressions, man 7 regex.
///
/// Written `PATTERN=REPLACEMENT;PATTERN=REPLACEMENT`, where `\1` to `\9` are the groups: `^8([0-9]{10})$=+7\1`.
/// The first rule whose pattern is found decides; the whole number becomes its replacement.
package struct NumberRules: Sendable, Hashable, CustomStringConvertible {
    /// Rules that are read.
    package static let maximumRules = 100
    /// Longer numbers are left as they are.
    package static let maximumNumberBytes = 64

    private let text: String
    private let rules: [Rule]

    /// A compiled pattern; `regexec` may be called by any thread.
    private final class Rule: @unchecked Sendable {
        private var compiled = regex_t()
        private let replacement: [UInt8]

        init?(pattern: Substring, replacement: Substring) {
            self.replacement = Array(replacement.utf8)
            guard regcomp(&compiled, String(pattern), REG_EXTENDED) == 0 else { return nil }
        }

        deinit { regfree(&compiled) }

        func rewritten(_ number: String) -> String? {
            var groups = Array(repeating: regmatch_t(), count: 10)
            guard regexec(&compiled, number, groups.count, &groups, 0) == 0 else { return nil }
            let bytes = Array(number.utf8)
            var output: [UInt8] = []
            var index = 0
            while index < replacement.count {
                let byte = replacement[index]
                if byte == 0x5C, index + 1 < replacement.count, (0x31...0x39).contains(replacement[index + 1])
                {
                    let group = groups[Int(replacement[index + 1] - 0x30)]
                    if group.rm_so >= 0 { output += bytes[Int(group.rm_so)..<Int(group.rm_eo)] }
                    index += 2
                } else {
                    output.append(byte)
                    index += 1
                }
            }
            return String(decoding: output, as: UTF8.self)
        }
    }

    /// No rules.
    package init() {
        text = ""
        rules = []
    }

    /// Reads rules; nil, with the rule that cannot be used, when one cannot.
    package init?(_ text: String, wrong: (_ rule: String) -> Void) {
        var rules: [Rule] = []
        for piece in text.split(separator: ";") {
            // A pattern has no `=`, a number neither.
            let sides = piece.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard sides.count == 2, !sides[0].isEmpty, rules.count < Self.maximumRules,
                let rule = Rule(pattern: sides[0], replacement: sides[1])
            else {
                wrong(String(piece))
                return nil
            }
            rules.append(rule)
        }
        self.text = text
        self.rules = rules
    }

    /// The number as the rules have it; itself when none fits.
    package func rewritten(_ number: String) -> String {
        guard number.utf8.count <= Self.maximumNumberBytes else { return number }
        for rule in rules {
            if let result = rule.rewritten(number) { return result }
        }
        return number
    }

    /// As it was written.
    package var description: String { text }

    package static func == (left: NumberRules, right: NumberRules) -> Bool { left.text == right.text }
    package func hash(into hasher: inout Hasher) { hasher.combine(text) }
}
