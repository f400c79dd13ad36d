/// Calls that an earlier run of the daemon left open.
extension CallShard {
    /// Takes over a call as its row says, so that what the PBX tells of it goes on in the same row.
    ///
    /// The call stays open until an event or a comparison with the PBX says otherwise.
    ///
    /// - Parameters:
    ///   - record: The row; not ended.
    ///   - key: Of the whole call id.
    ///   - longTexts: Texts that the record has only in part.
    ///   - isRegistered: The CRM knows the call.
    /// - Returns: `false` when the call is known already, or the shard is full.
    public mutating func adopt(
        _ record: CallRecord, key: CallKey, longTexts: LongTexts?, isRegistered: Bool
    ) -> Bool {
        guard find(key) == nil, record.status == .ringing || record.status == .answered, hasRoom else {
            return false
        }
        var state = CallState(record: record, key: key)
        state.isRegistered = isRegistered
        // The earlier run has seen what is better than a list.
        state.numbersAreFinal = !record.callerNumber.isEmpty
        insertAdopted(state, longTexts)
        return true
    }
}
