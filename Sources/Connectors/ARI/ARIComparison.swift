package import Protocols

/// What a PBX said of itself and of the time we did not hear it, when it was compared with what we think.
package struct ARIComparisonFacts: Sendable {
    /// When the PBX started, by its own clock; `nil` when it did not say.
    package var startedAt: Timestamp?
    /// It started anew since the comparison before: nothing that we knew of it lives.
    package var isRestart: Bool
    /// Our clock at the last sign of life of the connection before; `nil`: there was none in this run.
    package var lastHeardAt: Timestamp?
    /// Why that connection ended, for a person.
    package var reason: String?
    /// What `GET /channels` answered.
    package var channels: [UInt8]
    /// What `GET /bridges` answered.
    package var bridges: [UInt8]
    /// What the PBX's clock showed when it was asked; `nil` when it did not say.
    package var clock: Timestamp?
    /// Our clock when that answer came.
    package var clockReadAt: Timestamp?
}

/// What a comparison needs of the client that runs it, or of the simulation that does.
protocol ARIComparisonHost: AnyObject {
    /// The name of our application.
    var appName: String { get }
    /// Only the channels in our application are read.
    var readsApplicationOnly: Bool { get }
    /// Runs `body` in the next tick.
    func soon(_ body: @escaping () -> Void)
    /// Gives an event on, in order.
    func handOn(_ event: RawSpan)
    /// The list begins.
    func listBegins(_ facts: ARIComparisonFacts)
    /// One channel of the list, as the text of a `ChannelSnapshot` event.
    func listed(_ event: RawSpan)
    /// A listed channel waits in our application since before this connection.
    func leftWaiting(_ channelID: String)
}

/// Compares what a PBX says is there with what we think, after each connection, while events go on coming.
///
///     opened ─▶ asking ──lists answered──▶ reading ─▶ events from before ─▶ the list ─▶ events from after ─▶ done
///                 └───────failed, or too long───────▶ letting go: all events, no list ───────────────────────▶ done
///
/// Events are held from the moment the connection opens. Those received before the lists were asked for are older than
/// the lists, so they are handed on first; those received since are handed on after them. So a list can neither bring
/// a channel back that has ended, nor end one that has just begun, and each end that an event tells keeps its time and
/// cause. Nothing of it depends on any clock.
///
/// The work is cut into slices, one a tick, so that thousands of channels do not stop the loop.
final class ARIComparison {
    /// Bytes of held events; beyond it they are let go, and the PBX is asked again.
    static let maximumHeldBytes = 64 << 20
    /// Channels, or bridges, read or handed on in one tick.
    static let sliceChannels = 128
    /// Events handed on in one tick, at least; an eighth of what waits, when that is more.
    static let sliceEvents = 256

    private enum Stage: Equatable {
        case asking
        case readingChannels, readingBridges
        case before, list, after
        case lettingGo
        case done
    }

    private unowned let host: any ARIComparisonHost
    private var stage = Stage.asking
    private var before = ARIHeldEvents()
    private var after = ARIHeldEvents()
    private var isListAsked = false
    private var hasAskedAgain = false
    /// There only while lists are read and handed on: what it learns of their texts is tens of kilobytes, and a daemon may begin with thousands of
    /// PBXs at once.
    private var reader: ARIListReader?
    private var nextChannel = 0
    private var facts: ARIComparisonFacts?
    /// Ticks that did a slice, for tests and the log.
    private(set) var slices = 0
    /// Events that waited.
    private(set) var heldEvents = 0
    /// Channels that the PBX listed.
    private(set) var listedChannels = 0

    /// Told that the bridges name channels that the list does not have: both are to be asked for once more.
    var onAskAgain: (() -> Void)?
    /// Told once that events are handed on as they come; whether the list was handed on too, or why it was not.
    var onDone: ((Result<Void, ARIListError>) -> Void)?

    /// - Parameter host: Who owns this.
    init(host: any ARIComparisonHost) {
        self.host = host
    }

    /// Whether the lists have not come, so that it is the PBX that events wait for.
    var isAsking: Bool { stage == .asking }

    /// Takes an event in the order of receipt.
    ///
    /// - Returns: `false` when too much waits: let go.
    func hold(_ event: RawSpan) -> Bool {
        heldEvents += 1
        if isListAsked { after.append(event) } else { before.append(event) }
        return before.byteCount + after.byteCount <= Self.maximumHeldBytes
    }

    /// The lists are asked for now: what was received up to here is older than they are.
    func listsAsked() {
        before.append(after)
        after = ARIHeldEvents()
        isListAsked = true
    }

    /// The lists came.
    func answered(_ facts: ARIComparisonFacts) {
        guard case .asking = stage else { return }
        self.facts = facts
        reader = ARIListReader(
            channels: facts.channels, bridges: facts.bridges, app: host.appName)
        stage = .readingChannels
        planSlice()
    }

    /// Hands on what waits, slice by slice, and ends without a list.
    func letGo() {
        guard stage == .asking else { return }
        stage = .lettingGo
        planSlice()
    }

    /// Hands on all that waits at once and ends: the connection is over.
    func endNow() {
        stage = .done
        reader = nil
        handOn(before.take(.max))
        handOn(after.take(.max))
    }

    // MARK: Slices

    private func planSlice() {
        host.soon { [weak self] in self?.slice() }
    }

    private func slice() {
        guard stage != .done else { return }
        slices += 1
        do throws(JSONError) {
            try step()
        } catch {
            finish(.failure(.invalid(error)))
        }
        switch stage {
        case .asking, .done: break
        case .readingChannels, .readingBridges, .before, .list, .after, .lettingGo: planSlice()
        }
    }

    private func step() throws(JSONError) {
        switch stage {
        case .asking, .done: break
        case .readingChannels:
            if try reader?.readChannels(Self.sliceChannels) != true { stage = .readingBridges }
        case .readingBridges:
            guard try reader?.readBridges(Self.sliceChannels) != true else { return }
            listedChannels = reader?.channels.count ?? 0
            if reader?.bridgesNameUnknownChannels == true, !hasAskedAgain {
                hasAskedAgain = true
                stage = .asking
                onAskAgain?()
            } else {
                stage = .before
            }
        case .before:
            handOn(before.take(sliceSize(before)))
            guard stage == .before, before.isEmpty, let facts else { return }
            stage = .list
            host.listBegins(facts)
        case .list: handOnList()
        case .after:
            handOn(after.take(sliceSize(after)))
            if stage == .after, after.isEmpty { finish(.success(())) }
        case .lettingGo:
            handOn(before.take(sliceSize(before)))
            guard stage == .lettingGo, before.isEmpty else { return }
            handOn(after.take(sliceSize(after)))
            if stage == .lettingGo, after.isEmpty { finish(.failure(.letGo)) }
        }
    }

    private func sliceSize(_ events: ARIHeldEvents) -> Int {
        max(Self.sliceEvents, events.count / 8)
    }

    /// Handing on may end the connection, and so this comparison; what was taken out is handed on all the same.
    private func handOn(_ events: ARIHeldEvents.Taken) {
        var start = events.start
        for end in events.ends {
            host.handOn(events.bytes.span.bytes.extracting(start..<end))
            start = end
        }
    }

    private func handOnList() {
        guard let reader else { return }
        let end = min(reader.channels.count, nextChannel + Self.sliceChannels)
        for channel in reader.channels[nextChannel..<end] {
            if channel.isHeld { host.leftWaiting(String(decoding: channel.id, as: UTF8.self)) }
            // Of a channel outside of our application nothing will be told.
            guard channel.isHeld || !host.readsApplicationOnly else { continue }
            let event = reader.event(of: channel)
            host.listed(event.span.bytes)
        }
        nextChannel = end
        guard stage == .list, nextChannel == reader.channels.count else { return }
        stage = .after
        self.reader = nil
    }

    private func finish(_ result: Result<Void, ARIListError>) {
        // A list that cannot be read proves nothing; the events are facts all the same.
        if case .failure(.invalid) = result { endNow() }
        stage = .done
        reader = nil
        onDone?(result)
    }
}

/// Why there was no comparison.
enum ARIListError: Error, Equatable {
    /// A list was not what ARI answers.
    case invalid(JSONError)
    /// The events were let go before the lists came.
    case letGo
}
