import Protocols

/// The parts of a call, in order: what the caller went through.
extension CallGraph {
    func segments(_ made: inout CallDetails, _ sight: Sight) {
        addMarked(&made, sight)
        addRings(&made, sight)
        addTalks(&made, sight)
        made.segments.sort { left, right in
            if left.startedAt != right.startedAt { return left.startedAt < right.startedAt }
            if left.kind != right.kind { return left.kind.rawValue < right.kind.rawValue }
            return left.name.string < right.name.string
        }
        if made.segments.count > CallSegment.maximumCount {
            made.segments.removeLast(made.segments.count - CallSegment.maximumCount)
            made.facts.isIncomplete = true
        }
        if let queue = made.segments.last(where: { $0.kind == .queue }) {
            queue.name.withUnsafeBytes { _ = made.facts.queue.assign($0) }
        }
        if let transfer = made.segments.last(where: { $0.kind == .transfer && $0.result == .answered }) {
            made.facts.transferredBy = transfer.by
            made.facts.transferredTo = transfer.name
        }
    }

    private static func text<let size: Int>(_ text: InlineText<size>) -> InlineText<40> {
        var copy = InlineText<40>()
        text.withUnsafeBytes { _ = copy.assign($0) }
        return copy
    }

    // MARK: Marks

    /// Queues, machines, rooms, parking and transfers: what channels marked.
    private func addMarked(_ made: inout CallDetails, _ sight: Sight) {
        for entry in made.slots {
            let slot = Int(entry)
            let leg = legs[slot]
            var place = leg.firstMark
            while place != Self.none {
                let mark = marks[place]
                place = mark.next
                let next = place == Self.none ? PBXTime.none : marks[place].time
                let end = next.isKnown ? next : (leg.endedAt.isKnown ? leg.endedAt : sight.end)
                add(mark, of: slot, until: end, &made, sight)
            }
        }
        let isAlone = !made.segments.contains { $0.kind == .ivr || $0.kind == .voicemail }
        let root = legs[sight.root]
        // A machine without a word of its own: an application that answered and talked to the caller.
        if isAlone, !sight.answer.isKnown, made.facts.attemptCount == 0, root.upAt.isKnown,
            !made.segments.contains(where: { $0.kind == .queue || $0.kind == .conference })
        {
            made.segments.append(
                CallSegment(
                    .ivr, name: InlineText(), from: root.upAt,
                    to: root.endedAt.isKnown ? root.endedAt : sight.end))
        }
    }

    private func add(
        _ mark: LegMarks.Mark, of slot: Int, until end: PBXTime, _ made: inout CallDetails, _ sight: Sight
    ) {
        let name = Self.text(mark.name)
        switch mark.act {
        case .queue:
            addQueue(mark, of: slot, until: end, &made, sight)
        case .voicemail:
            made.segments.append(CallSegment(.voicemail, name: name, from: mark.time, to: end))
        case .conference:
            made.segments.append(CallSegment(.conference, name: name, from: mark.time, to: end))
        case .parked:
            made.segments.append(CallSegment(.parking, name: name, from: mark.time, to: end))
        case .ivr where slot == sight.root || legs[slot].flags.contains(.secondHalf):
            made.segments.append(CallSegment(.ivr, name: name, from: mark.time, to: end))
        case .blindTransfer, .attendedTransfer, .referTransfer, .failedTransfer:
            var segment = CallSegment(.transfer, name: name, from: mark.time, to: mark.time)
            // Asterisk 16 does not name who is asked and has not answered yet.
            if name.isEmpty, mark.act == .attendedTransfer,
                let target = made.legs.first(where: { $0.roles.contains(.target) })
            {
                segment.name = target.number
            }
            segment.by = number(of: slot)
            segment.result = mark.act == .failedTransfer ? .failed : .answered
            segment.transfer =
                switch mark.act {
                case .blindTransfer: .blind
                case .attendedTransfer: .attended
                case .referTransfer: .refer
                default: .none
                }
            made.segments.append(segment)
        case .none, .other, .ivr, .dial, .stasis, .pickup, .retrieval:
            break
        }
    }

    private func addQueue(
        _ mark: LegMarks.Mark, of slot: Int, until end: PBXTime, _ made: inout CallDetails, _ sight: Sight
    ) {
        var segment = CallSegment(.queue, name: Self.text(mark.name), from: mark.time, to: end)
        let first = Int32(made.attempts.count)
        for (index, entry) in made.slots.enumerated() {
            let leg = legs[Int(entry)]
            guard leg.dialerHash == legs[slot].hash, leg.dialedAt.isKnown, leg.dialedAt >= mark.time,
                leg.dialedAt <= end
            else { continue }
            made.attempts.append(Int32(index))
        }
        segment.attempts = first..<Int32(made.attempts.count)
        close(&segment, made, sight, whenTalkingWithin: true)
        made.segments.append(segment)
    }

    /// Sets what a queue or ringing came to: an answer ends it, else the best result of its attempts counts.
    private func close(
        _ segment: inout CallSegment, _ made: CallDetails, _ sight: Sight, whenTalkingWithin: Bool
    ) {
        for index in segment.attempts {
            let record = made.legs[Int(made.attempts[Int(index)])]
            let slot = Int(made.slots[Int(made.attempts[Int(index)])])
            if record.result == .answered, legs[slot].upAt.isKnown || legs[slot].firstTalkAt.isKnown {
                let moment = legs[slot].firstTalkAt.isKnown ? legs[slot].firstTalkAt : legs[slot].upAt
                segment.result = .answered
                segment.by = record.number
                if let time = moment.timestamp { segment.endedAt = max(segment.startedAt, time) }
                return
            }
            if record.result == .cancelled || record.result == .answeredElsewhere
                || record.result == .forwarded
            {
                if segment.result == .none { segment.result = record.result }
            } else if record.result != .none {
                let known = segment.result.outcome == nil ? UInt8.max : segment.result.rawValue
                if record.result.rawValue < known { segment.result = record.result }
            }
        }
        guard let answer = sight.answer.timestamp, answer >= segment.startedAt else { return }
        // A telephone that was picked up for stops ringing some milliseconds before the other one talks.
        if (whenTalkingWithin && answer <= segment.endedAt) || isPickedUp(segment, made, sight) {
            segment.result = .answered
            segment.by = sight.answered.map { number(of: $0) } ?? InlineText()
            segment.endedAt = answer
        }
    }

    /// Whether the answer came from a neighbour who took the call from these telephones.
    private func isPickedUp(_ segment: CallSegment, _ made: CallDetails, _ sight: Sight) -> Bool {
        guard let answered = sight.answered, legs[answered].isPickup else { return false }
        return segment.attempts.contains { index in
            let slot = Int(made.slots[Int(made.attempts[Int(index)])])
            let isTaken = made.legs[Int(made.attempts[Int(index)])].result == .answeredElsewhere
            return isTaken && legs[slot].dialerHash == legs[answered].dialerHash
                && (!legs[slot].endedAt.isKnown || legs[slot].endedAt >= legs[answered].startedAt)
        }
    }

    // MARK: Ringing

    /// Telephones called at the same time by the same channel are one group.
    private func addRings(_ made: inout CallDetails, _ sight: Sight) {
        var group: CallSegment?
        var dialer: UInt64 = 0
        var until = PBXTime.none
        made.queued.append(contentsOf: repeatElement(false, count: made.slots.count))
        for index in made.attempts { made.queued[Int(index)] = true }
        for (index, entry) in made.slots.enumerated() {
            let slot = Int(entry)
            let leg = legs[slot]
            let roles = made.legs[index].roles
            guard isAttempt(slot, roles, sight), !made.queued[index] else {
                continue
            }
            let begin = leg.dialedAt.isKnown ? leg.dialedAt : leg.startedAt
            let end =
                leg.upAt.isKnown ? leg.upAt : (leg.endedAt.isKnown ? leg.endedAt : sight.end)
            if group == nil || leg.dialerHash != dialer || begin > until {
                if var finished = group {
                    close(&finished, made, sight, whenTalkingWithin: false)
                    made.segments.append(finished)
                }
                let first = Int32(made.attempts.count)
                group = CallSegment(.ring, name: made.legs[index].number, from: begin, to: end)
                group?.attempts = first..<first
                dialer = leg.dialerHash
                until = end
            } else {
                group?.name = InlineText()
                until = PBXTime.latest(until, end)
                if let time = until.timestamp { group?.endedAt = time }
            }
            made.attempts.append(Int32(index))
            let first = group?.attempts.lowerBound ?? 0
            group?.attempts = first..<Int32(made.attempts.count)
        }
        if var finished = group {
            close(&finished, made, sight, whenTalkingWithin: false)
            made.segments.append(finished)
        }
    }

    // MARK: Talking

    /// A person and the caller, or after a transfer whom the caller was left with.
    private func addTalks(_ made: inout CallDetails, _ sight: Sight) {
        guard sight.answer.isKnown else { return }
        for (index, entry) in made.slots.enumerated() {
            let slot = Int(entry)
            let leg = legs[slot]
            let roles = made.legs[index].roles
            guard leg.firstTalkAt.isKnown, slot != sight.root, !roles.contains(.technical) else { continue }
            var begin = leg.firstTalkAt
            if slot == sight.answered {
                begin = sight.answer
            } else if roles.contains(.target) {
                begin = PBXTime.latest(begin, sight.transferAt)
            } else if !talksWithCaller(slot, sight) {
                continue
            }
            let end = leg.isActive ? sight.end : leg.lastTalkEndedAt
            made.segments.append(CallSegment(.talk, name: made.legs[index].number, from: begin, to: end))
        }
    }

    private func talksWithCaller(_ slot: Int, _ sight: Sight) -> Bool {
        guard let partner = leg(legs[slot].firstTalkPartner) else { return false }
        return isCallerLine(farEnd(partner, sight.root).slot, sight.root)
    }
}
