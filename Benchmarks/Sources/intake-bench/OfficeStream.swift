import BenchSupport
import Protocols

/// What a PBX with many calls says, for ever: recorded events of an office, played by many copies of it at once, each time round
/// with identifiers of their own, so that calls begin, go on and end as they do, and as many are open at any moment.
///
/// The frames lie in one block. Before a part of it is sent, the numbers in it are written anew: digits of unique ids,
/// of bridges' ids and of channels' names, which are as many as they were. Copies are shifted evenly against each other; what of
/// a copy stands before its beginning is the rest of its former time round.
///
/// Used by one thread.
final class OfficeStream {
    /// What a number stands in.
    private enum Kind: UInt8 {
        /// The seconds of `1795363571.117`.
        case uniqueID
        /// The first eight digits of a UUID.
        case uuid
        /// The eight digits behind the last hyphen of `PJSIP/trunk-00000061`.
        case name
    }

    /// A number in the text of an event.
    private struct Place {
        var offset: Int32
        var kind: Kind
        var isEarlier = false
        var copy: UInt16 = 0
        /// What the recording has: seconds since the first, or the name's number.
        var value: UInt32
    }

    /// Frames in a time round.
    let eventCount: Int
    /// Bytes of them.
    var byteCount: Int { block.count }
    /// The same without headers of frames.
    let payloadBytes: Int
    let copies: Int

    private var block: [UInt8] = []
    private var places: [Place] = []
    private let firstSecond: Int
    private let seconds: Int
    /// Of the next part.
    private var nextPlace = 0
    private(set) var position = 0
    /// Which time round it is; the first is 1, since there are rests of one before.
    private(set) var round = 1

    /// Seconds of the earliest unique id made.
    private static let earliest = 1_000_000_000
    private static let range = 8_999_000_000

    init(_ recording: Recording, copies: Int) throws(BenchError) {
        self.copies = copies
        let count = recording.events.count
        eventCount = count * copies
        payloadBytes = recording.payloads.count * copies
        var found: [[Place]] = []
        for event in recording.events { found.append(Self.places(in: recording.payloads[event])) }
        let all = found.joined().filter { $0.kind == .uniqueID }.map { Int($0.value) }
        guard let first = all.min(), let last = all.max(), count >= copies, copies < 65_536,
            recording.stream.count * copies < Int(Int32.max)
        else { throw BenchError("\(recording.name) cannot be played by \(copies) at once") }
        firstSecond = first
        seconds = last - first + 1
        block.reserveCapacity(recording.stream.count * copies)
        places.reserveCapacity(found.reduce(0) { $0 + $1.count } * copies)
        for step in 0..<count {
            for copy in 0..<copies {
                let shift = copy * count / copies
                let index = (step + count - shift) % count
                let event = recording.payloads[recording.events[index]]
                FrameWriter.appendHeader(
                    .text, count: event.count, fin: true, maskingKey: nil, to: &block)
                for var place in found[index] {
                    place.offset += Int32(block.count)
                    place.copy = UInt16(copy)
                    place.isEarlier = step < shift
                    if place.kind == .uniqueID { place.value -= UInt32(first) }
                    places.append(place)
                }
                block.append(contentsOf: event)
            }
        }
    }

    /// Gives the next part of the stream, at most `limit` bytes of it.
    ///
    /// - Returns: Whether a time round is complete with it.
    func next(_ limit: Int, _ body: (UnsafeRawBufferPointer) -> Void) -> Bool {
        let end = min(block.count, position + limit)
        block.withUnsafeMutableBytes { bytes in
            // A number that the part's end cuts is written whole: the next part has the rest of it.
            while nextPlace < places.count, places[nextPlace].offset < end {
                write(places[nextPlace], bytes)
                nextPlace += 1
            }
            body(UnsafeRawBufferPointer(rebasing: bytes[position..<end]))
        }
        position = end
        guard end == block.count else { return false }
        position = 0
        nextPlace = 0
        round += 1
        return true
    }

    private func write(_ place: Place, _ bytes: UnsafeMutableRawBufferPointer) {
        let number = (round - (place.isEarlier ? 1 : 0)) * copies + Int(place.copy)
        let offset = Int(place.offset)
        switch place.kind {
        case .uniqueID:
            var rest = Self.earliest + (number * seconds + Int(place.value)) % Self.range
            for digit in stride(from: 9, through: 0, by: -1) {
                bytes[offset + digit] = 0x30 + UInt8(truncatingIfNeeded: rest % 10)
                rest /= 10
            }
        case .uuid: Self.writeHex(UInt32(truncatingIfNeeded: number), bytes, offset)
        case .name:
            Self.writeHex(UInt32(truncatingIfNeeded: number) << 16 | place.value & 0xFFFF, bytes, offset)
        }
    }

    private static func writeHex(_ number: UInt32, _ bytes: UnsafeMutableRawBufferPointer, _ offset: Int) {
        for digit in 0..<8 {
            let nibble = UInt8(truncatingIfNeeded: number >> UInt32(28 - 4 * digit) & 15)
            bytes[offset + digit] = nibble < 10 ? 0x30 + nibble : 0x57 + nibble
        }
    }

    // MARK: Finding the numbers

    private static func places(in event: ArraySlice<UInt8>) -> [Place] {
        let text = Array(event)
        var places: [Place] = []
        var index = 0
        while index < text.count {
            guard isHex(text[index]), index == 0 || !isWord(text[index - 1]) else {
                index += 1
                continue
            }
            let end = text[index...].firstIndex { !isHex($0) } ?? text.count
            let following = end < text.count ? text[end] : 0
            let digits = text[index..<end]
            if digits.count == 10, following == 0x2E, end + 1 < text.count, isDecimal(text[end + 1]),
                digits.allSatisfy(isDecimal)
            {
                let value = digits.reduce(0) { $0 * 10 + Int($1 - 0x30) }
                places.append(Place(offset: Int32(index), kind: .uniqueID, value: UInt32(value)))
            } else if digits.count == 8, following == 0x2D, isUUID(text[index...]) {
                places.append(Place(offset: Int32(index), kind: .uuid, value: 0))
                index += 36
                continue
            } else if digits.count == 8, index > 0, text[index - 1] == 0x2D, following != 0x2D {
                let value = digits.reduce(0 as UInt32) { $0 << 4 | UInt32(nibble($1)) }
                places.append(Place(offset: Int32(index), kind: .name, value: value))
            }
            index = end
        }
        return places
    }

    private static func isUUID(_ text: ArraySlice<UInt8>) -> Bool {
        guard text.count >= 36 else { return false }
        for (offset, byte) in text.prefix(36).enumerated() {
            let isHyphen = [8, 13, 18, 23].contains(offset)
            guard isHyphen ? byte == 0x2D : isHex(byte) else { return false }
        }
        return text.count == 36 || !isHex(text[text.startIndex + 36])
    }

    private static func isDecimal(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }

    private static func isHex(_ byte: UInt8) -> Bool { isDecimal(byte) || byte >= 0x61 && byte <= 0x66 }

    private static func isWord(_ byte: UInt8) -> Bool {
        isDecimal(byte) || byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7A || byte == 0x2E
    }

    private static func nibble(_ byte: UInt8) -> UInt8 { isDecimal(byte) ? byte - 0x30 : byte - 0x57 }
}
