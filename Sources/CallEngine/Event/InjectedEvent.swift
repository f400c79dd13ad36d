import Protocols

/// An event posted to `/api/test/events`: the old daemon's own shape, not ARI's.
///
/// It moves its call by the letter of the contract, as a call of one channel: `stasis_start` begins it, `state_change` to
/// `Up` answers it, `stasis_end` and `channel_destroyed` end it, `var_set` may tell its direction.
public struct InjectedEvent: Sendable {
    /// The call.
    public var callID: String
    /// As stored: `stasis_start`, `state_change` ….
    public var eventType: String
    /// The `payload` object as JSON text; `{}` when none came.
    public var payload: [UInt8]
    private var direction = CallDirection.unknown
    private var caller: String?
    private var callee: String?
    private var isUp = false

    private static let plan = JSONFieldPlan([
        ["direction"], ["caller"], ["callee"], ["state"], ["variable", "intNum"], ["variable", "extNum"],
    ])

    /// Reads what moves a call out of the payload.
    ///
    /// - Parameter payload: The `payload` object; `nil` comes back when it is none.
    public init?(callID: String, eventType: String, payload: [UInt8]) {
        self.callID = callID
        self.eventType = eventType
        self.payload = payload
        let scanner = JSONFieldScanner(Self.plan)
        let bytes = payload.span.bytes
        guard let scan = try? scanner.scan(bytes), scan.root == .object else { return nil }
        switch scanner[0].string(in: bytes) {
        case "inbound": direction = .inbound
        case "outbound": direction = .outbound
        default: break
        }
        caller = scanner[1].string(in: bytes)
        callee = scanner[2].string(in: bytes)
        isUp = scanner[3].equals("Up", in: bytes)
        if scanner[4].isPresent { direction = .outbound }
        if scanner[5].isPresent { direction = .inbound }
        needsRepair = !scan.features.isDisjoint(with: [.nulEscape, .loneSurrogate, .extremeNumber])
    }

    private var needsRepair = false

    /// Calls `body` with the event as the engine takes it.
    ///
    /// Texts are appended behind the payload, where the event's places point; `payloadCount` bytes of the
    /// buffer are the payload to store.
    public func withEvent(
        hasher: TextHash,
        _ body: (ARIEvent, _ buffer: UnsafeRawBufferPointer, _ payloadCount: Int, Placement) -> Void
    ) {
        var buffer = payload
        func place(_ text: String?) -> ARIText {
            guard let text, !text.isEmpty else { return ARIText() }
            let bytes = Array(text.utf8)
            defer { buffer.append(contentsOf: bytes) }
            return ARIText(offset: UInt32(buffer.count), count: UInt32(bytes.count), hasEscapes: false)
        }
        var event = ARIEvent()
        let word = eventType.lowercased()
        event.kind =
            ARIEventKind.allCases.first { $0 != .other && $0.storedName.description == word } ?? .other
        event.type = place(word)
        event.channel.name = place(callID)
        event.channel.callerNumber = place(caller)
        event.channel.exten = place(callee)
        event.channel.state = isUp ? .up : .unknown
        event.payloadNeedsRepair = needsRepair
        switch direction {
        case .inbound: event.channel.externalNumber = place("inbound")
        case .outbound: event.channel.internalNumber = place("outbound")
        case .unknown: break
        }
        if event.kind == .channelVarset, direction != .unknown {
            event.variable = place(direction == .inbound ? "extNum" : "intNum")
            event.value = event.variable
        }
        buffer.withUnsafeBytes { bytes in
            let callText = event.channel.name
            var placement = callText.withBytes(in: bytes) {
                Placement(key: CallKey($0, hasher), pbx: CallGraph.noPBX)
            }
            placement.callID = callText
            body(event, bytes, payload.count, placement)
        }
    }
}
