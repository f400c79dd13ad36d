public import Protocols

/// A text inside an event's payload: where it lies, nothing copied.
public struct ARIText: Sendable, BitwiseCopyable {
    /// Offset of the first byte after the opening quote.
    public var offset: UInt32 = 0
    /// Bytes between the quotes; 0 counts as absent.
    public var count: UInt32 = 0
    /// Whether the bytes hold `\` escapes and must be unescaped before use.
    public var hasEscapes = false

    /// An absent text.
    public init() {}

    /// Takes a place.
    public init(offset: UInt32, count: UInt32, hasEscapes: Bool) {
        self.offset = offset
        self.count = count
        self.hasEscapes = hasEscapes
    }

    /// Absent or `""`: the contract treats both alike.
    public var isEmpty: Bool { count == 0 }

    /// The text's bytes, unescaped, borrowed for the call of `body`.
    ///
    /// Without escapes, the usual case, they are the payload's own bytes; else a temporary copy.
    @inline(__always)
    public func withBytes<R>(
        in payload: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> R
    ) -> R {
        let raw = UnsafeRawBufferPointer(rebasing: payload[Int(offset)..<Int(offset) + Int(count)])
        return hasEscapes ? withUnescaped(raw, body) : body(raw)
    }

    private func withUnescaped<R>(_ raw: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> R) -> R {
        var unescaped: [UInt8] = []
        JSONText.unescape(raw.bytes, into: &unescaped)
        return unescaped.withUnsafeBytes(body)
    }

    /// The text as a String.
    public func string(in payload: UnsafeRawBufferPointer) -> String {
        withBytes(in: payload) { String(decoding: $0, as: UTF8.self) }
    }
}

/// State of a channel (Asterisk `ast_state2str`), as far as calls depend on it.
public enum ChannelState: UInt8, Sendable, BitwiseCopyable {
    case unknown, down, ring, ringing, up, busy
}

/// The fields of one channel object that the engine uses.
public struct ARIChannel: Sendable, BitwiseCopyable {
    /// The channel's own unique id.
    public var id = ARIText()
    /// Such as `PJSIP/101-00000007` or `Local/74950000001@from-external-00000000;2`.
    public var name = ARIText()
    /// What it is doing.
    public var state = ChannelState.unknown
    /// `linkedid` of the channel, or `channelvars["CHANNEL(linkedid)"]`; ARI itself sends none.
    public var linkedID = ARIText()
    /// `caller.number`.
    public var callerNumber = ARIText()
    /// `caller.name`.
    public var callerName = ARIText()
    /// `connected.number`.
    public var connectedNumber = ARIText()
    /// `dialplan.context`.
    public var context = ARIText()
    /// `dialplan.exten`.
    public var exten = ARIText()
    /// `channelvars.intNum`: non-empty on outbound calls.
    public var internalNumber = ARIText()
    /// `channelvars.extNum`: non-empty on inbound calls.
    public var externalNumber = ARIText()
    /// `channelvars["CALLERID(num)"]`.
    public var callerIDVariable = ARIText()
    /// `channelvars.EXTEN`.
    public var extenVariable = ARIText()
    /// `dialplan.app_name`: the application that the channel runs.
    public var application = ARIText()
    /// `dialplan.app_data`: its arguments.
    public var applicationData = ARIText()
    /// `creationtime`, read of a `ChannelSnapshot` only; `nil` when absent or unreadable.
    public var createdAt: Timestamp?

    /// A channel of which nothing is known.
    public init() {}

    /// Whether the event names this channel at all.
    public var isPresent: Bool { !id.isEmpty || !name.isEmpty }
}

/// Another channel that an event names: who it is, no more.
public struct ARIParty: Sendable, BitwiseCopyable {
    /// The channel's own unique id.
    public var id = ARIText()
    /// The channel's name.
    public var name = ARIText()
    /// As of `ARIChannel`.
    public var linkedID = ARIText()

    /// Nobody.
    public init() {}

    /// Whether the event names it at all.
    public var isPresent: Bool { !id.isEmpty }
}

/// One ARI event as the engine reads it: places in the payload, no copies.
///
/// Valid as long as the payload it was read from; may be copied together with the payload's bytes, since all
/// places are offsets.
public struct ARIEvent: Sendable, BitwiseCopyable {
    /// Which event.
    public var kind = ARIEventKind.other
    /// `type` as sent.
    public var type = ARIText()
    /// PBX time of the event; `nil` when absent or unreadable.
    public var timestamp: Timestamp?
    /// The channel it is about; of `Dial` the peer, of transfers the transferer.
    public var channel = ARIChannel()
    /// Of `Dial` the calling channel.
    public var caller = ARIChannel()
    /// `bridge.id`.
    public var bridgeID = ARIText()
    /// What the bridge is for, read off its type, class and creator.
    public var bridgeKind = BridgeKind.talking
    /// `cause`, a Q.850 cause where `isSoftHangup` is false; 0 when absent.
    public var cause: UInt16 = 0
    /// `soft` of `ChannelHangupRequest`: then `cause` is a flag mask of Asterisk, not a Q.850 cause.
    public var isSoftHangup = false
    /// `tech_cause`, the SIP code of the end (Asterisk 22.8 and later); 0 when absent.
    public var techCause: UInt16 = 0
    /// `dialstatus` of `Dial`: `""`, `RINGING`, `ANSWER`, `BUSY` and so on.
    public var dialStatus = ARIText()
    /// `dialstring` of `Dial`: what was dialled.
    public var dialString = ARIText()
    /// Of `Dial` the channel that the peer sent the call on to; of `StasisStart` and transfers the channel that
    /// is replaced or replaces.
    public var replacement = ARIParty()
    /// Of transfers the channel that was handed on.
    public var transferee = ARIParty()
    /// Of an attended transfer the transferer's second channel, which the transfer replaces.
    public var secondLeg = ARIParty()
    /// Of an attended transfer the channel it was handed on to.
    public var transferTarget = ARIParty()
    /// Of a blind transfer `exten`, of a REFER its destination: to whom.
    public var transferNumber = ARIText()
    /// Of transfers: whether `result` is `Success`, or a REFER's `state` says it was carried out.
    public var transferSucceeded = false
    /// Of a REFER: its `state` says that it was not.
    public var transferFailed = false
    /// Of a REFER: it has no `state`, so it was asked for just now.
    public var transferIsNew = false
    /// `variable` of `ChannelVarset`.
    public var variable = ARIText()
    /// `value` of `ChannelVarset`.
    public var value = ARIText()
    /// The payload has `\u0000` or a lone surrogate, which PostgreSQL's jsonb refuses.
    public var payloadNeedsRepair = false
    /// Keys that occurred twice in one object; the last one counted.
    public var duplicateKeys: UInt16 = 0

    /// An event of which nothing is known.
    public init() {}

    /// Calls `body` with the word for `call_events.event_type`, borrowed for that call.
    public func withStoredName(
        in payload: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> Void
    ) {
        guard kind == .other else {
            let name = kind.storedName
            return body(UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
        }
        withLowercasedType(in: payload, body)
    }

    private func withLowercasedType(
        in payload: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> Void
    ) {
        let lowered = type.withBytes(in: payload) { bytes in
            bytes.isEmpty ? Array("unknown".utf8) : bytes.map { $0 >= 0x41 && $0 <= 0x5A ? $0 | 0x20 : $0 }
        }
        lowered.withUnsafeBytes(body)
    }
}
