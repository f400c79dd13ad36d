/// The event types that a simulated PBX sends: those of the lean subscription.
///
/// Names as in Asterisk's `rest-api/api-docs/events.json`; which topic carries a type was read off real
/// recordings (`channel:` alone has no ChannelEnteredBridge, ChannelLeftBridge or transfers).
package enum EventKind: UInt8, CaseIterable, Sendable {
    case stasisStart, stasisEnd, channelCreated, channelDestroyed, channelStateChange, dial
    case channelEnteredBridge, channelLeftBridge, channelHangupRequest, channelHold, channelUnhold
    case bridgeBlindTransfer, bridgeAttendedTransfer, applicationReplaced

    /// The value of `type`.
    package var name: String {
        switch self {
        case .stasisStart: "StasisStart"
        case .stasisEnd: "StasisEnd"
        case .channelCreated: "ChannelCreated"
        case .channelDestroyed: "ChannelDestroyed"
        case .channelStateChange: "ChannelStateChange"
        case .dial: "Dial"
        case .channelEnteredBridge: "ChannelEnteredBridge"
        case .channelLeftBridge: "ChannelLeftBridge"
        case .channelHangupRequest: "ChannelHangupRequest"
        case .channelHold: "ChannelHold"
        case .channelUnhold: "ChannelUnhold"
        case .bridgeBlindTransfer: "BridgeBlindTransfer"
        case .bridgeAttendedTransfer: "BridgeAttendedTransfer"
        case .applicationReplaced: "ApplicationReplaced"
        }
    }

    /// The type with this name, `nil` for one that the simulator never sends.
    package init?(name: String) {
        guard let kind = EventKind.allCases.first(where: { $0.name == name }) else { return nil }
        self = kind
    }

    /// Whom Asterisk sends an event to.
    package enum Audience: Sendable {
        /// The application that Stasis() named, however others subscribed.
        case owner
        /// Subscribers of `channel:`, and the owner while the channel is in Stasis.
        case channelSubscribers
        /// Subscribers of `bridge:`.
        case bridgeSubscribers
    }

    /// Whom events of this type go to.
    package var audience: Audience {
        switch self {
        case .stasisStart, .stasisEnd, .applicationReplaced: .owner
        case .channelEnteredBridge, .channelLeftBridge, .bridgeBlindTransfer, .bridgeAttendedTransfer:
            .bridgeSubscribers
        case .channelCreated, .channelDestroyed, .channelStateChange, .dial, .channelHangupRequest,
            .channelHold, .channelUnhold:
            .channelSubscribers
        }
    }

    /// This type's bit in a filter.
    package var mask: UInt32 { 1 << UInt32(rawValue) }

    /// All types.
    package static let everyMask: UInt32 = (1 << UInt32(allCases.count)) - 1
}
