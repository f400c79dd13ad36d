import BenchSupport
import Foundation
import Glibc
import Protocols

/// The product's scanner.
struct ScannerReader: PeerReader {
    let name = "JSONFieldScanner"
    let checks = "all"
    let share = 1
    private let scanner = JSONFieldScanner(JSONFieldPlan(PeerInput.paths))

    func play(_ input: PeerInput, share: Int) throws(BenchError) -> Int {
        var found = 0
        let bytes = input.payloads.span.bytes
        var index = 0
        while index < input.events.count {
            do throws(JSONError) {
                _ = try scanner.scan(bytes.extracting(input.events[index]))
            } catch { throw BenchError("\(name): \(error)") }
            for path in 0..<13 where scanner[path].isPresent { found += 1 }
            index += share
        }
        return found
    }
}

/// A library made of `Benchmarks/Peers/simdjson_peer.cpp`.
struct LoadedLibrary {
    enum Way: String, CaseIterable {
        case raw, strings, every, whole
    }

    /// A place and a size, as the library's C structure.
    struct Place {
        var offset: UInt32 = 0
        var count: UInt32 = 0
    }

    typealias Read = @convention(c) (UnsafePointer<CChar>, Int, UnsafeMutableRawPointer) -> CInt
    private let handle: UnsafeMutableRawPointer
    private let title: String

    init(_ path: String) throws(BenchError) {
        // Local: several versions of one library have the same names within.
        guard let handle = dlopen(path, RTLD_NOW | RTLD_LOCAL) else {
            throw BenchError(String(cString: dlerror()))
        }
        self.handle = handle
        typealias Text = @convention(c) () -> UnsafePointer<CChar>
        guard let name = dlsym(handle, "peer_name"), let kernel = dlsym(handle, "peer_kernel") else {
            throw BenchError("\(path) is no peer")
        }
        title =
            String(cString: unsafeBitCast(name, to: Text.self)())
            + ", " + String(cString: unsafeBitCast(kernel, to: Text.self)())
    }

    func reader(_ way: Way) throws(BenchError) -> Reader {
        guard let symbol = dlsym(handle, "peer_read_\(way.rawValue)") else {
            throw BenchError("a peer lacks \(way)")
        }
        let (name, checks) =
            switch way {
            case .raw: ("on-demand, raw tokens", "UTF-8")
            case .strings: ("on-demand, strings", "UTF-8, the fields, what is passed on the way")
            case .every: ("on-demand, every value", "all")
            case .whole: ("DOM", "all")
            }
        return Reader(name: "\(title), \(name)", checks: checks, read: unsafeBitCast(symbol, to: Read.self))
    }

    struct Reader: PeerReader {
        let name: String
        let checks: String
        let share = 1
        let read: Read

        func play(_ input: PeerInput, share: Int) throws(BenchError) -> Int {
            var found = 0
            var failed = false
            var places = [Place](repeating: Place(), count: 16)
            input.payloads.withUnsafeBytes { bytes in
                guard let base = bytes.baseAddress?.assumingMemoryBound(to: CChar.self) else { return }
                var index = 0
                while index < input.events.count {
                    let range = input.events[index]
                    if read(base + range.lowerBound, range.count, &places) != 0 { failed = true }
                    for path in 0..<13 where places[path].offset > 0 { found += 1 }
                    index += share
                }
            }
            if failed { throw BenchError("\(name) refuses an event") }
            return found
        }
    }
}

/// Foundation's readers.
struct FoundationReader: PeerReader {
    enum Way {
        case tree, structures
    }

    private let way: Way
    var name: String { way == .tree ? "Foundation JSONSerialization" : "Foundation JSONDecoder" }
    let checks = "all"
    let share = 40

    init(_ way: Way) { self.way = way }

    private struct Event: Decodable {
        struct Party: Decodable {
            var number: String?
            var name: String?
        }
        struct Dialplan: Decodable {
            var context: String?
            var exten: String?
        }
        struct Channel: Decodable {
            var id: String?
            var name: String?
            var state: String?
            var creationtime: String?
            var caller: Party?
            var connected: Party?
            var dialplan: Dialplan?
            var channelvars: [String: String]?
        }
        struct Bridge: Decodable { var id: String? }
        var type: String?
        var timestamp: String?
        var bridge: Bridge?
        var channel: Channel?
    }

    func play(_ input: PeerInput, share: Int) throws(BenchError) -> Int {
        var found = 0
        let decoder = JSONDecoder()
        var index = 0
        while index < input.events.count {
            let data = Data(input.payloads[input.events[index]])
            do {
                found += way == .tree ? try tree(data) : try structures(data, decoder)
            } catch { throw BenchError("\(name): \(error)") }
            index += share
        }
        return found
    }

    private func tree(_ data: Data) throws -> Int {
        let root = try JSONSerialization.jsonObject(with: data)
        var found = 0
        for path in PeerInput.paths {
            var value: Any? = root
            for key in path { value = (value as? [String: Any])?[key] }
            if value is String { found += 1 }
        }
        return found
    }

    private func structures(_ data: Data, _ decoder: JSONDecoder) throws -> Int {
        let event = try decoder.decode(Event.self, from: data)
        let channel = event.channel
        let texts = [
            event.type, event.timestamp, event.bridge?.id, channel?.id, channel?.name, channel?.state,
            channel?.creationtime, channel?.caller?.number, channel?.caller?.name, channel?.connected?.number,
            channel?.dialplan?.context, channel?.dialplan?.exten, channel?.channelvars?["CHANNEL(linkedid)"],
        ]
        return texts.count { $0 != nil }
    }
}
