extension Loop {
    /// Watches a descriptor that this loop does not own, such as libpq's socket.
    ///
    /// The handler is called again in every tick in which the descriptor is ready (level-triggered). One
    /// descriptor is watched once at a time; call `unwatch` before closing it.
    public func watch(
        _ fd: Int32, readable: Bool, writable: Bool, handler: any DescriptorHandler
    ) -> WatchID {
        nextIdentity &+= 1
        let index: Int
        if firstFreeWatch >= 0 {
            index = Int(firstFreeWatch)
            firstFreeWatch = watches[index].nextFree
            watches[index].fd = fd
            watches[index].identity = nextIdentity
            watches[index].handler = handler
        } else {
            index = watches.count
            watches.append(WatchEntry(fd: fd, handler: handler, identity: nextIdentity, generation: 1))
        }
        watches[index].wantsReadable = readable
        watches[index].wantsWritable = writable
        io.addWatch(index)
        return WatchID(index: UInt32(index), identity: nextIdentity)
    }

    /// Changes what is watched; neither is allowed, and then nothing is told.
    public func update(_ watch: WatchID, readable: Bool, writable: Bool) {
        guard let index = find(watch) else { return }
        guard watches[index].wantsReadable != readable || watches[index].wantsWritable != writable else {
            return
        }
        watches[index].wantsReadable = readable
        watches[index].wantsWritable = writable
        io.updateWatch(index)
    }

    /// Stops watching: the handler is let go and not called any more, not even for what has already happened.
    public func unwatch(_ watch: WatchID) {
        guard let index = find(watch) else { return }
        io.removeWatch(index)
        watches[index].handler = nil
        watches[index].fd = -1
        watches[index].isArmed = false
        watches[index].generation &+= 1
        watches[index].nextFree = firstFreeWatch
        firstFreeWatch = Int32(index)
    }

    private func find(_ watch: WatchID) -> Int? {
        let index = Int(watch.index)
        guard index < watches.count, watches[index].handler != nil else { return nil }
        return watches[index].identity == watch.identity ? index : nil
    }

    /// The driver's answer; stale ones (another generation) are dropped.
    func didBecomeReady(watch index: Int, generation: UInt32, readable: Bool, writable: Bool) {
        guard index < watches.count, watches[index].generation == generation else {
            counters.staleCompletions += 1
            return
        }
        let entry = watches[index]
        let (isReadable, isWritable) = (readable && entry.wantsReadable, writable && entry.wantsWritable)
        guard isReadable || isWritable else { return }
        entry.handler?.ready(readable: isReadable, writable: isWritable)
    }

    /// The kernel cannot watch this descriptor: its handler is told in the next stage that it is ready.
    func reportReadyOnce(_ index: Int) {
        readyOnce.append(WatchID(index: UInt32(index), identity: watches[index].identity))
    }

    func reportReadyOnce() {
        guard readyOnce.isEmpty == false else { return }
        let batch = readyOnce
        readyOnce.removeAll(keepingCapacity: true)
        for watch in batch {
            guard let index = find(watch) else { continue }
            let entry = watches[index]
            entry.handler?.ready(readable: entry.wantsReadable, writable: entry.wantsWritable)
        }
    }
}
