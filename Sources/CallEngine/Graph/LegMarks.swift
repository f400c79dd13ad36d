/// What channels did, as lists of the legs: most have none or one, so a leg does not carry room for all it may have.
///
/// Owned by the graph; used again, so that nothing is allocated in the steady state.
struct LegMarks: ~Copyable {
    /// Something the leg's channel did that parts of a call are made of.
    struct Mark: BitwiseCopyable {
        var time = PBXTime.none
        var name = InlineText<31>()
        var act = LegAct.none
        /// The leg's next one, in the order of their begin; or of those unused.
        fileprivate(set) var next = UInt32.max
    }

    /// Of one leg; of more the last takes the place of the one before it.
    static let maximumPerLeg = 6
    private static let none = UInt32.max

    private var marks: [Mark] = []
    private var free = LegMarks.none

    /// The mark at a place.
    subscript(place: UInt32) -> Mark {
        get { marks[Int(place)] }
        _modify { yield &marks[Int(place)] }
    }

    /// Marks in use and unused.
    var capacity: Int { marks.count }

    /// Appends a mark to a leg's list.
    ///
    /// - Returns: Whether there was room.
    mutating func append(
        _ act: LegAct, at time: PBXTime, name: UnsafeRawBufferPointer, to leg: inout Leg
    ) -> Bool {
        leg.acts |= act.bit
        let isKept = Int(leg.markCount) < Self.maximumPerLeg
        let place = isKept ? take() : last(of: leg)
        let next = isKept ? Self.none : marks[Int(place)].next
        marks[Int(place)] = Mark(time: time, act: act, next: next)
        _ = marks[Int(place)].name.assign(name)
        guard isKept else { return false }
        if leg.firstMark == Self.none {
            leg.firstMark = place
        } else {
            marks[Int(last(of: leg))].next = place
        }
        leg.markCount += 1
        return true
    }

    /// Gives a leg's marks back.
    mutating func removeAll(of leg: inout Leg) {
        guard leg.firstMark != Self.none else { return }
        marks[Int(last(of: leg))].next = free
        free = leg.firstMark
        leg.firstMark = Self.none
        leg.markCount = 0
    }

    /// The place of the last one for which `matches` holds.
    func lastPlace(of leg: Leg, where matches: (Mark) -> Bool) -> UInt32? {
        var found: UInt32?
        var place = leg.firstMark
        while place != Self.none {
            if matches(marks[Int(place)]) { found = place }
            place = marks[Int(place)].next
        }
        return found
    }

    private func last(of leg: Leg) -> UInt32 {
        var place = leg.firstMark
        while place != Self.none, marks[Int(place)].next != Self.none { place = marks[Int(place)].next }
        return place
    }

    private mutating func take() -> UInt32 {
        guard free != Self.none else {
            marks.append(Mark())
            return UInt32(marks.count - 1)
        }
        let place = free
        free = marks[Int(place)].next
        return place
    }
}
