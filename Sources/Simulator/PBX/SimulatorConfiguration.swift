/// Settings of a simulated PBX; the defaults suit a demonstration.
package struct SimulatorConfiguration: Sendable {
    // MARK: Who may connect

    /// ARI user and password; a second, read-only user has the name `watcher` and the same password.
    package var user = "callflow"
    package var password = "secret"
    /// The application that the simulated dialplan's Stasis() names.
    package var appName = "callflow_elixir"
    /// Asterisk's `systemname`: put in front of every unique id, so that several PBXs can share a database.
    package var systemName = ""
    /// `asterisk_id` of every event.
    package var asteriskID = "02:fc:00:00:00:01"

    // MARK: Which calls

    /// Calls that begin per second, on average, however busy the reader is; 0 for none.
    package var callsPerSecond: Double = 2
    /// Calls at once; one that would come on top is left out and counted.
    package var maximumConcurrentCalls = 5000
    /// Calls in all, after which the PBX falls silent; 0 for no end.
    package var totalCalls = 0
    /// What happens in them.
    package var mix = CallMix.usual
    /// How long a telephone rings, in milliseconds.
    package var ringMilliseconds: ClosedRange<Int> = 1500...6000
    /// How long people speak, in milliseconds.
    package var talkMilliseconds: ClosedRange<Int> = 5000...40_000
    /// Extensions of the company's telephones.
    package var agents: ClosedRange<Int> = 101...140
    /// Everything that chance decides comes from this number.
    package var seed: UInt64 = 1
    /// Pauses between the beginnings of calls.
    package var arrivals = Arrivals.poisson
    /// Number behind the dot of the first unique id.
    package var firstChannelNumber: UInt32 = 1
    /// Minutes east of Greenwich in the times of events.
    package var utcOffsetMinutes = 0
    /// Whether a channel stays in Stasis until the application continues it, as on a real PBX.
    ///
    /// Otherwise it goes on by itself after some milliseconds when nobody does, and the schedule stays open-loop.
    package var stasisWaits = false
    /// Whether calls begin only when a reader has subscribed, so that it can get every event.
    package var waitsForReader = false
    /// When set, `callsPerSecond`, ring and talk times are worked out to give this load.
    package var steadyLoad: SteadyLoad?

    // MARK: Recorded events

    /// A file of recorded events, one a line, played to each application that connects, instead of calls.
    package var replayFile: String?
    /// The pace of a replay.
    package var replayPace = ReplayPace.recorded

    /// A file that gets every event given to a reader, a line each, for comparing with what was stored.
    package var sentLogFile: String?

    // MARK: Calls rendered in advance

    /// When not 0: the calls of so many milliseconds are rendered as soon as a reader has subscribed.
    ///
    /// For that reader alone, and only sent later; the PBX falls silent at their end. Requests change nothing about them.
    package var prerenderedMilliseconds = 0
    /// Whether prerendered events are sent as fast as the reader takes them, and not when they are due.
    package var sendsAtOnce = false
    /// Between a reader's subscription and rendering, in milliseconds; the reader asks what runs meanwhile.
    package var renderPause: Int64 = 1500
    /// Between the end of rendering and the first event, in milliseconds.
    package var prerenderedPause: Int64 = 500

    // MARK: How it treats readers

    /// How long a reader may leave what was sent unread before it is cut off without a word.
    ///
    /// In milliseconds; Asterisk's `websocket_write_timeout`, 100 there. 0: never, but for
    /// `maximumQueuedBytes`.
    package var slowReaderMilliseconds = 0
    /// Whether calls stand still while a reader is behind, instead of the reader being cut off in the end.
    ///
    /// To find out how much a reader takes, with nothing lost. Events keep the times they were due.
    package var waitsForSlowReaders = false
    /// Bytes that wait for one reader before it is cut off.
    package var maximumQueuedBytes = 64 << 20
    /// Faults from the beginning; changed at run time by `PBXSimulator.faults` or `POST /simulator/faults`.
    package var faults: FaultPlan = .none

    // MARK: Bounds

    /// Finished calls kept for `GET /simulator/truth`; more are counted only.
    package var truthLimit = 1_000_000
    /// Events played at a stretch before the loop does something else.
    package var eventsPerTick = 20_000
    /// How often what is due is played, in milliseconds; 1 for load, more to let the machine sleep.
    package var tickMilliseconds = 5

    // MARK: Worked out for a steady load

    /// Calls of the first fill, and the time over which they begin.
    var firstCalls: UInt64 = 0
    var firstCallsMilliseconds = 0

    package init() {}

    /// How calls arrive.
    package enum Arrivals: String, Sendable, CaseIterable {
        /// At equal distances.
        case even
        /// At random, independently of each other, as telephone calls do.
        case poisson
    }

    /// A load that stays the same.
    package struct SteadyLoad: Sendable, Equatable {
        /// Calls at once.
        package var calls: Int
        /// Events per second, over all calls.
        package var eventsPerSecond: Double
        /// Time in which the first `calls` calls begin, in milliseconds; at most half the length of a call.
        package var rampMilliseconds: Int

        package init(calls: Int, eventsPerSecond: Double, rampMilliseconds: Int = 10_000) {
            self.calls = calls
            self.eventsPerSecond = eventsPerSecond
            self.rampMilliseconds = rampMilliseconds
        }
    }

    /// How fast recorded events are played.
    package enum ReplayPace: Sendable, Equatable {
        /// As recorded, by the times in the file beside (`.times`); at once when there is none.
        case recorded
        /// As fast as the reader takes them.
        case asFastAsPossible
        /// So many a second.
        case eventsPerSecond(Double)
    }

    /// These settings with a steady load turned into rate and durations.
    ///
    /// Thousands of calls are planned for it; who makes many PBXs asks once. The rate follows from the mean number of events of a call (load ÷ events a call), the mean length of
    /// a call from the rate (calls ÷ rate); ring and talk times are stretched by one factor to meet it.
    package func withSteadyLoadWorkedOut() -> SimulatorConfiguration {
        guard let load = steadyLoad, load.calls > 0, load.eventsPerSecond > 0 else { return self }
        var result = self
        result.steadyLoad = nil
        let means = CallPlayer.means(of: result)
        var instant = result
        instant.ringMilliseconds = 0...0
        instant.talkMilliseconds = 0...0
        let fixed = CallPlayer.means(of: instant).milliseconds
        result.callsPerSecond = load.eventsPerSecond / means.events
        let wanted = Double(load.calls) * 1000 / result.callsPerSecond
        let factor = max(0, wanted - fixed) / max(1, means.milliseconds - fixed)
        result.ringMilliseconds = ringMilliseconds.scaled(by: factor)
        result.talkMilliseconds = talkMilliseconds.scaled(by: factor)
        result.firstCalls = UInt64(load.calls)
        // From the first moment calls arrive at the final rate too: as many as the fill loses by calls
        // ending, once it is complete. So the fill has to be quicker than a call is long.
        let ramp = max(1, min(Double(load.rampMilliseconds), wanted / 2))
        result.firstCallsMilliseconds = Int(ramp)
        // Chance makes it a little more at times.
        result.maximumConcurrentCalls = max(maximumConcurrentCalls, load.calls + load.calls / 8 + 16)
        return result
    }
}

extension ClosedRange<Int> {
    /// Both bounds multiplied; at most about 12 days in milliseconds, so that sums stay far from any limit.
    fileprivate func scaled(by factor: Double) -> ClosedRange<Int> {
        let longest = 1_000_000_000.0
        return Int(
            Swift.min(longest, Double(lowerBound) * factor))...Int(
                Swift.min(longest, Double(upperBound) * factor))
    }
}
