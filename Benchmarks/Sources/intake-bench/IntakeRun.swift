import BenchSupport
import CAllocations
import Connectors
import Glibc
import Protocols
import Reactor

/// What one intake bore.
struct IntakeResult {
    var driver = ""
    var title = ""
    var seconds = 0.0
    var events = 0
    var cpuNanoseconds = 0.0
    var senderNanoseconds = 0.0
    var systemCalls: UInt64 = 0
    var allocations: UInt64 = 0
    var carriedBytes: UInt64 = 0
    var callsAtOnce = 0
    var residentBytes = 0

    var eventsPerSecond: Double { Double(events) / seconds }
    /// What one core would take that did nothing else.
    var eventsPerCoreSecond: Double { Double(events) / cpuNanoseconds * 1e9 }
}

/// One reader, one connection, one thread: this one.
struct IntakeRun {
    let mode: IOMode
    let stream: OfficeStream
    /// Calls that one copy of the office begins and ends in one time round.
    let callsPerCopy: Int
    let warmUpSeconds: Double
    let seconds: Double

    /// Room for what is open and what ended within the last ten seconds.
    private static let maximumCalls = 1 << 19
    /// As the daemon has it.
    private static let gathering: Duration = .milliseconds(2)
    private static let patience = 60.0

    func measure<Taker: Intake>(_ type: Taker.Type) throws -> IntakeResult {
        var configuration = LoopConfiguration(ioMode: mode, maximumConnections: 16)
        configuration.gathering = Self.gathering
        let loop = try Loop(configuration: configuration)
        defer { loop.stop() }
        let intake = Taker(loop: loop, calls: Self.maximumCalls)
        let sender = try Sender()
        let firstRound = stream.round
        try sender.start(stream, withHandshake: true)
        let url = try URL("ws://127.0.0.1:\(sender.port)/ari/events")
        _ = WebSocketConnection.connect(loop: loop, url: url, textValidation: .reader, delegate: intake)

        var result = IntakeResult(driver: loop.driver.name, title: Taker.title)
        run(loop, intake, until: WallTime.now + warmUpSeconds * 1e9)
        let (events, counters, allocations) = (intake.events, loop.counters, callocations_count())
        let (start, cpu, sent) = (WallTime.now, ThreadTime.now, sender.cpuNanoseconds)
        let sentBefore = sender.eventsSent
        run(loop, intake, until: start + seconds * 1e9)
        result.cpuNanoseconds = ThreadTime.now - cpu
        result.seconds = (WallTime.now - start) / 1e9
        result.events = intake.events - events
        result.systemCalls = loop.counters.systemCalls - counters.systemCalls
        result.carriedBytes = loop.counters.carriedBytes - counters.carriedBytes
        result.allocations = callocations_count() - allocations
        result.callsAtOnce = intake.callsActive
        result.residentBytes = Self.residentBytes()
        result.senderNanoseconds =
            (sender.cpuNanoseconds - sent) / Double(max(1, sender.eventsSent - sentBefore))
        guard result.events > 0 else { throw BenchError("nothing came: \(intake.close?.description ?? "")") }

        sender.stop()
        let limit = WallTime.now + Self.patience * 1e9
        while intake.close == nil, WallTime.now < limit { loop.runOnce(maximumWait: .milliseconds(50)) }
        guard intake.close != nil else { throw BenchError("the stream did not end") }
        sender.join()
        try check(intake, sender, rounds: stream.round - firstRound)
        return result
    }

    private func run(_ loop: Loop, _ intake: any Intake, until end: Double) {
        while WallTime.now < end, intake.close == nil { loop.runOnce(maximumWait: .milliseconds(50)) }
    }

    /// A reader that is quick because it leaves something out is none.
    private func check(_ intake: any Intake, _ sender: Sender, rounds: Int) throws(BenchError) {
        guard intake.events == sender.eventsSent else {
            throw BenchError("\(sender.eventsSent) events were sent and \(intake.events) taken")
        }
        guard intake.refused == 0 else {
            throw BenchError(
                "\(intake.refused) were refused; of \(intake.events) events \(intake.callsStarted) calls began and "
                    + "\(intake.callsFinished) ended, \(intake.callsActive) are open")
        }
        guard intake.rows > 0 else { throw BenchError("no rows came of the events") }
        // Of the first and the last time round copies have played a part only.
        let least = (rounds - 1) * stream.copies * callsPerCopy
        guard intake.callsStarted >= least, intake.callsFinished >= least * 99 / 100 else {
            throw BenchError(
                "\(least) calls were played whole; \(intake.callsStarted) began and \(intake.callsFinished) ended"
            )
        }
    }

    /// The process's resident memory.
    private static func residentBytes() -> Int {
        guard let bytes = try? Files.read("/proc/self/statm") else { return 0 }
        let fields = String(decoding: bytes, as: UTF8.self).split(separator: " ")
        return fields.count > 1 ? (Int(fields[1]) ?? 0) * Int(sysconf(Int32(_SC_PAGESIZE))) : 0
    }
}
