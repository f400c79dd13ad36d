import Connectors
import Glibc
import Protocols
import Reactor

/// The program `protocol-probe`: the product's readers and servers bare, for conformance suites.
///
/// It lies in the product's package, whose connections are not public, and uses nothing but its modules.
public enum ProtocolProbe {
    static let usage = """
        usage: protocol-probe json-check [--depth N]
               protocol-probe ws-echo-server --port N [--host ADDRESS] [--io auto|epoll|io_uring]
               protocol-probe ws-sink-server --port N [--host ADDRESS] [--io …]
               protocol-probe ws-echo-client --url ws://HOST:PORT/PATH [--io …]
               protocol-probe http-echo --port N [--host ADDRESS] [--io …]

        json-check      reads one JSON text (RFC 8259) from standard input
                        exit status: 0 valid, 1 not (what and where on standard error)
        ws-echo-server  RFC 6455: sends every message back; any path
        ws-sink-server  the same, and answers nothing but pings: to measure receiving
        ws-echo-client  connects and sends every message back until the connection has closed
                        exit status: 0 it was open once, 1 it never was
        http-echo       RFC 9110/9112: answers every request with its own body; method and target
                        in the fields Echo-Method and Echo-Target

        --port 0 takes any free port. The address is printed on standard output once it is listened on.
        Everything is bounded: messages and bodies 16 MiB, JSON texts 1 GiB and 128 levels.
        Exit status 2: wrong arguments or a system error.
        """

    /// Runs the program.
    ///
    /// - Parameter arguments: Without the program's name.
    /// - Returns: The exit status.
    public static func run(_ arguments: [String]) -> Int32 {
        // A peer that has gone is told by the write's result.
        signal(SIGPIPE, SIG_IGN)
        do {
            guard let command = arguments.first else { throw ProbeError(usage) }
            let options = try Options(arguments.dropFirst())
            switch command {
            case "json-check": return try JSONCheck.run(depth: options.depth)
            case "ws-echo-server": return try EchoServer.run(options, WebSocketEchoService(Echo()))
            case "ws-sink-server":
                return try EchoServer.run(options, WebSocketEchoService(Echo(sendsBack: false)))
            case "http-echo": return try EchoServer.run(options, HTTPEchoService())
            case "ws-echo-client": return try EchoClient.run(options)
            case "help", "--help":
                print(usage)
                return 0
            default: throw ProbeError("unknown command \(command)\n\(usage)")
            }
        } catch {
            note("protocol-probe: \(error)")
            return 2
        }
    }

    /// A line to standard error.
    static func note(_ text: String) {
        let line = Array("\(text)\n".utf8)
        _ = write(STDERR_FILENO, line, line.count)
    }
}

/// What ends the program: a text for people.
struct ProbeError: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

/// The command line.
struct Options {
    var depth = 128
    var host = "127.0.0.1"
    var port: UInt16?
    var url: Protocols.URL?
    var io = IOMode.auto

    init(_ arguments: ArraySlice<String>) throws(ProbeError) {
        var arguments = arguments
        while let name = arguments.popFirst() {
            guard let value = arguments.popFirst() else { throw ProbeError("\(name) wants a value") }
            switch name {
            case "--depth":
                guard let number = Int(value), (1...100_000).contains(number) else {
                    throw ProbeError("--depth wants a number from 1 to 100000")
                }
                depth = number
            case "--port":
                guard let number = UInt16(value) else {
                    throw ProbeError("--port wants a number up to 65535")
                }
                port = number
            case "--host": host = value
            case "--url":
                do throws(URLError) { url = try URL(value) } catch { throw ProbeError("--url: \(error)") }
            case "--io":
                guard let mode = IOMode(rawValue: value) else {
                    throw ProbeError("--io wants auto, epoll or io_uring")
                }
                io = mode
            default: throw ProbeError("unknown option \(name)")
            }
        }
    }
}
