import Protocols

/// One or several JSON texts, 0x1E between them, read by one scanner that learns from each.
enum JSONTarget {
    static let depth = 128
    static let separator: UInt8 = 0x1E
    /// Texts of one input at most.
    static let maximumTexts = 16

    static let plan = JSONFieldPlan([
        ["type"], ["id"], ["channel"], ["channel", "id"], ["channel", "caller", "number"],
        ["channelvars", "CHANNEL(linkedid)"], [""], ["ж"], ["q\""], ["channel", "channel", "id"],
        ["a key of more than thirty-two bytes, all of them"], ["timestamp"],
    ])

    static func check(_ input: UnsafeRawBufferPointer) throws(Finding) {
        // The forms of the wide steps by turns; mutation changes lengths all the time.
        let form = Int32(input.count % JSONFieldScanner.forms)
        let learning = JSONFieldScanner(plan, maximumDepth: depth, form: form)
        let texts = input.split(
            separator: separator, maxSplits: maximumTexts - 1, omittingEmptySubsequences: false)
        for (number, text) in texts.enumerated() {
            let bytes = UnsafeRawBufferPointer(rebasing: text)
            let copy = Array(bytes)
            let tree = parsed(bytes)
            let reference = JSONReference.value(copy, depth: depth)
            try agree(tree, reference, copy)
            let fresh = number == 0 ? learning : JSONFieldScanner(plan, maximumDepth: depth, form: form)
            for scanner in [fresh, learning, learning] {
                try compare(scanner, bytes, tree, reference)
            }
        }
    }

    static func parsed(_ bytes: UnsafeRawBufferPointer) -> Result<JSONValue, JSONError> {
        do throws(JSONError) { return .success(try JSONValue.parse(bytes.bytes)) } catch {
            return .failure(error)
        }
    }

    // MARK: - The tree

    private static func agree(
        _ tree: Result<JSONValue, JSONError>, _ reference: JSONReference.Value?, _ text: [UInt8]
    ) throws(Finding) {
        switch tree {
        case .failure(let error):
            if error.kind == .numberOutOfRange { return }
            try hold(reference == nil, "the tree refuses what is valid: \(error)")
            try hold((0...text.count).contains(error.offset), "an offset outside: \(error)")
        case .success(let value):
            guard let reference else { throw Finding("the tree takes what is not valid") }
            try hold(isSame(value, reference), "the tree has other values")
            let written = Array(value.description.utf8)
            switch written.withUnsafeBytes({ parsed($0) }) {
            case .success(let again): try hold(again == value, "written and read again it is another value")
            case .failure(let error): throw Finding("what was written is not read: \(error)")
            }
        }
    }

    private static func isSame(_ value: JSONValue, _ reference: JSONReference.Value) -> Bool {
        switch (value, reference) {
        case (.null, .null): true
        case (.bool(let left), .bool(let right)): left == right
        case (.int(let left), .number(let right)): Int64(right) == left
        case (.double(let left), .number(let right)):
            Double(right) == left && (Int64(right) == nil || right.contains { !"-0123456789".contains($0) })
        case (.string(let left), .string(let right)): Array(left.utf8) == right
        case (.array(let left), .array(let right)):
            left.count == right.count && zip(left, right).allSatisfy { isSame($0, $1) }
        case (.object(let left), .object(let right)):
            left.count == right.count
                && zip(left, right).allSatisfy {
                    Array($0.key.utf8) == $1.key && isSame($0.value, $1.value)
                }
        default: false
        }
    }

    // MARK: - The scanner

    private static func compare(
        _ scanner: JSONFieldScanner, _ bytes: UnsafeRawBufferPointer, _ tree: Result<JSONValue, JSONError>,
        _ reference: JSONReference.Value?
    ) throws(Finding) {
        let scan: JSONScan
        do throws(JSONError) {
            scan = try scanner.scan(bytes.bytes)
        } catch {
            try hold(reference == nil, "the scanner refuses what is valid: \(error)")
            if case .failure(let other) = tree, other.kind != .numberOutOfRange {
                try hold(error == other, "the scanner says \(error), the tree \(other)")
            }
            for path in plan.paths.indices { try hold(!scanner[path].isPresent, "a value of a broken text") }
            return
        }
        guard let reference else { throw Finding("the scanner takes what is not valid") }
        try hold(scan.root == kind(reference), "the outermost value is \(kind(reference)), not \(scan.root)")
        let repeated = duplicates(reference)
        try hold(scan.duplicateKeys == repeated, "\(scan.duplicateKeys) keys repeated, not \(repeated)")
        for (index, path) in plan.paths.enumerated() {
            try compare(scanner[index], find(path, in: reference), bytes, path)
        }
    }

    private static func compare(
        _ field: JSONField, _ expected: JSONReference.Value?, _ bytes: UnsafeRawBufferPointer,
        _ path: [String]
    ) throws(Finding) {
        guard let expected else { return try hold(!field.isPresent, "\(path) is there and should not be") }
        try hold(field.kind == kind(expected), "\(path) is \(field.kind), not \(kind(expected))")
        try hold(field.bounds.upperBound <= bytes.count, "\(path) reaches beyond the text")
        switch expected {
        case .string(let text):
            var output: [UInt8] = []
            field.append(to: &output, from: bytes.bytes)
            try hold(output == text, "\(path) has another text")
            try hold(field.hasEscapes == bytes[field.bounds].contains(0x5C), "\(path): wrong about escapes")
            try hold(field.equals(text.span.bytes, in: bytes.bytes), "\(path) is not equal to itself")
        case .number(let text):
            try hold(bytes[field.bounds].elementsEqual(text.utf8), "\(path) is another number")
            let isInteger = text.allSatisfy { "-0123456789".contains($0) }
            try hold(
                field.int64(in: bytes.bytes) == (isInteger ? Int64(text) : nil), "\(path): wrong integer")
        case .array, .object:
            let part = UnsafeRawBufferPointer(rebasing: bytes[field.bounds])
            guard let value = JSONReference.value(Array(part), depth: depth) else {
                throw Finding("\(path) is cut wrong")
            }
            try hold(kind(value) == field.kind, "\(path) is another value")
        case .bool(let value): try hold(field.bool == value, "\(path) is not \(value)")
        case .null: break
        }
    }

    private static func kind(_ value: JSONReference.Value) -> JSONField.Kind {
        switch value {
        case .null: .null
        case .bool(let value): value ? .true : .false
        case .number: .number
        case .string: .string
        case .array: .array
        case .object: .object
        }
    }

    private static func find(_ path: [String], in value: JSONReference.Value) -> JSONReference.Value? {
        var value = value
        for key in path {
            guard case .object(let members) = value else { return nil }
            guard let member = members.last(where: { $0.key == Array(key.utf8) }) else { return nil }
            value = member.value
        }
        return value
    }

    /// How often a key of the plan stood again in the same object, where the plan's paths lead.
    static func duplicates(_ value: JSONReference.Value, below prefix: [String] = []) -> Int {
        guard case .object(let members) = value else { return 0 }
        var count = 0
        var seen: Set<[UInt8]> = []
        for member in members {
            // By their bytes: as Strings, keys that only look alike would be equal.
            guard
                let path = plan.paths.first(where: {
                    $0.count > prefix.count && Array($0[..<prefix.count]) == prefix
                        && Array($0[prefix.count].utf8) == member.key
                })
            else { continue }
            if !seen.insert(member.key).inserted { count += 1 }
            count += duplicates(member.value, below: Array(path[...prefix.count]))
        }
        return count
    }
}
