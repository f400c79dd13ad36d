import CallEngine
package import Logging
import Protocols
package import Reactor

/// Begins calls that an employee clicked in the portal, or a customer asked for, and sees to it that the portal's own call is
/// finished whatever becomes of ours.
///
///     event ─▶ the call's id is chosen, its `register` noted as done, with the portal's CALL_ID ─▶ PBX asked to call
///                                                                          │ refused ─▶ finished as failed
///                                                                          └ the engine finishes it like any other
package final class BitrixDialer {
    /// Asks a PBX to call; `begun` is told whether it does, on this loop.
    package typealias Originate = (
        _ request: ARIOriginate, _ pbx: Int, _ begun: @escaping (_ refusal: String?) -> Void
    ) -> Void

    private let loop: Loop
    private let clicks: BitrixClicks
    private let configuration: BitrixConfiguration
    private let prefixes: [String]
    private let client: BitrixClient
    private let originate: Originate
    private let logger: Logger
    private var filter = BitrixClickFilter()

    /// - Parameter prefixes: What stands before the ids of each PBX.
    package init(
        loop: Loop, clicks: BitrixClicks, configuration: BitrixConfiguration, prefixes: [String],
        client: BitrixClient, logger: Logger, originate: @escaping Originate
    ) {
        self.loop = loop
        self.clicks = clicks
        self.configuration = configuration
        self.prefixes = prefixes
        self.client = client
        self.logger = logger
        self.originate = originate
    }

    /// Takes the body of an event in; what it asks for is done after this returned.
    ///
    /// - Returns: The status of the answer.
    package func take(_ body: [UInt8]) -> Int {
        let event: BitrixEvent
        do throws(BitrixEvent.Refusal) {
            event = try BitrixEvent(body, token: clicks.token)
        } catch {
            logger.warning("Bitrix24: an event is not taken", metadata: ["reason": "\(error)"])
            return error == .stranger ? 403 : 400
        }
        let now = Duration.nanoseconds(Int64(clamping: loop.now.nanoseconds))
        guard filter.isNew(event, at: now) else { return 200 }
        switch event {
        case .click(let click): begin(click)
        case .callBack(let callBack): begin(callBack)
        case .other: break
        }
        return 200
    }

    private var pbx: Int { clicks.pbx.flatMap { configuration.pbxNames.firstIndex(of: $0) } ?? 0 }

    private func begin(_ click: BitrixEvent.Click) {
        let number = clicks.dialed(click.number)
        let telephone = click.extension.isEmpty ? client.extension(of: click.userID) ?? "" : click.extension
        let (channelID, call) = makeCall(from: telephone, to: number)
        logger.info(
            "Bitrix24: call by click", metadata: ["call": "\(call.callID)", "extension": "\(telephone)"])
        client.adopt(call, bitrixCallID: click.bitrixCallID, user: .userID(click.userID)) { [self] in
            guard !telephone.isEmpty else { return refused(call, "user \(click.userID) has no extension") }
            guard let endpoint = clicks.endpoint(of: telephone) else {
                return refused(call, "user \(click.userID) has an extension that is no telephone's")
            }
            guard !number.isEmpty else { return refused(call, "there is no number to call") }
            let request = ARIOriginate(
                channelID: channelID, endpoint: endpoint, extension: number,
                context: clicks.context, callerID: number, ringTime: clicks.ringTime)
            originate(request, Int(call.pbx)) { [self] refusal in
                if let refusal { refused(call, refusal) }
            }
        }
    }

    private func begin(_ callBack: BitrixEvent.CallBack) {
        guard let endpoint = clicks.callBackEndpoint else { return }
        let number = clicks.dialed(callBack.number)
        guard !number.isEmpty else {
            return logger.warning("Bitrix24: a wish to be called back has no number")
        }
        var (channelID, call) = makeCall(from: nil, to: number)
        call.isCallBack = true
        logger.info("Bitrix24: call back", metadata: ["call": "\(call.callID)"])
        client.adopt(call, bitrixCallID: nil, user: nil) { [self] in
            let request = ARIOriginate(
                channelID: channelID, endpoint: endpoint, extension: number, context: clicks.context,
                callerID: number, ringTime: clicks.ringTime)
            originate(request, Int(call.pbx)) { [self] refusal in
                if let refusal { refused(call, refusal) }
            }
        }
    }

    /// The channel is given its id, so the call's is known before there is one.
    private func makeCall(from telephone: String?, to number: String) -> (channelID: String, call: CRMCall) {
        let channelID = CRMCall.askedForMark + String(SystemRandom.uint64(), radix: 16)
        let prefix = pbx < prefixes.count ? prefixes[pbx] : ""
        var call = CRMCall(
            callID: prefix + channelID, direction: .outbound, callerNumber: telephone, calleeNumber: number,
            startedAt: WallClock.now())
        call.pbx = UInt16(pbx)
        return (channelID, call)
    }

    private func refused(_ call: CRMCall, _ reason: String) {
        logger.warning(
            "Bitrix24: a call by click cannot be made",
            metadata: ["call": "\(call.callID)", "reason": "\(reason)"])
        var ended = call
        ended.endedAt = max(WallClock.now(), call.startedAt)
        ended.outcome = .failed
        client.finishAdopted(ended)
    }
}
