/// One thing that was looked at, and what to do about it.
package struct Finding: Sendable, Equatable {
    /// What it belongs to.
    package enum Area: String, Sendable, CaseIterable {
        case settings, machine, pbx, database, crm
    }

    /// How it is.
    package enum State: String, Sendable, CaseIterable {
        case ok
        /// Works, and will hurt one day.
        case warning
        /// Does not work.
        case failure
        /// Cannot be seen from here; the remedy says where to look.
        case unknown
    }

    package var area: Area
    /// What was looked at, in a few words.
    package var check: String
    package var state: State
    /// What was found; no secrets.
    package var text: String
    /// What to change, and in which file; empty when there is nothing to do.
    package var remedy: String

    package init(_ area: Area, _ check: String, _ state: State, _ text: String, remedy: String = "") {
        self.area = area
        self.check = check
        self.state = state
        self.text = text
        self.remedy = remedy
    }
}
