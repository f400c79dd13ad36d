import Protocols

/// Identifiers as the daemon knows them.
///
/// A PBX's unique ids are unique on that PBX only: `1795344287.12` may be a call of each of ten boxes. Unless Asterisk itself
/// puts a name before them (`systemname` in asterisk.conf), a PBX of several has a prefix, and everything that leaves the
/// engine, a call's id, a leg's, the key of a row, has it in front.
extension CallGraph {
    /// The key of an identifier in an event of a PBX.
    @inline(__always)
    func key<let capacity: Int>(
        _ text: ARIText, in payload: UnsafeRawBufferPointer, _ pbx: UInt16
    ) -> FoldedKey<capacity> {
        if prefixes.isEmpty { return text.withBytes(in: payload) { FoldedKey($0, hasher) } }
        return withID(text, in: payload, pbx) { FoldedKey($0, hasher) }
    }

    /// The key of a channel by its id, as the PBX writes it.
    func key(ofChannel id: [UInt8], _ pbx: UInt16) -> ChannelKey {
        let prefix = Int(pbx) < prefixes.count ? prefixes[Int(pbx)] : []
        return (prefix + id).withUnsafeBytes { ChannelKey($0, hasher) }
    }

    /// Calls `body` with the whole identifier, borrowed for that call.
    public func withID<Result>(
        _ text: ARIText, in payload: UnsafeRawBufferPointer, _ pbx: UInt16,
        _ body: (UnsafeRawBufferPointer) -> Result
    ) -> Result {
        text.withBytes(in: payload) { bytes in
            guard Int(pbx) < prefixes.count, !prefixes[Int(pbx)].isEmpty else { return body(bytes) }
            let prefix = prefixes[Int(pbx)]
            return withUnsafeTemporaryAllocation(byteCount: prefix.count + bytes.count, alignment: 1) {
                $0.copyBytes(from: prefix)
                UnsafeMutableRawBufferPointer(rebasing: $0[prefix.count...]).copyMemory(from: bytes)
                return body(UnsafeRawBufferPointer($0))
            }
        }
    }

    /// Calls `body` with the id of the call that an event belongs to, borrowed for that call.
    ///
    /// - Parameter payload: That event's.
    public func withCallID(
        of placement: Placement, in payload: UnsafeRawBufferPointer,
        _ body: (UnsafeRawBufferPointer) -> Void
    ) {
        if placement.callID.isEmpty { return placement.key.text.withUnsafeBytes(body) }
        withID(placement.callID, in: payload, placement.pbx, body)
    }
}
