/// What differs from call to call, and so is a hole in a template.
package enum CallValue: UInt8, CaseIterable, Sendable {
    /// Time of the event, as ARI writes it.
    case now
    /// Unique ids of the channels in the order of their creation; the first is the call's linkedid.
    case channelA, channelB, channelC
    /// Eight hexadecimal digits that end a channel's name.
    case ordinalA, ordinalB, ordinalC
    /// Creation times of the channels.
    case createdA, createdB, createdC
    /// SIP Call-IDs, ARI's `protocol_id`.
    case callIDA, callIDB, callIDC
    /// Who calls: number, and name with JSON's escapes applied.
    case callerNumber, callerName
    /// The number that was dialled.
    case dialled
    /// Extensions of the first and the second telephone of the company.
    case agentA, agentB
    /// Bridges and their creation times.
    case bridgeA, bridgeACreated, bridgeB, bridgeBCreated

    /// Room for one value: the longest is a caller's name.
    static let maximumBytes = 64

    /// This value's bit in a set.
    var mask: UInt32 { 1 << UInt32(rawValue) }
}

/// A text with holes, written as a string literal: `"PJSIP/trunk-\(.ordinalA)"`.
struct TemplateText: ExpressibleByStringInterpolation, Sendable {
    enum Piece: Sendable {
        case literal(String)
        case value(CallValue)
    }

    private(set) var pieces: [Piece]

    init(stringLiteral value: String) {
        pieces = value.isEmpty ? [] : [.literal(value)]
    }

    init(stringInterpolation: StringInterpolation) {
        pieces = stringInterpolation.pieces
    }

    static func + (left: TemplateText, right: TemplateText) -> TemplateText {
        var sum = left
        sum.pieces += right.pieces
        return sum
    }

    struct StringInterpolation: StringInterpolationProtocol {
        fileprivate var pieces: [Piece] = []

        init(literalCapacity: Int, interpolationCount: Int) {}

        mutating func appendLiteral(_ literal: String) {
            if !literal.isEmpty { pieces.append(.literal(literal)) }
        }

        mutating func appendInterpolation(_ value: CallValue) { pieces.append(.value(value)) }

        mutating func appendInterpolation(_ text: TemplateText) { pieces += text.pieces }

        mutating func appendInterpolation(_ text: String) { appendLiteral(text) }

        mutating func appendInterpolation(_ number: Int) { appendLiteral(String(number)) }
    }
}

/// A text with holes, laid out for rendering: runs of fixed bytes, each followed by one value.
///
///     literals  {"type":"Dial","timestamp":"…","peer":{"id":"…","name":"PJSIP/101-…"}}
///     segments  └────── 0 ─────────────┘ now └────── 1 ────┘ channelB └─── 2 …
struct Template: Sendable {
    struct Segment: Sendable {
        /// Where the fixed bytes are in `literals`.
        var offset: Int32
        /// How many.
        var count: Int32
        /// What follows them.
        var value: CallValue
    }

    private(set) var literals: [UInt8] = []
    private(set) var segments: [Segment] = []
    /// Where the fixed bytes after the last value begin in `literals`.
    private(set) var tailOffset = 0
    /// Which values are used, one bit each.
    private(set) var used: UInt32 = 0

    init(_ text: TemplateText) {
        for piece in text.pieces {
            switch piece {
            case .literal(let literal):
                literals.append(contentsOf: literal.utf8)
            case .value(let value):
                segments.append(
                    Segment(
                        offset: Int32(tailOffset), count: Int32(literals.count - tailOffset), value: value))
                tailOffset = literals.count
                used |= value.mask
            }
        }
    }

    /// The most bytes that a rendering can have.
    var maximumBytes: Int { literals.count + segments.count * CallValue.maximumBytes }
}
