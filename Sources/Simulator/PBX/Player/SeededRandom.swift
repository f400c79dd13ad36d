/// Random numbers that are the same for the same seed on every machine: SplitMix64.
///
/// Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators" (OOPSLA 2014).
package struct SeededRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    /// Starts the sequence of `seed`.
    package init(seed: UInt64) { state = seed }

    /// Starts a sequence of its own for the `index`th thing made from `seed`.
    package init(seed: UInt64, index: UInt64) {
        var mixer = SeededRandom(seed: seed)
        state = mixer.next() ^ (index &* 0xD6E8_FEB8_6659_FD93)
    }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }

    /// A number from 0 up to, but not including, `bound`; 0 when `bound` is 0.
    ///
    /// The bias is below 2⁻³².
    mutating func below(_ bound: UInt32) -> UInt32 {
        UInt32(truncatingIfNeeded: ((next() >> 32) &* UInt64(bound)) >> 32)
    }

    /// A number of the closed range; the range must span less than 2³².
    mutating func number(in range: ClosedRange<Int>) -> Int {
        range.lowerBound + Int(below(UInt32(clamping: range.upperBound - range.lowerBound + 1)))
    }

    /// A number of [0, 1).
    mutating func fraction() -> Double { Double(next() >> 11) * 0x1p-53 }
}
