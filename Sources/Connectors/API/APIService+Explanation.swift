import CallEngine
import Protocols

/// `GET /api/calls/:id/explain`: why a call has its status and outcome.
extension APIService {
    /// Events from which a call is derived again when its row was written before legs were kept.
    static let maximumReplayedEvents = 2_000

    /// From the engine while it has the call; else as the legs were stored; else by deriving it again from its events.
    func explain(_ callID: String, _ exchange: HTTPExchange) {
        findCall(callID, EventPage(limit: 0), exchange) { [self] call, _ in
            environment.look(at: callID) { [self] live in
                if let live {
                    return respond(
                        CallExplanation(callID: callID, record: live.record, details: live.details),
                        from: "engine", exchange)
                }
                let record = call.stored.asRecord(pbx: 0, hasher: Self.hasher).0
                guard call.facts.derivedAt != nil, call.endedAt != nil else {
                    return explainByEvents(call, record, exchange)
                }
                environment.store.parts(of: callID) { [self] result in
                    switch result {
                    case .success(let parts):
                        respond(
                            CallExplanation(
                                callID: callID, record: record, details: CallDetails(call.stored, parts)),
                            from: "database", exchange)
                    case .failure(let error): storeFailed(error, exchange)
                    }
                }
            }
        }
    }

    /// Only for keys that are compared with each other.
    private static let hasher = TextHash(keyA: 1, keyB: 2)

    private func explainByEvents(_ call: APICall, _ record: CallRecord, _ exchange: HTTPExchange) {
        findCall(call.callID, EventPage(limit: Self.maximumReplayedEvents), exchange) { [self] call, events in
            let settings = environment.replaySettings
            let pbx = call.pbx.flatMap { environment.pbxNames.firstIndex(of: $0) } ?? 0
            let subscription = pbx < settings.subscriptions.count ? settings.subscriptions[pbx] : .allChannels
            var replay = CallReplay(
                subscription: subscription, grouping: settings.grouping, capacity: 1024,
                prefixes: settings.prefixes)
            for event in events {
                // An event that was made up by a person need not be one.
                if let payload = event.payload {
                    try? replay.take(payload, pbx: UInt16(pbx), receivedAt: event.insertedAt)
                }
            }
            if call.endedEstimated, let ended = call.endedAt {
                replay.endEstimated(call.callID, pbx: UInt16(pbx), at: ended)
            }
            var found: CallReplay.Call?
            replay.finish { if $0.callID == call.callID { found = $0 } }
            respond(
                found.map { CallExplanation(callID: $0.callID, record: $0.record, details: $0.details) }
                    ?? CallExplanation(
                        callID: call.callID, record: record, details: CallDetails(call.stored, StoredParts())),
                from: found == nil ? "row" : "events", exchange)
        }
    }

    private func respond(_ explanation: CallExplanation, from source: String, _ exchange: HTTPExchange) {
        respond(exchange, json: JSONWriter.object { $0.explanation(explanation, from: source) })
    }
}
