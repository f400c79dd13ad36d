/// How calls are begun that an employee clicked in the portal, or a customer asked for.
package struct BitrixClicks: Sendable, Hashable {
    /// What the portal proves its events with; a secret.
    let token: String
    /// The telephone that rings first, with `{extension}` in it.
    package var endpoint = "PJSIP/{extension}"
    /// Where in the dialplan the number is called.
    package var context = "from-internal"
    /// The PBX's name; `nil`: the first.
    package var pbx: String?
    /// What becomes of the numbers before they are called.
    package var numberRules = NumberRules()
    /// What answers a wish to be called back; `nil`: such wishes are not taken.
    package var callBackEndpoint: String?
    /// How long the first telephone rings.
    package var ringTime: Duration = .seconds(30)

    /// For a token.
    package init(token: String) { self.token = token }

    /// Reads the settings; `nil` without a token.
    init?(_ reader: SettingReader) throws(BitrixConfigurationError) {
        guard let token = reader.text("BITRIX_APPLICATION_TOKEN") else { return nil }
        self.init(token: token)
        endpoint = reader.text("BITRIX_CLICK_ENDPOINT") ?? endpoint
        guard endpoint.contains("{extension}"), endpoint.contains("/") else {
            throw BitrixConfigurationError(
                variable: "BITRIX_CLICK_ENDPOINT", problem: "must be TECHNOLOGY/… with {extension} in it")
        }
        context = reader.text("BITRIX_CLICK_CONTEXT") ?? context
        pbx = reader.text("BITRIX_CLICK_PBX")
        callBackEndpoint = reader.text("BITRIX_CALLBACK_ENDPOINT")
        if let text = reader.text("BITRIX_CLICK_NUMBER_RULES") {
            var wrong = ""
            guard let rules = NumberRules(text, wrong: { wrong = $0 }) else {
                throw BitrixConfigurationError(
                    variable: "BITRIX_CLICK_NUMBER_RULES", problem: "cannot use the rule \"\(wrong)\"")
            }
            numberRules = rules
        }
    }

    /// What is called for a number of the portal's.
    ///
    /// Whoever fills in a form of the CRM's chooses it, and dialplans put it into `Dial()` as it is: it ends before the first
    /// character that means something there (`,` `;` `&` `/` `@` `$` …). What remains is rewritten by the rules.
    func dialed(_ number: String) -> String {
        numberRules.rewritten(
            String(
                number.unicodeScalars.prefix { Self.isOfTelephones($0) || " ()".unicodeScalars.contains($0) })
        )
    }

    /// The telephone of an extension; `nil` when the extension has characters that none has, which might lead elsewhere.
    func endpoint(of number: String) -> String? {
        guard number.unicodeScalars.allSatisfy(Self.isOfTelephones) else { return nil }
        return endpoint.replacing("{extension}", with: number)
    }

    private static func isOfTelephones(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case "0"..."9", "a"..."z", "A"..."Z", "+", "*", "#", "-", ".", "_": true
        default: false
        }
    }
}
