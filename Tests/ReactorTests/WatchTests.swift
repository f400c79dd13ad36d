import Glibc
import Reactor
import Testing

/// Tells what it hears to a closure, which is to hold neither the watcher nor its bench.
private final class Watcher: DescriptorHandler {
    var calls: [(readable: Bool, writable: Bool)] = []
    var onReady: (Bool, Bool) -> Void = { _, _ in }

    func ready(readable: Bool, writable: Bool) {
        calls.append((readable, writable))
        onReady(readable, writable)
    }
}

/// A pipe, closed with it.
private final class Pipe {
    private(set) var readEnd: Int32 = -1
    private(set) var writeEnd: Int32 = -1

    init() {
        var ends: [Int32] = [-1, -1]
        #expect(pipe(&ends) == 0)
        (readEnd, writeEnd) = (ends[0], ends[1])
        _ = fcntl(readEnd, F_SETFL, O_NONBLOCK)
        _ = fcntl(writeEnd, F_SETFL, O_NONBLOCK)
    }

    func write(_ count: Int) { _ = Glibc.write(writeEnd, [UInt8](repeating: 1, count: count), count) }

    func read(_ count: Int) -> Int {
        var buffer = [UInt8](repeating: 0, count: count)
        return Glibc.read(readEnd, &buffer, count)
    }

    func closeWriteEnd() {
        close(writeEnd)
        writeEnd = -1
    }

    deinit {
        close(readEnd)
        if writeEnd >= 0 { close(writeEnd) }
    }
}

extension ReactorSuites {
    @Suite("Foreign descriptors are watched level-triggered")
    struct WatchTests {
        @Test("told again as long as bytes are left", arguments: Drivers.present)
        func level(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let pipe = Pipe()
            let watcher = Watcher()
            var read = 0
            watcher.onReady = { _, _ in read += pipe.read(10) }
            let watch = bench.loop.watch(pipe.readEnd, readable: true, writable: false, handler: watcher)
            bench.settle(.milliseconds(5))
            #expect(watcher.calls.isEmpty)
            pipe.write(95)
            bench.run { read == 95 }
            bench.settle(.milliseconds(5))
            #expect(watcher.calls.count == 10)
            #expect(watcher.calls.allSatisfy { $0.readable && $0.writable == false })
            bench.loop.unwatch(watch)
        }

        @Test("interest changes, from inside the handler too", arguments: Drivers.present)
        func update(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let pipe = Pipe()
            let watcher = Watcher()
            let watch = bench.loop.watch(pipe.writeEnd, readable: false, writable: true, handler: watcher)
            watcher.onReady = { [unowned bench, unowned watcher] _, _ in
                if watcher.calls.count == 3 { bench.loop.update(watch, readable: false, writable: false) }
            }
            bench.run { watcher.calls.count == 3 }
            bench.settle(.milliseconds(5))
            #expect(watcher.calls.count == 3)
            bench.loop.update(watch, readable: false, writable: true)
            bench.run { watcher.calls.count > 3 }
            bench.loop.unwatch(watch)
            let count = watcher.calls.count
            bench.settle(.milliseconds(5))
            #expect(watcher.calls.count == count)
            #expect(watcher.calls.allSatisfy { $0.writable })
        }

        @Test("hang-up is told, and does not spin without interest", arguments: Drivers.present)
        func hangUp(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let pipe = Pipe()
            let watcher = Watcher()
            let watch = bench.loop.watch(pipe.readEnd, readable: false, writable: false, handler: watcher)
            pipe.closeWriteEnd()
            let before = bench.loop.counters.ticks
            bench.loop.runOnce(maximumWait: .milliseconds(20))
            bench.loop.runOnce(maximumWait: .milliseconds(20))
            #expect(bench.loop.counters.ticks - before == 2)
            #expect(watcher.calls.isEmpty)
            watcher.onReady = { [unowned bench] _, _ in bench.loop.unwatch(watch) }
            bench.loop.update(watch, readable: true, writable: false)
            bench.run { watcher.calls.count == 1 }
            #expect(pipe.read(1) == 0)
        }

        @Test("unwatching another in the same batch keeps it from being told", arguments: Drivers.present)
        func unwatchAnother(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let pipes = [Pipe(), Pipe()]
            let watchers = [Watcher(), Watcher()]
            var ids: [WatchID] = []
            for index in 0...1 {
                ids.append(
                    bench.loop.watch(
                        pipes[index].readEnd, readable: true, writable: false, handler: watchers[index]))
                watchers[index].onReady = { [unowned bench] _, _ in for id in ids { bench.loop.unwatch(id) } }
            }
            bench.settle(.milliseconds(2))
            for pipe in pipes { pipe.write(1) }
            bench.run { watchers[0].calls.count + watchers[1].calls.count > 0 }
            bench.settle(.milliseconds(5))
            #expect(watchers[0].calls.count + watchers[1].calls.count == 1)
        }

        @Test("a descriptor number used again belongs to its new owner", arguments: Drivers.present)
        func reusedNumber(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            for _ in 0..<20 {
                let old = Watcher()
                var pipe: Pipe? = Pipe()
                if let fd = pipe?.readEnd {
                    let watch = bench.loop.watch(fd, readable: true, writable: false, handler: old)
                    pipe?.write(1)
                    bench.loop.unwatch(watch)
                }
                pipe = nil
                let fresh = Pipe()
                let new = Watcher()
                let watch = bench.loop.watch(fresh.readEnd, readable: true, writable: false, handler: new)
                new.onReady = { _, _ in _ = fresh.read(10) }
                bench.loop.runOnce(maximumWait: .zero)
                fresh.write(1)
                bench.run { new.calls.count == 1 }
                bench.loop.unwatch(watch)
                #expect(old.calls.isEmpty)
            }
        }

        @Test("a handler is let go with its watch")
        func releases() throws {
            let bench = try Bench(.epoll)
            let pipe = Pipe()
            weak var weakly: Watcher?
            var watch: WatchID?
            do {
                let watcher = Watcher()
                weakly = watcher
                watch = bench.loop.watch(pipe.readEnd, readable: true, writable: false, handler: watcher)
            }
            #expect(weakly != nil)
            if let watch { bench.loop.unwatch(watch) }
            #expect(weakly == nil)
            if let watch { bench.loop.update(watch, readable: true, writable: true) }
        }
    }
}
