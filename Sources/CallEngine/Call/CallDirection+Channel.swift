extension CallDirection {
    /// The direction that a channel's variables or dialplan context tell (contract, "Direction").
    ///
    /// Asterisk sends every configured variable, `""` when unset, so only a non-empty one says something.
    init(of channel: ARIChannel, in payload: UnsafeRawBufferPointer) {
        if !channel.internalNumber.isEmpty {
            self = .outbound
        } else if !channel.externalNumber.isEmpty {
            self = .inbound
        } else {
            self = channel.context.withBytes(in: payload) { context in
                if context.contains("from-internal") { return .outbound }
                let isInbound =
                    context.contains("from-external") || context.contains("from-trunk")
                    || context.contains("from-pstn")
                return isInbound ? .inbound : .unknown
            }
        }
    }
}

extension UnsafeRawBufferPointer {
    /// Whether the ASCII text `needle` occurs in these bytes.
    fileprivate func contains(_ needle: StaticString) -> Bool {
        let length = needle.utf8CodeUnitCount
        guard count >= length else { return false }
        let pattern = UnsafeRawBufferPointer(start: needle.utf8Start, count: length)
        return (0...count - length).contains { start in
            self[start] == pattern[0] && self[start..<start + length].elementsEqual(pattern)
        }
    }
}
