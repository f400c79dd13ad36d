/// The ARI event types that this daemon knows (Asterisk `rest-api/api-docs/events.json`, 16 to 22).
///
/// Any other type is `.other`: it is stored and counted under its own name, and moves no call.
public enum ARIEventKind: UInt8, Sendable, CaseIterable, BitwiseCopyable {
    case other
    case stasisStart, stasisEnd
    case channelCreated, channelDestroyed, channelStateChange, channelHangupRequest
    case channelVarset, channelDialplan, channelCallerID, channelConnectedLine, channelUserevent
    case channelDtmfReceived, channelHold, channelUnhold, channelTalkingStarted, channelTalkingFinished
    case channelToneDetected, channelTransfer, channelLeftBridge, channelEnteredBridge
    case bridgeEnter, bridgeCreated, bridgeDestroyed, bridgeMerged, bridgeVideoSourceChanged
    case bridgeBlindTransfer, bridgeAttendedTransfer
    case dial
    case deviceStateChanged, endpointStateChange, contactStatusChange, peerStatusChange
    case playbackStarted, playbackContinuing, playbackFinished
    case recordingStarted, recordingFinished, recordingFailed
    case textMessageReceived
    case applicationReplaced, applicationMoveFailed, applicationRegistered, applicationUnregistered
    case restResponse
    case missingParams
    /// Not sent by Asterisk: a channel of `GET /channels`, read after a (re)connect.
    case channelSnapshot

    /// The `type` that Asterisk sends; empty for `.other`.
    public var typeName: StaticString {
        switch self {
        case .other: ""
        case .stasisStart: "StasisStart"
        case .stasisEnd: "StasisEnd"
        case .channelCreated: "ChannelCreated"
        case .channelDestroyed: "ChannelDestroyed"
        case .channelStateChange: "ChannelStateChange"
        case .channelHangupRequest: "ChannelHangupRequest"
        case .channelVarset: "ChannelVarset"
        case .channelDialplan: "ChannelDialplan"
        case .channelCallerID: "ChannelCallerId"
        case .channelConnectedLine: "ChannelConnectedLine"
        case .channelUserevent: "ChannelUserevent"
        case .channelDtmfReceived: "ChannelDtmfReceived"
        case .channelHold: "ChannelHold"
        case .channelUnhold: "ChannelUnhold"
        case .channelTalkingStarted: "ChannelTalkingStarted"
        case .channelTalkingFinished: "ChannelTalkingFinished"
        case .channelToneDetected: "ChannelToneDetected"
        case .channelTransfer: "ChannelTransfer"
        case .channelLeftBridge: "ChannelLeftBridge"
        case .channelEnteredBridge: "ChannelEnteredBridge"
        case .bridgeEnter: "BridgeEnter"
        case .bridgeCreated: "BridgeCreated"
        case .bridgeDestroyed: "BridgeDestroyed"
        case .bridgeMerged: "BridgeMerged"
        case .bridgeVideoSourceChanged: "BridgeVideoSourceChanged"
        case .bridgeBlindTransfer: "BridgeBlindTransfer"
        case .bridgeAttendedTransfer: "BridgeAttendedTransfer"
        case .dial: "Dial"
        case .deviceStateChanged: "DeviceStateChanged"
        case .endpointStateChange: "EndpointStateChange"
        case .contactStatusChange: "ContactStatusChange"
        case .peerStatusChange: "PeerStatusChange"
        case .playbackStarted: "PlaybackStarted"
        case .playbackContinuing: "PlaybackContinuing"
        case .playbackFinished: "PlaybackFinished"
        case .recordingStarted: "RecordingStarted"
        case .recordingFinished: "RecordingFinished"
        case .recordingFailed: "RecordingFailed"
        case .textMessageReceived: "TextMessageReceived"
        case .applicationReplaced: "ApplicationReplaced"
        case .applicationMoveFailed: "ApplicationMoveFailed"
        case .applicationRegistered: "ApplicationRegistered"
        case .applicationUnregistered: "ApplicationUnregistered"
        case .restResponse: "RESTResponse"
        case .missingParams: "MissingParams"
        case .channelSnapshot: "ChannelSnapshot"
        }
    }

    /// The word stored in `call_events.event_type` and counted in `/api/stats` (the contract's table; any other type in lower case).
    ///
    /// Empty for `.other`, whose word is made from the event itself.
    public var storedName: StaticString {
        switch self {
        case .other: ""
        case .stasisStart: "stasis_start"
        case .stasisEnd: "stasis_end"
        case .channelStateChange: "state_change"
        case .channelDestroyed: "channel_destroyed"
        case .channelVarset: "var_set"
        case .channelEnteredBridge, .bridgeEnter: "bridge_enter"
        case .channelCreated: "channelcreated"
        case .channelHangupRequest: "channelhanguprequest"
        case .channelDialplan: "channeldialplan"
        case .channelCallerID: "channelcallerid"
        case .channelConnectedLine: "channelconnectedline"
        case .channelUserevent: "channeluserevent"
        case .channelDtmfReceived: "channeldtmfreceived"
        case .channelHold: "channelhold"
        case .channelUnhold: "channelunhold"
        case .channelTalkingStarted: "channeltalkingstarted"
        case .channelTalkingFinished: "channeltalkingfinished"
        case .channelToneDetected: "channeltonedetected"
        case .channelTransfer: "channeltransfer"
        case .channelLeftBridge: "channelleftbridge"
        case .bridgeCreated: "bridgecreated"
        case .bridgeDestroyed: "bridgedestroyed"
        case .bridgeMerged: "bridgemerged"
        case .bridgeVideoSourceChanged: "bridgevideosourcechanged"
        case .bridgeBlindTransfer: "bridgeblindtransfer"
        case .bridgeAttendedTransfer: "bridgeattendedtransfer"
        case .dial: "dial"
        case .deviceStateChanged: "devicestatechanged"
        case .endpointStateChange: "endpointstatechange"
        case .contactStatusChange: "contactstatuschange"
        case .peerStatusChange: "peerstatuschange"
        case .playbackStarted: "playbackstarted"
        case .playbackContinuing: "playbackcontinuing"
        case .playbackFinished: "playbackfinished"
        case .recordingStarted: "recordingstarted"
        case .recordingFinished: "recordingfinished"
        case .recordingFailed: "recordingfailed"
        case .textMessageReceived: "textmessagereceived"
        case .applicationReplaced: "applicationreplaced"
        case .applicationMoveFailed: "applicationmovefailed"
        case .applicationRegistered: "applicationregistered"
        case .applicationUnregistered: "applicationunregistered"
        case .restResponse: "restresponse"
        case .missingParams: "missingparams"
        case .channelSnapshot: "channelsnapshot"
        }
    }
}
