#if canImport(Glibc)
import Glibc
#endif

/// SplitMix64: small, fast, and the same everywhere for the same seed.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }

    /// The seed of this run, `SEED=` of the environment or else the clock.
    ///
    /// Tests name it in what fails.
    static let runSeed: UInt64 = {
        if let text = getenv("SEED"), let seed = UInt64(String(cString: text)) { return seed }
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return UInt64(now.tv_nsec) ^ UInt64(now.tv_sec) << 20
    }()
}

/// Bytes of text.
func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
