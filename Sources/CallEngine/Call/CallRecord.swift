public import Protocols

/// Which way a call goes, seen from the company.
public enum CallDirection: UInt8, Sendable, CaseIterable, BitwiseCopyable {
    case unknown, inbound, outbound

    /// The word the tables and the API use.
    public var name: StaticString {
        switch self {
        case .unknown: "unknown"
        case .inbound: "inbound"
        case .outbound: "outbound"
        }
    }
}

/// Where a call stands; the four words of the contract.
///
///     ringing ──Up──▶ answered ──last channel gone──▶ finished
///        └──────────────last channel gone───────────────▲
public enum CallStatus: UInt8, Sendable, CaseIterable, BitwiseCopyable {
    case ringing, answered, finished, error

    /// The word the tables and the API use.
    public var name: StaticString {
        switch self {
        case .ringing: "ringing"
        case .answered: "answered"
        case .finished: "finished"
        case .error: "error"
        }
    }
}

/// A random (version 4) UUID as two words; the `id` of a call's row.
public struct CallUUID: Hashable, Sendable, BitwiseCopyable {
    /// Bytes 0–7, big-endian.
    public var high: UInt64
    /// Bytes 8–15, big-endian.
    public var low: UInt64

    /// Makes a version 4 UUID (RFC 9562 §5.4) of 128 random bits; six of them are overwritten.
    public init(random high: UInt64, _ low: UInt64) {
        self.high = (high & 0xFFFF_FFFF_FFFF_0FFF) | 0x4000
        self.low = (low & 0x3FFF_FFFF_FFFF_FFFF) | 0x8000_0000_0000_0000
    }

    /// Takes the words as they are, for instance from a database row.
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// The 36 characters of the usual form.
    public var string: String {
        var text: [UInt8] = []
        appendText(to: &text)
        return String(decoding: text, as: UTF8.self)
    }

    /// Appends the 36 characters of the usual form.
    public func appendText(to output: inout [UInt8]) {
        for index in 0..<16 {
            if index == 4 || index == 6 || index == 8 || index == 10 { output.append(0x2D) }
            let word = index < 8 ? high : low
            let byte = UInt8(truncatingIfNeeded: word >> UInt64((7 - (index & 7)) * 8))
            for nibble in [byte >> 4, byte & 15] {
                output.append(nibble < 10 ? 0x30 + nibble : 0x57 + nibble)
            }
        }
    }
}

/// What is known of one call: the row of table `calls`, and what readers on other threads see.
///
/// 256 bytes, trivially copyable, so that the registry publishes it word by word. Texts longer than their
/// inline room are cut here, marked in `flags`, and kept whole by the shard that owns the call.
public struct CallRecord: Sendable, BitwiseCopyable {
    /// Marks on a record.
    public struct Flags: OptionSet, Sendable, BitwiseCopyable {
        /// The bits.
        public let rawValue: UInt8
        /// Takes bits.
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        /// A text was longer than its inline room; the database row has it whole.
        public static let longTexts = Flags(rawValue: 1)
        /// `endedAt` was inferred (the end itself was not seen).
        public static let estimatedEnd = Flags(rawValue: 2)
        /// The call became part of an older call.
        public static let merged = Flags(rawValue: 4)
        /// Some of the call was not seen: its begin, or what happened while the PBX was not heard.
        public static let partial = Flags(rawValue: 8)
    }

    /// Row id.
    public var id: CallUUID
    /// PBX time of the first sign of the call.
    public var startedAt: Timestamp
    /// PBX time of the first answer; `nil` when never.
    public var answeredAt: Timestamp?
    /// PBX time of the end; `nil` while the call lives.
    public var endedAt: Timestamp?
    /// Our time of the row's creation.
    public var insertedAt: Timestamp
    /// Our time of the last change.
    public var updatedAt: Timestamp
    /// Events seen for this call.
    public var eventCount: UInt32 = 0
    /// Q.850 cause of the end; 0 when none was told.
    public var hangupCause: UInt16 = 0
    /// Channels known to be alive.
    public var openLegs: UInt16 = 0
    /// Which PBX; index into the daemon's list.
    public var pbx: UInt16 = 0
    /// Which way.
    public var direction: CallDirection = .unknown
    /// Where it stands.
    public var status: CallStatus = .ringing
    /// How it ended.
    public var outcome: CallOutcome = .none
    /// Marks.
    public var flags: Flags = []
    /// Which loop writes the call's rows, so that they reach the database in their order.
    public var writer: UInt8 = 0
    /// The call's key: linkedid, or the best the PBX gave.
    public var callID = InlineText<76>()
    /// Who called.
    public var callerNumber = InlineText<48>()
    /// Who was called.
    public var calleeNumber = InlineText<48>()

    /// A call just begun.
    public init(id: CallUUID, startedAt: Timestamp, insertedAt: Timestamp) {
        self.id = id
        self.startedAt = startedAt
        self.insertedAt = insertedAt
        self.updatedAt = insertedAt
    }
}
