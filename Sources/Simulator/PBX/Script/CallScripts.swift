/// The ways of all kinds of calls of one application.
///
/// Making them takes milliseconds and some hundred kilobytes; they never change, so players share them.
package struct CallScripts: Sendable {
    /// The application that their Stasis() names.
    let appName: String
    let all: [CallScript]
    /// Index of the script of a kind: customer hangs up, company hangs up.
    let places: [(customer: Int, company: Int)]
    /// The most bytes that one of their templates gives.
    let largestTemplate: Int

    package init(appName: String) {
        self.appName = appName
        var scripts: [CallScript] = []
        var places: [(Int, Int)] = []
        for kind in CallKind.allCases {
            places.append((scripts.count, scripts.count + 1))
            for customer in [true, false] {
                scripts.append(CallScript.make(kind, customerHangsUp: customer, appName: appName))
            }
        }
        all = scripts
        self.places = places
        var largest = 0
        for step in scripts.lazy.flatMap(\.steps) {
            for template in [step.body] + step.channels + step.bridges {
                largest = max(largest, template.maximumBytes)
            }
        }
        largestTemplate = largest
    }
}
