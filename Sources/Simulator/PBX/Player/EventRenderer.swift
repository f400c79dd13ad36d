/// Renders templates for one call after another into one buffer of its own.
///
/// Raw memory, because this is what bounds the load that the simulator can make: an event is some forty
/// copies of about twenty bytes, and nothing is allocated.
final class EventRenderer {
    private static let slotBytes = CallValue.maximumBytes
    private let values: UnsafeMutablePointer<UInt8>
    private var lengths = [Int](repeating: 0, count: CallValue.allCases.count)
    private var output: UnsafeMutableRawBufferPointer
    private let time: ARITimeText
    private let idPrefix: [UInt8]
    private let names = CallPlan.names.map { Array($0.utf8) }

    /// The longest system name, in bytes, that leaves room for the rest of a unique id.
    static let maximumSystemNameBytes = 32

    /// - Parameters:
    ///   - systemName: Asterisk's `systemname`, put in front of unique ids; cut to
    ///     `maximumSystemNameBytes`.
    ///   - maximumBytes: The most bytes that a template asked for will have.
    init(systemName: String, utcOffsetMinutes: Int, maximumBytes: Int) {
        idPrefix =
            systemName.isEmpty ? [] : Array(systemName.utf8.prefix(Self.maximumSystemNameBytes)) + [0x2D]
        time = ARITimeText(offsetMinutes: utcOffsetMinutes)
        values = .allocate(capacity: CallValue.allCases.count * Self.slotBytes)
        values.initialize(repeating: 0, count: CallValue.allCases.count * Self.slotBytes)
        output = .allocate(byteCount: maximumBytes, alignment: 16)
    }

    deinit {
        values.deallocate()
        output.deallocate()
    }

    /// Renders `template` for `call`.
    ///
    /// - Parameter now: Time of the event, in milliseconds since 1970.
    /// - Returns: The bytes, valid until the next rendering.
    func render(_ template: Template, for call: borrowing LiveCall, now: Int64) -> UnsafeRawBufferPointer {
        precondition(template.maximumBytes <= output.count, "the buffer was made for every template")
        prepare(template.used, call, now)
        guard let base = output.baseAddress else { return UnsafeRawBufferPointer(output) }
        var position = base
        template.literals.withUnsafeBytes { literals in
            guard let text = literals.baseAddress else { return }
            for segment in template.segments {
                position.copyMemory(from: text + Int(segment.offset), byteCount: Int(segment.count))
                position += Int(segment.count)
                let value = Int(segment.value.rawValue)
                let length = lengths[value]
                position.copyMemory(from: values + value * Self.slotBytes, byteCount: length)
                position += length
            }
            let tail = literals.count - template.tailOffset
            position.copyMemory(from: text + template.tailOffset, byteCount: tail)
            position += tail
        }
        return UnsafeRawBufferPointer(start: base, count: position - base)
    }

    /// Writes the values that are used into their slots.
    private func prepare(_ used: UInt32, _ call: borrowing LiveCall, _ now: Int64) {
        var rest = used
        while rest != 0 {
            let index = rest.trailingZeroBitCount
            rest &= rest - 1
            guard let value = CallValue(rawValue: UInt8(truncatingIfNeeded: index)) else { continue }
            let slot = values + index * Self.slotBytes
            lengths[index] = write(value, of: call, now: now, to: slot)
        }
    }

    /// Writes one value; returns its length, at most `CallValue.maximumBytes`.
    private func write(
        _ value: CallValue, of call: borrowing LiveCall, now: Int64, to slot: UnsafeMutablePointer<UInt8>
    ) -> Int {
        switch value {
        case .now: return writeTime(now, slot)
        case .channelA: return writeID(call, 0, slot)
        case .channelB: return writeID(call, 1, slot)
        case .channelC: return writeID(call, 2, slot)
        case .ordinalA: return writeHex(UInt64(call.numbers[0]), digits: 8, slot)
        case .ordinalB: return writeHex(UInt64(call.numbers[1]), digits: 8, slot)
        case .ordinalC: return writeHex(UInt64(call.numbers[2]), digits: 8, slot)
        case .createdA: return writeTime(call.created[0], slot)
        case .createdB: return writeTime(call.created[1], slot)
        case .createdC: return writeTime(call.created[2], slot)
        case .callIDA: return writeUUID(call.plan.identity, 1, slot)
        case .callIDB: return writeUUID(call.plan.identity, 2, slot)
        case .callIDC: return writeUUID(call.plan.identity, 3, slot)
        case .callerNumber:
            if call.plan.kind.isOutbound { return writeDecimal(UInt64(call.plan.agentA), slot) }
            if !call.plan.hasPlus { return writeDecimal(call.plan.customer, slot) }
            slot[0] = 0x2B
            return 1 + writeDecimal(call.plan.customer, slot + 1)
        case .callerName:
            let name = names[call.plan.name]
            for (offset, byte) in name.enumerated() { slot[offset] = byte }
            return name.count
        case .dialled:
            return writeDecimal(call.plan.kind.isOutbound ? call.plan.customer : call.plan.line, slot)
        case .agentA: return writeDecimal(UInt64(call.plan.agentA), slot)
        case .agentB: return writeDecimal(UInt64(call.plan.agentB), slot)
        case .bridgeA: return writeUUID(call.plan.identity, 4, slot)
        case .bridgeACreated: return writeTime(call.bridgeCreated[0], slot)
        case .bridgeB: return writeUUID(call.plan.identity, 5, slot)
        case .bridgeBCreated: return writeTime(call.bridgeCreated[1], slot)
        }
    }

    /// The unique id of a call's first channel, as events have it.
    func callID(startedAt: Int64, number: UInt32) -> String {
        "\(String(decoding: idPrefix, as: UTF8.self))\(startedAt / 1000).\(number)"
    }

    /// Time as ARI writes it.
    func timeText(_ milliseconds: Int64) -> String { time.string(milliseconds) }

    private func writeTime(_ milliseconds: Int64, _ slot: UnsafeMutablePointer<UInt8>) -> Int {
        time.write(milliseconds, to: slot)
        return ARITimeText.byteCount
    }

    /// `systemname-seconds.number`, as Asterisk makes unique ids.
    private func writeID(
        _ call: borrowing LiveCall, _ index: Int, _ slot: UnsafeMutablePointer<UInt8>
    ) -> Int {
        for (offset, byte) in idPrefix.enumerated() { slot[offset] = byte }
        var count = idPrefix.count
        count += writeDecimal(UInt64(clamping: call.created[index] / 1000), slot + count)
        slot[count] = 0x2E
        return count + 1 + writeDecimal(UInt64(call.numbers[index]), slot + count + 1)
    }

    private func writeDecimal(_ number: UInt64, _ slot: UnsafeMutablePointer<UInt8>) -> Int {
        var count = 1
        var bound: UInt64 = 10
        while number >= bound, count < 19 {
            count += 1
            bound &*= 10
        }
        var rest = number
        for position in stride(from: count - 1, through: 0, by: -1) {
            slot[position] = UInt8(truncatingIfNeeded: 0x30 + rest % 10)
            rest /= 10
        }
        return count
    }

    private func writeHex(_ number: UInt64, digits: Int, _ slot: UnsafeMutablePointer<UInt8>) -> Int {
        for position in 0..<digits {
            let nibble = UInt8(truncatingIfNeeded: (number >> UInt64((digits - 1 - position) * 4)) & 15)
            slot[position] = nibble < 10 ? 0x30 + nibble : 0x57 + nibble
        }
        return digits
    }

    /// An invented version 4 UUID, the same for the same call and purpose.
    private func writeUUID(_ identity: UInt64, _ purpose: UInt64, _ slot: UnsafeMutablePointer<UInt8>) -> Int
    {
        var random = SeededRandom(seed: identity &+ purpose)
        let high = (random.next() & 0xFFFF_FFFF_FFFF_0FFF) | 0x4000
        let low = (random.next() & 0x3FFF_FFFF_FFFF_FFFF) | 0x8000_0000_0000_0000
        var count = writeHex(high >> 32, digits: 8, slot)
        for (part, digits) in [(high >> 16, 4), (high, 4), (low >> 48, 4)] {
            slot[count] = 0x2D
            count += 1 + writeHex(part, digits: digits, slot + count + 1)
        }
        slot[count] = 0x2D
        return count + 1 + writeHex(low, digits: 12, slot + count + 1)
    }
}
