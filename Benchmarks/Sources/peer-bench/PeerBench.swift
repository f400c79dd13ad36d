import BenchSupport
import Glibc

/// Measures readers of JSON beside each other, in one run: see `usage`.
@main
struct PeerBench {
    static let usage = """
        usage: peer-bench [--rounds N] [LIBRARY …]

        Reads 13 fields of each event of recorded ARI streams with the product's scanner, with each LIBRARY (made of
        Benchmarks/Peers/simdjson_peer.cpp) and with Foundation, in turns on one thread, and prints a Markdown table.

          --rounds N   timed rounds (40)
        """

    static func main() {
        do {
            var rounds = 40
            var libraries: [String] = []
            var arguments = CommandLine.arguments.dropFirst()
            while let argument = arguments.popFirst() {
                switch argument {
                case "--help": return print(usage)
                case "--rounds":
                    guard let number = arguments.popFirst().flatMap({ Int($0) }),
                        (1...10_000).contains(number)
                    else {
                        throw BenchError("--rounds wants a number from 1 to 10000")
                    }
                    rounds = number
                default: libraries.append(argument)
                }
            }
            let input = try PeerInput(["burst-1000", "attended-transfer-suball", "dialplan-dial-suball"])
            var readers: [any PeerReader] = [ScannerReader()]
            for library in libraries {
                let loaded = try LoadedLibrary(library)
                for way in LoadedLibrary.Way.allCases { readers.append(try loaded.reader(way)) }
            }
            readers += [FoundationReader(.tree), FoundationReader(.structures)]
            try run(readers, input, rounds)
        } catch let error as BenchError {
            Files.note("peer-bench: \(error.text)")
            exit(2)
        } catch {
            Files.note("peer-bench: \(error)")
            exit(2)
        }
    }

    private static func run(_ readers: [any PeerReader], _ input: PeerInput, _ rounds: Int) throws(BenchError)
    {
        var times = [[Double]](repeating: [], count: readers.count)
        for (index, reader) in readers.enumerated() {
            // Once to warm up, and to see that all find the same.
            let found = try reader.play(input, share: 1)
            guard found == input.fields || index > 0 else {
                throw BenchError("\(reader.name) found \(found) fields, not \(input.fields)")
            }
            if found != input.fields {
                Files.note("\(reader.name) found \(found) fields, not \(input.fields)")
            }
        }
        for _ in 0..<rounds {
            for (index, reader) in readers.enumerated() {
                let start = ThreadTime.now
                _ = try reader.play(input, share: reader.share)
                let events = Double(input.events.count / reader.share)
                times[index].append((ThreadTime.now - start) / events)
            }
        }
        let medians = times.map { $0.sorted()[$0.count / 2] }
        print("| reader | checks | ns/event | events/s | GB/s | the scanner is faster by |")
        print("| --- | --- | ---: | ---: | ---: | ---: |")
        for (index, reader) in readers.enumerated() {
            let median = medians[index]
            let rate = Double(input.bytes) / Double(input.events.count) / median
            print(
                "| \(reader.name) | \(reader.checks) | \(tenths(median)) | \(Int(1e9 / median)) | \(hundredths(rate)) "
                    + "| \(index == 0 ? "" : hundredths(median / medians[0]) + " ×") |")
        }
    }

    private static func tenths(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }
    private static func hundredths(_ value: Double) -> String { "\((value * 100).rounded() / 100)" }
}
