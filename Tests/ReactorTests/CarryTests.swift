import Reactor
import Testing

/// Messages of four bytes length, big-endian, and that many bytes: the simplest framing that can be cut.
final class Framed {
    var messages: [[UInt8]] = []
    /// Whether it says how much it needs.
    let tellsNeeded: Bool
    let probe = Probe()

    init(tellsNeeded: Bool) {
        self.tellsNeeded = tellsNeeded
        probe.onReceived = { [unowned self] bytes, _ in take(bytes) }
    }

    static func encode(_ message: [UInt8]) -> [UInt8] {
        let count = UInt32(message.count)
        return [UInt8(count >> 24), UInt8(count >> 16 & 0xff), UInt8(count >> 8 & 0xff), UInt8(count & 0xff)]
            + message
    }

    private func take(_ bytes: [UInt8]) -> Consumed {
        var used = 0
        while bytes.count - used >= 4 {
            let length = bytes[used..<used + 4].reduce(0) { $0 << 8 | Int($1) }
            guard bytes.count - used >= 4 + length else {
                return Consumed(used, needed: tellsNeeded ? 4 + length : 0)
            }
            messages.append(Array(bytes[used + 4..<used + 4 + length]))
            used += 4 + length
        }
        return Consumed(used, needed: tellsNeeded && used < bytes.count ? 4 : 0)
    }
}

extension ReactorSuites {
    @Suite("Unused bytes are carried over and presented again")
    struct CarryTests {
        @Test(
            "messages cut after every byte", arguments: Drivers.present, [true, false])
        func cutEverywhere(_ mode: IOMode, _ tellsNeeded: Bool) throws {
            let bench = try Bench(mode)
            let framed = Framed(tellsNeeded: tellsNeeded)
            let (_, client) = try bench.pair(server: framed.probe)
            let messages = [pattern(0), pattern(1), pattern(7), pattern(30)]
            let stream = messages.flatMap(Framed.encode)
            for cut in 1..<stream.count {
                framed.messages = []
                client.connection?.send(Array(stream[..<cut]))
                let before = framed.probe.presented.count
                bench.run { framed.probe.presented.count > before }
                client.connection?.send(Array(stream[cut...]))
                bench.run { framed.messages.count == messages.count }
                #expect(framed.messages == messages, "cut after \(cut) bytes")
            }
        }

        @Test("one byte at a time", arguments: Drivers.present, [true, false])
        func byteByByte(_ mode: IOMode, _ tellsNeeded: Bool) throws {
            let bench = try Bench(mode)
            let framed = Framed(tellsNeeded: tellsNeeded)
            let (_, client) = try bench.pair(server: framed.probe)
            let messages = [pattern(5), pattern(40, seed: 3)]
            var received: UInt64 = 0
            for byte in messages.flatMap(Framed.encode) {
                client.connection?.send([byte])
                received += 1
                bench.run { bench.loop.counters.bytesIn >= received }
            }
            #expect(framed.messages == messages)
            if tellsNeeded {
                // Completed to what was asked for before it is presented again: length, message; twice.
                #expect(framed.probe.presented.filter { $0 > 1 } == [4, 9, 4, 44])
            }
        }

        @Test("a message larger than any buffer", arguments: Drivers.present, [true, false])
        func large(_ mode: IOMode, _ tellsNeeded: Bool) throws {
            let bench = try Bench(mode)
            let framed = Framed(tellsNeeded: tellsNeeded)
            let (_, client) = try bench.pair(server: framed.probe)
            let messages = [pattern(3 << 20), pattern(10), pattern(100_000, seed: 5)]
            for message in messages { client.connection?.send(Framed.encode(message)) }
            bench.run { framed.messages.count == messages.count }
            #expect(framed.messages == messages)
        }

        @Test("after the carry is complete, the rest is presented where it lies", arguments: Drivers.present)
        func carryEndsAtItsMessage(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let framed = Framed(tellsNeeded: true)
            let (_, client) = try bench.pair(server: framed.probe)
            let first = Framed.encode(pattern(1000))
            let rest = Framed.encode(pattern(2000))
            client.connection?.send(Array(first[..<600]))
            bench.run { framed.probe.presented == [600] }
            let carried = bench.loop.counters.carriedBytes
            #expect(carried == 600)
            client.connection?.send(Array(first[600...]) + rest)
            bench.run { framed.messages.count == 2 }
            #expect(framed.probe.presented == [600, first.count, rest.count])
            #expect(bench.loop.counters.carriedBytes == UInt64(first.count))
        }

        @Test("a whole message is never copied", arguments: Drivers.present)
        func noCopy(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let framed = Framed(tellsNeeded: true)
            let (_, client) = try bench.pair(server: framed.probe)
            for index in 0..<50 {
                client.connection?.send(Framed.encode(pattern(index * 10)))
                bench.run { framed.messages.count == index + 1 }
            }
            #expect(bench.loop.counters.carriedBytes == 0)
        }

        @Test("too much left unused closes the connection", arguments: Drivers.present)
        func overflow(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let server = Probe()
            server.onReceived = { _, _ in Consumed(0) }
            var options = ListenOptions()
            options.maximumCarryBytes = 10_000
            let (_, client) = try bench.pair(listen: options, server: server)
            client.connection?.send(pattern(9_000))
            bench.run { server.presented.count == 1 }
            #expect(server.isClosed == false)
            client.connection?.send(pattern(2_000))
            bench.run { server.isClosed && client.isClosed }
            #expect(server.reason == .carryOverflow)
            #expect(server.closes == 1)
        }

        @Test("a message announced as too large is refused before its bytes come", arguments: Drivers.present)
        func announcedTooLarge(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let framed = Framed(tellsNeeded: true)
            var options = ListenOptions()
            options.maximumCarryBytes = 1 << 20
            let (_, client) = try bench.pair(listen: options, server: framed.probe)
            client.connection?.send([0x7f, 0xff, 0xff, 0xff, 1])
            bench.run { framed.probe.isClosed }
            #expect(framed.probe.reason == .carryOverflow)
            #expect(framed.messages.isEmpty)
        }

        @Test(
            "one message at a time: use, pause, resume, without new bytes from the peer",
            arguments: Drivers.present)
        func pauseBetweenMessages(_ mode: IOMode) throws {
            let bench = try Bench(mode)
            let server = Probe()
            var lines: [[UInt8]] = []
            server.onReceived = { bytes, connection in
                guard let end = bytes.firstIndex(of: 10) else { return Consumed(0) }
                lines.append(Array(bytes[..<end]))
                connection.pauseReading()
                return Consumed(end + 1)
            }
            let (_, client) = try bench.pair(server: server)
            client.connection?.send(Array("one\ntwo\nthree\n".utf8))
            for (index, word) in ["one", "two", "three"].enumerated() {
                bench.run { lines.count == index + 1 }
                bench.settle(.milliseconds(5))
                #expect(lines.count == index + 1)
                #expect(lines.last == Array(word.utf8))
                server.connection?.resumeReading()
            }
            client.connection?.close()
            bench.run { server.isClosed }
            #expect(server.inputEnds == 1)
        }
    }
}
