import Protocols

/// Changes and claims as one JSON text, which both databases take apart: one parameter instead of a column each.
enum CRMStepText {
    static func of(_ changes: [CRMStepChange]) -> String {
        text(changes) { change, writer in
            key(change.key, &writer)
            writer.member("t", change.state.rawValue)
            writer.member("a", change.attempts)
            writer.member("d", change.dueIn.wholeMicroseconds)
            writer.member("e", change.error.map { clean($0) })
            writer.member("i", change.crmCallID.map { clean($0) })
        }
    }

    static func of(_ claims: [CRMStepClaim]) -> String {
        text(claims) { claim, writer in
            key(claim.key, &writer)
            writer.member("u", claim.user.map { clean($0) })
        }
    }

    static func of(_ steps: [CRMStepAddition]) -> String {
        text(steps) { step, writer in
            key(step.key, &writer)
            writer.member("t", step.state.rawValue)
            writer.member("p", step.pbx)
            writer.member("j", String(decoding: step.call.json, as: UTF8.self))
            writer.member("i", step.crmCallID.map { clean($0) })
            writer.member("u", step.user.map { clean($0) })
        }
    }

    static func of(_ callIDs: [String]) -> String {
        var writer = JSONWriter()
        writer.array { writer in for callID in callIDs { writer.string(clean(callID)) } }
        return String(decoding: writer.output, as: UTF8.self)
    }

    private static func key(_ key: CRMStepKey, _ writer: inout JSONWriter) {
        writer.member("c", clean(key.callID))
        writer.member("s", key.kind.rawValue)
    }

    private static func text<Element>(
        _ elements: [Element], _ body: (Element, inout JSONWriter) -> Void
    ) -> String {
        var writer = JSONWriter()
        writer.array { writer in
            for element in elements { writer.object { body(element, &$0) } }
        }
        return String(decoding: writer.output, as: UTF8.self)
    }

    /// The text as its column holds it: cut and cleaned as the row's own was.
    private static func clean(_ text: String) -> String {
        var text = text
        return text.withUTF8 { bytes in
            let raw = UnsafeRawBufferPointer(bytes)
            return ColumnText.isClean(raw)
                ? String(decoding: bytes, as: UTF8.self)
                : String(decoding: ColumnText.cleaned(raw).bytes, as: UTF8.self)
        }
    }
}
