import CallEngine

/// All that a simulation does: made from a seed, and made smaller when it fails.
struct TruthPlan {
    struct Play {
        var kind: TruthPlay
        /// Milliseconds from the begin.
        var start: Int
        var seed: UInt64
    }

    enum Fault: String, CaseIterable {
        /// The connection breaks.
        case cut
        /// It carries nothing any more, and nobody notices for a while.
        case silence
        /// The daemon is killed.
        case kill
        /// The daemon is stopped as it should be.
        case stop
        /// The PBX is gone, and all its calls.
        case crash
        /// The PBX is behind with its events.
        case stall
        /// The PBX answers questions with errors.
        case refuse
    }

    struct Incident {
        var fault: Fault
        /// Milliseconds from the begin.
        var start: Int
        /// Milliseconds that it lasts.
        var length: Int
    }

    var seed: UInt64
    var plays: [Play] = []
    var incidents: [Incident] = []
    /// PBX clock minus ours, in milliseconds.
    var clockOffset = 0
    /// Milliseconds by which events of different legs may be out of order.
    var disorder = 0
    /// Milliseconds for which a channel that has ended is still listed.
    var listLag = 0
    /// Events come as Asterisk writes them, and are read.
    var asText = false
    /// A run of the daemon reads what the one before it stored of open calls; else the database does not give it.
    var readsEvents = true

    init(seed: UInt64) {
        self.seed = seed
        var chance = Chance(seed)
        let count = 1 + chance.below(4)
        let length = 2000 + chance.below(12_000)
        for _ in 0..<count {
            let kind = TruthPlay.allCases[chance.below(TruthPlay.allCases.count)]
            plays.append(Play(kind: kind, start: 1500 + chance.below(length), seed: chance.next()))
        }
        if !chance.once(in: 3) {
            for _ in 0..<(1 + chance.below(3)) {
                let fault = Fault.allCases[chance.below(Fault.allCases.count)]
                incidents.append(
                    Incident(
                        fault: fault, start: 1500 + chance.below(length + 6000),
                        length: [5, 50, 500, 3000].randomElement(using: &chance) ?? 50))
            }
            incidents.sort { $0.start < $1.start }
        }
        clockOffset = [0, 0, 300, -1700, 3_600_000, -86_400_000].randomElement(using: &chance) ?? 0
        disorder = [0, 1, 4, 4, 4, 30].randomElement(using: &chance) ?? 4
        asText = chance.once(in: 12)
        readsEvents = !chance.once(in: 4)
        // A run that follows another does not know what has ended; it is never there so soon behind an end.
        let staysUp = !incidents.contains { [.kill, .stop, .crash].contains($0.fault) }
        listLag = (staysUp ? [0, 30, 400] : [0, 0, 30]).randomElement(using: &chance) ?? 0
    }

    /// For a person who looks for what is wrong.
    var text: String {
        let plays = plays.map { "\($0.kind)@\($0.start)" }.joined(separator: " ")
        let incidents = incidents.map { "\($0.fault)@\($0.start)+\($0.length)" }.joined(separator: " ")
        return "plays [\(plays)] incidents [\(incidents)] clock \(clockOffset) ms, disorder \(disorder) ms"
            + (listLag > 0 ? ", lists \(listLag) ms late" : "")
            + (readsEvents ? "" : ", stored events unread")
    }

    /// Plans that do less.
    var smaller: [TruthPlan] {
        var plans: [TruthPlan] = []
        func add(_ change: (inout TruthPlan) -> Void) {
            var plan = self
            change(&plan)
            plans.append(plan)
        }
        if plays.count > 1 {
            for place in plays.indices { add { $0.plays.remove(at: place) } }
        }
        for place in incidents.indices { add { $0.incidents.remove(at: place) } }
        for place in incidents.indices where incidents[place].length > 5 {
            add { $0.incidents[place].length /= 4 }
        }
        if clockOffset != 0 { add { $0.clockOffset = 0 } }
        if disorder > 0 { add { $0.disorder = disorder > 1 ? 1 : 0 } }
        if asText { add { $0.asText = false } }
        if listLag > 0 { add { $0.listLag = 0 } }
        let first = plays.map(\.start).min() ?? 0
        if first > 3000 {
            add { plan in
                for place in plan.plays.indices { plan.plays[place].start -= first - 1500 }
                for place in plan.incidents.indices {
                    plan.incidents[place].start = max(1500, plan.incidents[place].start - first + 1500)
                }
            }
        }
        return plans
    }

    /// The smallest plan that still fails, as far as a bounded search finds it.
    func shrunk(_ fails: (TruthPlan) -> Bool) -> TruthPlan {
        var plan = self
        var tries = 0
        while tries < 200 {
            guard
                let next = plan.smaller.first(where: {
                    tries += 1
                    return fails($0)
                })
            else { break }
            plan = next
        }
        return plan
    }
}
