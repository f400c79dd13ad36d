package import CallEngine

/// The CRMs that can be told of calls, by the names that the table uses.
package enum CRMTargetName: String, Sendable, Hashable, CaseIterable {
    /// A Bitrix24 portal.
    case bitrix24
    /// Any address, by signed deliveries.
    case webhook

    /// What of a call it is told besides its begin and its end.
    static let withCardsAndRecords = CRMTargetName.bitrix24
}

/// Something that is told of calls: it gets what has become durable, and finds the rest in its steps' rows.
///
/// Used on one loop's thread. A new one needs a name in ``CRMTargetName``, and nothing else anywhere but where it is made.
package protocol CRMTarget: AnyObject {
    /// Begins, with what waits in the table.
    func start()
    /// Takes an action in whose row is durable; what it has no room for it reads later.
    func submit(_ action: CRMAction)
    /// Ends: what can be done within `limit` is done, the rest waits in the table for the next start.
    ///
    /// - Parameter completion: Called once; with whether nothing is left.
    func stop(within limit: Duration, completion: @escaping (_ complete: Bool) -> Void)
}
