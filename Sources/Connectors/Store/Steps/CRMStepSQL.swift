/// Bounds that both stores share.
enum CRMStepSQL {
    /// Rows looked at in one step of removing old ones.
    static let prunedRows = 1_000
}
