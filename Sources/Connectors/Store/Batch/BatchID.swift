/// Names a batch for good: over lost connections, in the spool, and after a restart.
///
/// A database that commits the batch notes this name in the same transaction, so whoever asks later learns
/// whether it was committed (`docs/adr/0008-commit-ledger.md`).
package struct BatchID: Hashable, Sendable {
    /// One shard's writing in one run of the process: random, its low `linkBits` zero.
    package var writer: UInt64
    /// Counts from 1.
    package var number: Int64

    /// Takes both.
    package init(writer: UInt64, number: Int64) {
        self.writer = writer
        self.number = number
    }

    /// Low bits of a writer's name that its connections use to tell themselves apart.
    package static let linkBits: UInt64 = 4

    /// A writer's name out of random bits.
    package static func writer(random: UInt64) -> UInt64 { (random >> linkBits) << linkBits }

    /// How the ledger spells a writer.
    static func name(of writer: UInt64) -> String { String(writer, radix: 16) }

    /// How the ledger and a dead letter spell the writer.
    var writerName: String { Self.name(of: writer) }

    /// The same as bytes; each batch needs it.
    var writerNameBytes: [UInt8] {
        let digits = max(1, (64 - writer.leadingZeroBitCount + 3) / 4)
        return [UInt8](unsafeUninitializedCapacity: digits) { bytes, count in
            for index in 0..<digits {
                let digit = UInt8(truncatingIfNeeded: writer >> UInt64((digits - 1 - index) * 4)) & 15
                bytes[index] = digit < 10 ? 0x30 + digit : 0x57 + digit
            }
            count = digits
        }
    }
}
