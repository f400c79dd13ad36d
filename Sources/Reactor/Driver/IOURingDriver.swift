internal import CReactor
internal import Glibc

/// io_uring(7): accept and receive are armed once and go on by themselves (multishot), receiving into a ring of
/// buffers that all connections share; everything prepared in a tick is submitted by the one wait.
///
/// A slot is not reused before its last operation has ended (`inFlight`), and each completion carries the
/// slot's generation besides.
final class IOURingDriver: Driver {
    /// Completions handed out per tick; the rest waits in the completion queue.
    static let maximumCompletionsPerTick: Int32 = 1024

    let choice: DriverChoice
    /// What of io_uring is in use.
    let features: IOURingFeatures
    private let ring: OpaquePointer
    private let completions: UnsafeMutablePointer<creactor_completion>
    private var acceptsMultishot: Bool
    private var receivesMultishot: Bool
    /// Connections whose receive has ended and is to be armed again once buffers are back.
    private var rearming: [UInt32] = []
    /// Connections whose receive found no buffer, in the order in which they are armed again; those before
    /// `starvingNext` were.
    private var starving: [UInt32] = []
    private var starvingNext = 0
    /// How many of these are armed in this tick, and what says how many in the next: how many connections the
    /// buffers sufficed for, and whether they did for all.
    private var starvingShare = 1
    private var served = 0
    private var servedLast = -1
    private var ranOut = false
    /// Operations on connections that the kernel still has.
    private var outstanding = 0
    private var isShuttingDown = false
    /// The loop's eventfd.
    private var waker: Int32 = -1
    /// The loop owns its driver, so it outlives it.
    private unowned(unsafe) var owner: Loop?

    private var loop: Loop {
        guard let owner else { preconditionFailure("a driver works for a loop") }
        return owner
    }

    /// - Parameters:
    ///   - configuration: Sizes, and the features that may be tried.
    ///   - reason: Why io_uring, for the log.
    /// - Throws: `ReactorError.ioURingUnavailable` saying what the kernel refused.
    init(_ configuration: LoopConfiguration, reason: String) throws(ReactorError) {
        var options = creactor_ring_options()
        options.buffer_count = UInt32(
            clamping: min(configuration.receiveBufferCount, 32768).roundedUpToPowerOfTwo)
        options.buffer_bytes = UInt32(clamping: configuration.receiveBufferBytes)
        options.allowed = configuration.ioURingFeatures.rawValue
        options.submission_entries = configuration.submissionEntries
        options.completion_entries = configuration.completionEntries
        var ring: OpaquePointer?
        var bits: UInt32 = 0
        var failedCall: UnsafePointer<CChar>?
        let result = creactor_ring_create(&options, &ring, &bits, &failedCall)
        guard result == 0, let ring else {
            throw .ioURingUnavailable(
                IOURingDriver.explain(result, failedCall.map { String(cString: $0) } ?? ""))
        }
        self.ring = ring
        completions = .allocate(capacity: Int(IOURingDriver.maximumCompletionsPerTick))
        features = IOURingFeatures(rawValue: bits)
        acceptsMultishot = features.contains(.multishotAccept)
        receivesMultishot = features.contains(.multishotReceive)
        choice = DriverChoice(name: "io_uring", reason: reason, features: features.names)
    }

    deinit {
        creactor_ring_destroy(ring)
        completions.deallocate()
    }

    private static func explain(_ result: Int32, _ call: String) -> String {
        let text = "\(call): \(errorText(-result))"
        switch -result {
        case EPERM: return "\(text) (forbidden by seccomp or kernel.io_uring_disabled)"
        case ENOSYS: return "\(text) (the kernel has none, or it is hidden)"
        case ENOMEM: return "\(text) (limit of locked or container memory)"
        case EINVAL, EOPNOTSUPP: return "\(text) (kernel older than 5.19)"
        default: return text
        }
    }

    func bind(to loop: Loop) { owner = loop }

    // MARK: Waiting

    func addWaker(_ fd: Int32) {
        waker = fd
        submit(creactor_ring_prepare_wake(ring, fd, UserData(.wake, slot: 0, generation: 0).rawValue))
    }

    func wait(until deadline: MonotonicInstant?, gathering: MonotonicInstant?) {
        var nanoseconds = UInt64.max
        var gather: UInt64 = 0
        if deadline != nil || gathering != nil {
            let now = MonotonicInstant.now().nanoseconds
            if let deadline { nanoseconds = deadline.nanoseconds > now ? deadline.nanoseconds - now : 0 }
            if let gathering { gather = gathering.nanoseconds > now ? gathering.nanoseconds - now : 0 }
        }
        // Buffers are there again, and input for them.
        if isStarving { (nanoseconds, gather) = (0, 0) }
        let count = take(nanoseconds, gather: gather)
        loop.refreshNow()
        for index in 0..<count { dispatch(completions[index]) }
        // One store tells the kernel of all buffers of the batch; only then is arming again of use.
        creactor_ring_commit_buffers(ring)
        loop.counters.receiveBufferBytes = creactor_ring_buffer_bytes(ring)
        rearm()
    }

    private func take(_ nanoseconds: UInt64, gather: UInt64) -> Int {
        let before = creactor_ring_system_calls(ring)
        let count = creactor_ring_wait(
            ring, nanoseconds, gather, completions, IOURingDriver.maximumCompletionsPerTick)
        loop.counters.systemCalls += creactor_ring_system_calls(ring) - before
        precondition(count >= 0, "io_uring_enter failed")
        return Int(count)
    }

    private func dispatch(_ completion: creactor_completion) {
        let userData = UserData(rawValue: completion.user_data)
        switch userData.kind {
        case .receive: received(userData, completion)
        case .send: sent(userData, completion)
        case .watch: polled(userData, completion)
        case .listener: accepted(userData, completion)
        case .wake: woken(completion)
        case .cancel: notCancelled(userData)
        case .close: break  // only failures answer: the descriptor is gone all the same
        case .none: loop.counters.staleCompletions += 1
        }
    }

    private func woken(_ completion: creactor_completion) {
        // Ends only for want of memory; a write in between is found by arming again.
        if completion.more == false { addWaker(waker) }
        loop.wasWoken()
    }

    /// The shim submits early when its queue is full; what it cannot place even then is lost, and so is the loop.
    private func submit(_ result: Int32) {
        precondition(result == 0, "io_uring takes no submission")
    }

    // MARK: Receiving

    private func wantsInput(_ slot: UnsafeMutablePointer<ConnectionSlot>) -> Bool {
        guard slot.pointee.fd >= 0 else { return false }
        return slot.pointee.flags.isDisjoint(with: [.readPaused, .inputEnded, .endPending])
    }

    func addConnection(_ index: Int) {
        if wantsInput(loop.slots.base + index) { armReceive(index) }
    }

    func readingChanged(_ index: Int) {
        let slot = loop.slots.base + index
        if wantsInput(slot) {
            // While a cancellation is under way, its completion arms again.
            armReceive(index)
        } else if slot.pointee.flags.contains(.receiveArmed) {
            cancelReceive(index)
        }
    }

    private func armReceive(_ index: Int) {
        let slot = loop.slots.base + index
        guard slot.pointee.flags.contains(.receiveArmed) == false else { return }
        slot.pointee.flags.insert(.receiveArmed)
        slot.pointee.inFlight += 1
        outstanding += 1
        let userData = UserData(.receive, slot: index, generation: slot.pointee.generation)
        submit(creactor_ring_prepare_receive(ring, slot.pointee.fd, receivesMultishot, userData.rawValue))
    }

    private func cancelReceive(_ index: Int) {
        let slot = loop.slots.base + index
        guard slot.pointee.flags.contains(.receiveCancelling) == false else { return }
        slot.pointee.flags.insert(.receiveCancelling)
        let target = UserData(.receive, slot: index, generation: slot.pointee.generation)
        let answer = UserData(.cancel, slot: index, generation: slot.pointee.generation)
        submit(creactor_ring_prepare_cancel(ring, target.rawValue, answer.rawValue))
    }

    /// A cancellation found nothing, or came at a moment when it could not take hold: then it is made again.
    private func notCancelled(_ userData: UserData) {
        guard userData.generation != 0, userData.slot < loop.slots.initialised else { return }
        let slot = loop.slots.base + userData.slot
        guard slot.pointee.generation == userData.generation else { return }
        guard slot.pointee.flags.contains(.receiveCancelling) else { return }
        slot.pointee.flags.remove(.receiveCancelling)
        guard slot.pointee.flags.contains(.receiveArmed), isShuttingDown == false else { return }
        if slot.pointee.fd < 0 || wantsInput(slot) == false { cancelReceive(userData.slot) }
    }

    private func received(_ userData: UserData, _ completion: creactor_completion) {
        let index = userData.slot
        let slot = loop.slots.base + index
        guard slot.pointee.generation == userData.generation else {
            preconditionFailure("a slot was reused with an operation in flight")
        }
        if completion.more == false {
            slot.pointee.flags.subtract([.receiveArmed, .receiveCancelling])
            slot.pointee.inFlight -= 1
            outstanding -= 1
        }
        if slot.pointee.fd >= 0, isShuttingDown == false {
            handle(index, completion)
        } else {
            loop.counters.staleCompletions += 1
        }
        if completion.buffer >= 0 { creactor_ring_recycle(ring, completion.buffer) }
        if completion.more == false { settle(index, starved: completion.result == -ENOBUFS) }
    }

    private func handle(_ index: Int, _ completion: creactor_completion) {
        let result = completion.result
        if result > 0, let bytes = completion.bytes {
            if index != servedLast {
                servedLast = index
                served += 1
            }
            loop.didReceive(index, UnsafeMutableRawBufferPointer(start: bytes, count: Int(result)))
        } else if result == 0 {
            loop.didReceiveEnd(index)
        } else if result == -ENOBUFS {
            loop.counters.buffersExhausted += 1
            ranOut = true
        } else if result == -EINVAL, receivesMultishot {
            receivesMultishot = false
        } else if result != -ECANCELED, result != -EAGAIN, result != -EINTR {
            loop.didFail(index, errno: -result, call: "recv")
        }
    }

    /// The last completion of a receive: arm again, or let the slot go.
    private func settle(_ index: Int, starved: Bool) {
        let slot = loop.slots.base + index
        if slot.pointee.fd < 0 {
            if isShuttingDown == false { loop.didRelease(index) }
        } else if wantsInput(slot), slot.pointee.flags.contains(.rearm) == false {
            slot.pointee.flags.insert(.rearm)
            if starved { starving.append(UInt32(index)) } else { rearming.append(UInt32(index)) }
        }
    }

    private var isStarving: Bool { starvingNext < starving.count }

    /// Arms receives that have ended; of those that found no buffer only as many as will find one now, so that few
    /// buffers do for many busy connections.
    private func rearm() {
        for index in rearming { _ = rearm(Int(index)) }
        rearming.removeAll(keepingCapacity: true)
        starvingShare =
            ranOut ? max(1, served) : min(2 * starvingShare, Int(IOURingDriver.maximumCompletionsPerTick))
        (served, servedLast, ranOut) = (0, -1, false)
        var turns = starvingShare
        while turns > 0, isStarving {
            if rearm(Int(starving[starvingNext])) { turns -= 1 }
            starvingNext += 1
        }
        if isStarving == false {
            starving.removeAll(keepingCapacity: true)
            starvingNext = 0
        } else if starvingNext >= 1024, 2 * starvingNext >= starving.count {
            starving.removeFirst(starvingNext)
            starvingNext = 0
        }
    }

    /// Whether it was armed: it may be paused or gone by now.
    private func rearm(_ index: Int) -> Bool {
        let slot = loop.slots.base + index
        guard slot.pointee.flags.contains(.rearm) else { return false }
        slot.pointee.flags.remove(.rearm)
        guard wantsInput(slot) else { return false }
        armReceive(index)
        return true
    }

    // MARK: Sending

    func flush(_ index: Int) -> Bool {
        let slot = loop.slots.base + index
        guard slot.pointee.flags.contains(.sendInFlight) == false else { return true }
        if slot.pointee.flying.isEmpty { swap(&slot.pointee.flying, &slot.pointee.out) }
        let bytes = slot.pointee.flying.bytes
        guard let base = bytes.baseAddress, bytes.count > 0 else { return true }
        slot.pointee.flags.insert(.sendInFlight)
        slot.pointee.inFlight += 1
        outstanding += 1
        let userData = UserData(.send, slot: index, generation: slot.pointee.generation)
        submit(creactor_ring_prepare_send(ring, slot.pointee.fd, base, bytes.count, userData.rawValue))
        return true
    }

    private func sent(_ userData: UserData, _ completion: creactor_completion) {
        let index = userData.slot
        let slot = loop.slots.base + index
        guard slot.pointee.generation == userData.generation else {
            preconditionFailure("a slot was reused with an operation in flight")
        }
        slot.pointee.flags.remove(.sendInFlight)
        slot.pointee.inFlight -= 1
        outstanding -= 1
        guard slot.pointee.fd >= 0, isShuttingDown == false else {
            loop.counters.staleCompletions += 1
            if isShuttingDown == false { loop.didRelease(index) }
            return
        }
        let result = completion.result
        if result >= 0 {
            loop.counters.sends += 1
            loop.counters.bytesOut += UInt64(result)
            slot.pointee.flying.consume(Int(result), pool: loop.pool)
        } else if result != -ECANCELED, result != -EAGAIN, result != -EINTR {
            loop.didFailSending(index, errno: -result)
            guard slot.pointee.generation == userData.generation, slot.pointee.fd >= 0 else { return }
        }
        // Goes on at the end of this tick, together with what is queued until then.
        loop.markDirty(index)
    }

    // MARK: The end of a connection

    func removeConnection(_ index: Int) {
        let slot = loop.slots.base + index
        guard slot.pointee.fd >= 0 else { return }
        if slot.pointee.flags.contains(.receiveArmed) { cancelReceive(index) }
        if slot.pointee.flags.contains(.sendInFlight) {
            let target = UserData(.send, slot: index, generation: slot.pointee.generation)
            submit(creactor_ring_prepare_cancel(ring, target.rawValue, UserData.cancel.rawValue))
        }
        submit(creactor_ring_prepare_close(ring, slot.pointee.fd, UserData.close.rawValue))
        slot.pointee.fd = -1
    }

    func shutDown() {
        isShuttingDown = true
        // Sends still read from our memory until they have ended; cancelled ones end in the next wait.
        for _ in 0..<100 {
            let count = take(outstanding > 0 ? 10_000_000 : 0, gather: 0)
            for index in 0..<count {
                let userData = UserData(rawValue: completions[index].user_data)
                switch userData.kind {
                case .receive: received(userData, completions[index])
                case .send: sent(userData, completions[index])
                case .listener where completions[index].result >= 0: creactor_close(completions[index].result)
                case .listener, .watch, .wake, .cancel, .close, .none: break
                }
            }
            if outstanding == 0 { break }
        }
    }

    // MARK: Listeners

    func startAccepting(_ index: Int) {
        let listener = loop.listeners[index]
        guard listener.isArmed == false else { return }
        loop.listeners[index].isArmed = true
        let userData = UserData(.listener, slot: index, generation: listener.generation)
        submit(creactor_ring_prepare_accept(ring, listener.fd, acceptsMultishot, userData.rawValue))
    }

    func pauseAccepting(_ index: Int) {
        guard loop.listeners[index].isArmed else { return }
        let target = UserData(.listener, slot: index, generation: loop.listeners[index].generation)
        submit(creactor_ring_prepare_cancel(ring, target.rawValue, UserData.cancel.rawValue))
    }

    func removeListener(_ index: Int) {
        pauseAccepting(index)
        // The cancellation takes effect with the next wait; the peers shall be refused from now on.
        creactor_shutdown_listener(loop.listeners[index].fd)
        loop.counters.systemCalls += 1
        submit(creactor_ring_prepare_close(ring, loop.listeners[index].fd, UserData.close.rawValue))
        loop.listeners[index].fd = -1
    }

    private func accepted(_ userData: UserData, _ completion: creactor_completion) {
        let index = userData.slot
        let isCurrent = loop.listeners[index].generation == userData.generation
        if isCurrent, completion.more == false { loop.listeners[index].isArmed = false }
        let result = completion.result
        if result >= 0 {
            if isCurrent { loop.didAccept(index, fd: result) } else { creactor_close(result) }
        } else if isCurrent, loop.listeners[index].accept != nil {
            if result == -EINVAL, acceptsMultishot {
                acceptsMultishot = false
            } else if result != -ECANCELED {
                loop.didFailAccepting(index, errno: -result)
            }
        }
        let listener = loop.listeners[index]
        let goesOn = listener.generation == userData.generation && listener.accept != nil
        if goesOn, listener.isPaused == false, listener.isArmed == false { startAccepting(index) }
    }

    // MARK: Foreign descriptors

    // One answer per arming, armed again after the handler: that is what level-triggered means, and costs a
    // submission but no system call.

    func addWatch(_ index: Int) {
        let entry = loop.watches[index]
        guard entry.isArmed == false, entry.wantsReadable || entry.wantsWritable else { return }
        loop.watches[index].isArmed = true
        let events =
            (entry.wantsReadable ? CREACTOR_READABLE : 0) | (entry.wantsWritable ? CREACTOR_WRITABLE : 0)
        let userData = UserData(.watch, slot: index, generation: entry.generation)
        submit(creactor_ring_prepare_poll(ring, entry.fd, events, userData.rawValue))
    }

    func updateWatch(_ index: Int) {
        removeWatch(index)
        addWatch(index)
    }

    func removeWatch(_ index: Int) {
        guard loop.watches[index].isArmed else { return }
        let target = UserData(.watch, slot: index, generation: loop.watches[index].generation)
        submit(creactor_ring_prepare_cancel(ring, target.rawValue, UserData.cancel.rawValue))
        loop.watches[index].isArmed = false
        // An answer already on its way belongs to the old interest.
        loop.watches[index].generation &+= 1
    }

    private func polled(_ userData: UserData, _ completion: creactor_completion) {
        let index = userData.slot
        guard index < loop.watches.count, loop.watches[index].generation == userData.generation else {
            loop.counters.staleCompletions += 1
            return
        }
        loop.watches[index].isArmed = false
        let identity = loop.watches[index].identity
        let events = creactor_ring_poll_events(completion.result)
        let failed = events & CREACTOR_FAILED != 0
        loop.didBecomeReady(
            watch: index, generation: userData.generation,
            readable: failed || events & CREACTOR_READABLE != 0,
            writable: failed || events & CREACTOR_WRITABLE != 0)
        guard loop.watches[index].identity == identity, loop.watches[index].handler != nil else { return }
        if loop.watches[index].isArmed == false { addWatch(index) }
    }
}

extension UserData {
    /// For operations whose success is not reported and whose failure means nothing.
    fileprivate static let cancel = UserData(.cancel, slot: 0, generation: 0)
    fileprivate static let close = UserData(.close, slot: 0, generation: 0)
}

extension Int {
    fileprivate var roundedUpToPowerOfTwo: Int {
        var value = 1
        while value < self { value *= 2 }
        return value
    }
}
