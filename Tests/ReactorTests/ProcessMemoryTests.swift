import Testing

@testable import Reactor

@Suite("Memory that nobody uses")
struct ProcessMemoryTests {
    @Test(
        "between what is used goes back to the system",
        .enabled(if: !Sanitizer.isOn, "of the C library's allocator"))
    func releaseFree() throws {
        // Of each hundred blocks one stays, so that no end of the heap is free as a whole.
        var blocks: [[UInt8]] = []
        for number in 0..<64_000 {
            blocks.append([UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 1000))
        }
        let full = try #require(ProcessMemory.residentBytes)
        let kept = stride(from: 0, to: blocks.count, by: 100).map { blocks[$0] }
        blocks = []
        #expect(!ProcessMemory.releaseFree(atLeast: 1 << 40))
        #expect(ProcessMemory.releaseFree(atLeast: 32 << 20))
        let after = try #require(ProcessMemory.residentBytes)
        #expect(after < full - (32 << 20), "\(full) bytes before, \(after) after")
        #expect(
            kept.enumerated().allSatisfy {
                $0.element.allSatisfy { [number = $0.offset * 100] byte in
                    byte == UInt8(truncatingIfNeeded: number)
                }
            })
    }
}
