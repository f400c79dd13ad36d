/// Which steps to list for a person.
package struct CRMStepQuery: Sendable, Hashable {
    /// What is listed, and in which order.
    package enum Kind: Sendable, Hashable {
        /// Steps to be done, the oldest first.
        case open
        /// Steps given up, the newest first.
        case failed
    }

    package var kind: Kind
    /// At most so many.
    package var limit: Int
    /// Only steps behind this row in the list.
    package var after: Int64?

    /// All fields; see each.
    package init(_ kind: Kind, limit: Int = 50, after: Int64? = nil) {
        self.kind = kind
        self.limit = min(max(limit, 1), StoreReads.maximumCalls)
        self.after = after
    }
}

/// Steps listed.
package struct CRMStepList: Sendable, Hashable {
    package var steps: [CRMStep]
    /// How many there are in all; 0 when the page is empty.
    package var total: Int
    /// The row behind which the next page begins; nil: this was the last one.
    package var next: Int64?

    package init(steps: [CRMStep], total: Int, next: Int64? = nil) {
        self.steps = steps
        self.total = total
        self.next = next
    }

    init(_ query: CRMStepQuery, _ found: [CRMStep], total: Int) {
        self.init(
            steps: Array(found.prefix(query.limit)), total: total,
            next: found.count > query.limit ? found[query.limit - 1].id : nil)
    }
}
