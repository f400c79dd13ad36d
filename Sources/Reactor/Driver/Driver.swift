/// The kernel side of a loop.
///
/// Moves bytes and readiness; decides nothing about connections.
///
/// A driver calls the loop's `did…` methods from inside `wait` only, so handlers are never entered from
/// within one another's calls.
protocol Driver: AnyObject {
    var choice: DriverChoice { get }

    /// The loop that it works for; called once, right after both are made.
    func bind(to loop: Loop)

    /// Hears of the loop's own eventfd from now on, which is not read; each write makes `Loop.wasWoken`.
    func addWaker(_ fd: Int32)

    /// Submits what is pending, waits until something happens or `deadline` (nil: for ever; in the past: not
    /// at all), and hands out a bounded number of events.
    ///
    /// - Parameter gathering: What happens before this time is handed out together, when the kernel can; nil
    ///   for at once.
    func wait(until deadline: MonotonicInstant?, gathering: MonotonicInstant?)

    /// Starts accepting on the listener's descriptor.
    func startAccepting(_ index: Int)
    /// Stops accepting; connections wait in the backlog.
    func pauseAccepting(_ index: Int)
    /// Stops accepting and closes the descriptor.
    func removeListener(_ index: Int)

    /// The slot's descriptor is connected: starts receiving unless reading is paused.
    func addConnection(_ index: Int)
    /// Goes on receiving, or stops, as `readPaused` says.
    func readingChanged(_ index: Int)
    /// Sends what is queued in the slot; progress is reported by `Loop.didSend` or its return value.
    ///
    /// - Returns: False when the connection was finished by an error.
    func flush(_ index: Int) -> Bool
    /// Stops everything on the slot and closes its descriptor. `Loop.didRelease` follows when the last
    /// operation in flight has ended, if there was one (`inFlight` above 0).
    func removeConnection(_ index: Int)

    /// Begins watching as the entry says.
    func addWatch(_ index: Int)
    /// The entry's interest changed.
    func updateWatch(_ index: Int)
    /// Stops watching; the descriptor stays open.
    func removeWatch(_ index: Int)

    /// Releases everything. Every connection, listener and watch has been removed before.
    func shutDown()
}

/// What an event or completion is about, packed into the kernel's 64 bits of user data.
///
/// ```
///  63      56 55              32 31                0
/// ┌──────────┬──────────────────┬──────────────────┐
/// │ kind     │ slot             │ generation       │
/// └──────────┴──────────────────┴──────────────────┘
/// ```
struct UserData {
    enum Kind: UInt8 {
        case none
        case listener
        case receive
        case send
        case watch
        case cancel
        case wake
        case close
    }

    let rawValue: UInt64

    init(rawValue: UInt64) { self.rawValue = rawValue }

    init(_ kind: Kind, slot: Int, generation: UInt32) {
        rawValue = UInt64(kind.rawValue) << 56 | UInt64(slot & 0xff_ffff) << 32 | UInt64(generation)
    }

    var kind: Kind { Kind(rawValue: UInt8(truncatingIfNeeded: rawValue >> 56)) ?? .none }
    var slot: Int { Int(rawValue >> 32 & 0xff_ffff) }
    var generation: UInt32 { UInt32(truncatingIfNeeded: rawValue) }
}
