import Foundation
import Testing

@testable import Reactor

@Suite("Pages of the program that only its start needed")
struct ProgramPagesTests {
    /// Pages of files in memory, of this process, in bytes.
    private static func residentFileBytes() throws -> Int {
        let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("RssFile:") })
        return try #require(Int(line.split(separator: " ")[1])) * 1024
    }

    @Test("go, and everything works as before: code, constants, what was relocated")
    func release() throws {
        let words = (0..<2000).map { "word \($0)" }
        let before = try Self.residentFileBytes()
        #expect(ProgramPages.release() > 1 << 20)
        let after = try Self.residentFileBytes()
        #expect(after < before / 2, "\(before) bytes before, \(after) after")
        // Other libraries, their tables and a thread.
        #expect(try JSONEncoder().encode(words).count > 20_000)
        let loop = try Loop()
        var fired = 0
        for delay in 0..<100 { loop.schedule(after: .microseconds(delay)) { fired += 1 } }
        while fired < 100 { loop.runOnce(maximumWait: .milliseconds(10)) }
        loop.stop()
        for _ in 0..<100 { ProgramPages.release() }
        #expect(words.last == "word 1999")
    }
}
