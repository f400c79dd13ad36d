public import Protocols

/// Looking at calls while they live, for people and for what derives stored calls again.
extension CallGraph {
    /// Derives what the legs of a call say at this moment; nothing changes by it.
    ///
    /// A call that became part of another says so and no more. O(legs).
    ///
    /// - Parameters:
    ///   - callID: The whole id, with its PBX's prefix.
    ///   - pbxs: PBXs that it may be of; or else it was made up by a person.
    ///   - body: Its arguments are borrowed for the call.
    /// - Returns: What `body` gave; `nil` when there is no such call here.
    public mutating func look<Result>(
        at callID: String, pbxs: Range<UInt16>,
        _ body: (borrowing CallRecord, LongTexts?, borrowing CallDetails) -> Result
    ) -> Result? {
        var callID = callID
        let key = callID.withUTF8 { CallKey(UnsafeRawBufferPointer($0), hasher) }
        for pbx in Array(pbxs) + [Self.noPBX] {
            guard let call = findCall(key, pbx) else { continue }
            let (needsSave, needsDetails) = (calls[call].needsSave, calls[call].needsDetails)
            derive(call)
            // Its answer is noted anew, which is no news.
            (calls[call].needsSave, calls[call].needsDetails) = (needsSave, needsDetails)
            return body(calls[call].record, longTexts.isEmpty ? nil : longTexts[UInt32(call)], details)
        }
        return nil
    }

    /// Looks at each call that has not ended and is none that became part of another; see `look`.
    public mutating func lookAtOpenCalls(
        _ body: (borrowing CallRecord, LongTexts?, borrowing CallDetails) -> Void
    ) {
        var open: [Int] = []
        calls.forEachSlot { if calls[$0].record.status != .finished, !calls[$0].isMerged { open.append($0) } }
        for call in open {
            derive(call)
            body(calls[call].record, longTexts.isEmpty ? nil : longTexts[UInt32(call)], details)
        }
    }

    /// Ends a call whose end is known to have been inferred: its legs that are open are gone since `time`.
    ///
    /// - Parameters:
    ///   - callID: The whole id, with its PBX's prefix.
    ///   - time: PBX time of the last sign of life.
    public mutating func endEstimated(
        _ callID: String, pbx: UInt16, at time: Timestamp, updatedAt: Timestamp, now: UInt64
    ) {
        var callID = callID
        let key = callID.withUTF8 { CallKey(UnsafeRawBufferPointer($0), hasher) }
        guard let call = findCall(key, pbx), calls[call].record.status != .finished else { return }
        let moment = Moment(time: PBXTime(time), receivedAt: updatedAt, now: now)
        calls[call].record.flags.insert(.estimatedEnd)
        var open: [Int] = []
        legs.forEachSlot { slot in
            if legs[slot].isOpen, legs[slot].home != Self.none, survivor(of: Int(legs[slot].home)) == call {
                open.append(slot)
            }
        }
        for slot in open {
            legs[slot].flags.insert(.endEstimated)
            close(slot, moment.time, moment)
        }
        if calls[call].record.status != .finished { finish(call, at: moment) }
    }
}
