/// The CRMs that can be told of calls, by the names that the table uses.
package enum CRMTargetName: String, Sendable, Hashable, CaseIterable {
    /// A Bitrix24 portal.
    case bitrix24
}
