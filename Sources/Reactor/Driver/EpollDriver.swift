internal import CReactor
internal import Glibc

/// epoll(7): connections edge-triggered (one registration for life, no epoll_ctl per event), listeners
/// and foreign descriptors level-triggered.
///
/// Receives into one buffer shared by the whole loop.
final class EpollDriver: Driver {
    /// Events taken per wait.
    static let maximumEvents = 512
    /// Receives per connection and tick; a busy connection then waits for the others.
    static let maximumReceivesPerTick = 4
    /// Accepts per listener and tick.
    static let maximumAcceptsPerTick = 64

    let choice: DriverChoice
    private let epoll: Int32
    private let events: UnsafeMutablePointer<creactor_event>
    private let scratch: UnsafeMutableRawBufferPointer
    /// The loop owns its driver, so it outlives it.
    private unowned(unsafe) var owner: Loop?
    /// Connections with more to read, for which no further event will come.
    private var readable: [UserData] = []
    private var readableBatch: [UserData] = []

    /// - Parameter reason: Why epoll, for the log.
    init(receiveBufferBytes: Int, reason: String) throws(ReactorError) {
        epoll = try checked(creactor_epoll_create(), "epoll_create1")
        events = .allocate(capacity: EpollDriver.maximumEvents)
        // One large read costs less than several small ones, and this buffer exists once per loop.
        scratch = .allocate(byteCount: max(receiveBufferBytes, 65536), alignment: 4096)
        choice = DriverChoice(name: "epoll", reason: reason, features: ["edge-triggered"])
    }

    deinit {
        creactor_close(epoll)
        events.deallocate()
        scratch.deallocate()
    }

    func bind(to loop: Loop) { owner = loop }

    private var loop: Loop {
        guard let owner else { preconditionFailure("a driver works for a loop") }
        return owner
    }

    func shutDown() {
        readable.removeAll()
    }

    // MARK: Waiting

    func addWaker(_ fd: Int32) {
        // Edge-triggered, so that it need not be read: epoll(7) reports each write anew.
        let userData = UserData(.wake, slot: 0, generation: 0)
        let result = creactor_epoll_add(epoll, fd, CREACTOR_READABLE | CREACTOR_EDGE, userData.rawValue)
        precondition(result == 0, "epoll takes no eventfd")
    }

    func wait(until deadline: MonotonicInstant?, gathering: MonotonicInstant?) {
        if let gathering, readable.isEmpty {
            let now = MonotonicInstant.now()
            if gathering > now {
                creactor_sleep(gathering.nanoseconds - now.nanoseconds)
                loop.counters.systemCalls += 1
            }
        }
        let count = Int(
            creactor_epoll_wait(epoll, events, Int32(EpollDriver.maximumEvents), timeout(deadline)))
        loop.counters.systemCalls += 1
        loop.refreshNow()
        precondition(count >= 0, "epoll_wait failed")
        // What was left over from the last tick comes first; taken aside, since reading may add to the list.
        swap(&readable, &readableBatch)
        for index in readableBatch.indices { readAgain(readableBatch[index]) }
        readableBatch.removeAll(keepingCapacity: true)
        for index in 0..<count {
            dispatch(UserData(rawValue: events[index].user_data), events[index].events)
        }
    }

    private func timeout(_ deadline: MonotonicInstant?) -> Int32 {
        guard readable.isEmpty else { return 0 }
        guard let deadline else { return -1 }
        let now = MonotonicInstant.now()
        guard deadline > now else { return 0 }
        // Rounded up: waking early would only mean waiting again.
        let nanoseconds = deadline.nanoseconds - now.nanoseconds
        return Int32(clamping: nanoseconds / 1_000_000 + (nanoseconds % 1_000_000 > 0 ? 1 : 0))
    }

    private func dispatch(_ userData: UserData, _ events: UInt32) {
        switch userData.kind {
        case .receive: dispatchConnection(userData, events)
        case .watch:
            let failed = events & CREACTOR_FAILED != 0
            loop.didBecomeReady(
                watch: userData.slot, generation: userData.generation,
                readable: failed || events & CREACTOR_READABLE != 0,
                writable: failed || events & CREACTOR_WRITABLE != 0)
        case .listener: accept(userData)
        case .wake: loop.wasWoken()
        case .none, .send, .cancel, .close: loop.counters.staleCompletions += 1
        }
    }

    // MARK: Connections

    private func slot(_ userData: UserData) -> UnsafeMutablePointer<ConnectionSlot>? {
        let slot = loop.slots.base + userData.slot
        guard slot.pointee.generation == userData.generation, slot.pointee.fd >= 0 else {
            loop.counters.staleCompletions += 1
            return nil
        }
        return slot
    }

    func addConnection(_ index: Int) {
        let slot = loop.slots.base + index
        let interest =
            CREACTOR_READABLE | CREACTOR_WRITABLE | CREACTOR_INPUT_ENDED
            | CREACTOR_EDGE
        let userData = UserData(.receive, slot: index, generation: slot.pointee.generation)
        let result = creactor_epoll_add(epoll, slot.pointee.fd, interest, userData.rawValue)
        loop.counters.systemCalls += 1
        if result < 0 { loop.didFail(index, errno: -result, call: "epoll_ctl") }
    }

    func readingChanged(_ index: Int) {
        let slot = loop.slots.base + index
        if slot.pointee.flags.contains(.readPaused) == false, slot.pointee.flags.contains(.readable) {
            list(index)
        }
    }

    private func list(_ index: Int) {
        let slot = loop.slots.base + index
        guard slot.pointee.flags.contains(.listed) == false else { return }
        slot.pointee.flags.insert(.listed)
        readable.append(UserData(.receive, slot: index, generation: slot.pointee.generation))
    }

    private func readAgain(_ userData: UserData) {
        let slot = loop.slots.base + userData.slot
        guard slot.pointee.generation == userData.generation, slot.pointee.fd >= 0 else { return }
        slot.pointee.flags.remove(.listed)
        read(userData.slot)
    }

    private func dispatchConnection(_ userData: UserData, _ events: UInt32) {
        guard let slot = slot(userData) else { return }
        let ended = events & (CREACTOR_INPUT_ENDED | CREACTOR_FAILED) != 0
        if ended { slot.pointee.flags.insert(.hangUp) }
        if events & CREACTOR_WRITABLE != 0, slot.pointee.flags.contains(.sendBlocked) {
            slot.pointee.flags.remove(.sendBlocked)
            loop.markDirty(userData.slot)
        }
        if ended || events & CREACTOR_READABLE != 0 {
            slot.pointee.flags.insert(.readable)
            if slot.pointee.flags.contains(.listed) == false { read(userData.slot) }
        }
    }

    /// Receives until the socket is empty, the connection's share of the tick is used up, or it is paused.
    private func read(_ index: Int) {
        let slot = loop.slots.base + index
        let generation = slot.pointee.generation
        guard let buffer = scratch.baseAddress else { return }
        for _ in 0..<EpollDriver.maximumReceivesPerTick {
            // Paused: .readable stays, and resuming lists the connection again.
            if slot.pointee.flags.contains(.readPaused) { return }
            let count = creactor_receive(slot.pointee.fd, buffer, scratch.count)
            loop.counters.systemCalls += 1
            if count > 0 {
                loop.didReceive(index, UnsafeMutableRawBufferPointer(start: buffer, count: count))
                guard slot.pointee.generation == generation, slot.pointee.fd >= 0 else { return }
                // epoll(7): after a short read of a stream the socket is empty, and more gives a new edge;
                // not so once the end has been signalled, whose edge is spent.
                if count < scratch.count, slot.pointee.flags.contains(.hangUp) == false {
                    slot.pointee.flags.remove(.readable)
                    return
                }
            } else if count == 0 {
                slot.pointee.flags.remove(.readable)
                loop.didReceiveEnd(index)
                return
            } else if count == -Int(EAGAIN) {
                slot.pointee.flags.remove(.readable)
                return
            } else {
                loop.didFail(index, errno: Int32(-count), call: "recv")
                return
            }
        }
        list(index)
    }

    func flush(_ index: Int) -> Bool {
        let slot = loop.slots.base + index
        while slot.pointee.flags.contains(.sendBlocked) == false {
            let bytes = slot.pointee.out.bytes
            guard let base = bytes.baseAddress, bytes.count > 0 else { return true }
            let sent = creactor_send(slot.pointee.fd, base, bytes.count)
            loop.counters.systemCalls += 1
            if sent >= 0 {
                loop.counters.sends += 1
                loop.counters.bytesOut += UInt64(sent)
                slot.pointee.out.consume(sent, pool: loop.pool)
                // A short write means that the socket buffer is full: the next edge says when to go on. Asking
                // once more costs a call and gives EAGAIN.
                if slot.pointee.out.isEmpty == false { slot.pointee.flags.insert(.sendBlocked) }
            } else if sent == -Int(EAGAIN) {
                slot.pointee.flags.insert(.sendBlocked)
            } else {
                loop.didFailSending(index, errno: Int32(-sent))
                return false
            }
        }
        return true
    }

    func removeConnection(_ index: Int) {
        let slot = loop.slots.base + index
        guard slot.pointee.fd >= 0 else { return }
        // Closing the last descriptor of a socket also takes it out of the epoll set.
        creactor_close(slot.pointee.fd)
        loop.counters.systemCalls += 1
        slot.pointee.fd = -1
    }

    // MARK: Listeners

    func startAccepting(_ index: Int) {
        let listener = loop.listeners[index]
        let userData = UserData(.listener, slot: index, generation: listener.generation)
        let result = creactor_epoll_add(epoll, listener.fd, CREACTOR_READABLE, userData.rawValue)
        loop.counters.systemCalls += 1
        if result < 0 { loop.didFailAccepting(index, errno: -result) }
    }

    func pauseAccepting(_ index: Int) {
        creactor_epoll_remove(epoll, loop.listeners[index].fd)
        loop.counters.systemCalls += 1
    }

    func removeListener(_ index: Int) {
        creactor_close(loop.listeners[index].fd)
        loop.counters.systemCalls += 1
        loop.listeners[index].fd = -1
    }

    private func accept(_ userData: UserData) {
        let index = userData.slot
        for _ in 0..<EpollDriver.maximumAcceptsPerTick {
            let listener = loop.listeners[index]
            guard listener.generation == userData.generation, listener.fd >= 0 else { return }
            guard listener.isPaused == false else { return }
            let fd = creactor_accept(listener.fd)
            loop.counters.systemCalls += 1
            if fd >= 0 {
                loop.didAccept(index, fd: fd)
            } else if fd == -EAGAIN {
                return
            } else {
                loop.didFailAccepting(index, errno: -fd)
                return
            }
        }
    }

    // MARK: Foreign descriptors

    private func interest(_ entry: WatchEntry) -> UInt32 {
        (entry.wantsReadable ? CREACTOR_READABLE : 0)
            | (entry.wantsWritable ? CREACTOR_WRITABLE : 0)
    }

    func addWatch(_ index: Int) {
        let entry = loop.watches[index]
        // Without any interest it stays out of the set: hang-up and error are reported unasked and would spin.
        guard entry.wantsReadable || entry.wantsWritable else { return }
        let userData = UserData(.watch, slot: index, generation: entry.generation)
        let result = creactor_epoll_add(epoll, entry.fd, interest(entry), userData.rawValue)
        loop.counters.systemCalls += 1
        if result == 0 {
            loop.watches[index].isArmed = true
        } else {
            // A file that knows no waiting (EPERM) or a limit (ENOSPC): a descriptor that is always ready makes
            // its owner find out by reading it.
            loop.reportReadyOnce(index)
        }
    }

    func updateWatch(_ index: Int) {
        let entry = loop.watches[index]
        guard entry.isArmed else { return addWatch(index) }
        if entry.wantsReadable || entry.wantsWritable {
            let userData = UserData(.watch, slot: index, generation: entry.generation)
            creactor_epoll_modify(epoll, entry.fd, interest(entry), userData.rawValue)
            loop.counters.systemCalls += 1
        } else {
            removeWatch(index)
        }
    }

    func removeWatch(_ index: Int) {
        guard loop.watches[index].isArmed else { return }
        loop.watches[index].isArmed = false
        creactor_epoll_remove(epoll, loop.watches[index].fd)
        loop.counters.systemCalls += 1
    }
}
