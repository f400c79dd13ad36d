import Protocols

/// At which telephones a call rings or is spoken, for those who show it there.
extension CallGraph {
    /// Tells the CRM of the telephones of a call from outside, when they are others than it was told.
    ///
    /// Of a call that rings at the one telephone it was made for, `register` says all there is to say.
    mutating func tellTelephones(_ call: Int, _ actions: inout [CRMAction]) {
        guard tellsTelephones, calls[call].telephonesChanged, calls[call].isRegistered else { return }
        calls[call].telephonesChanged = false
        guard !calls[call].finishIsTold, calls[call].record.direction == .inbound else { return }
        var numbers: [String] = []
        addTelephones(of: call, to: &numbers)
        numbers.sort()
        var hasher = Hasher()
        hasher.combine(numbers)
        let hash = hasher.finalize()
        guard calls[call].telephonesTold != hash else { return }
        if calls[call].telephonesTold == 0 {
            let isPlain = numbers.count == 1 && numbers[0] == calls[call].record.calleeNumber.string
            guard !numbers.isEmpty, !isPlain else { return }
        }
        calls[call].telephonesTold = hash
        var told = crmCall(call, isEnd: false)
        told.telephones = numbers
        actions.append(.telephones(told))
    }

    /// Numbers of the telephones that ring, and of those that talk; each once.
    private func addTelephones(of call: Int, to numbers: inout [String]) {
        var next = calls[call].firstLeg
        var looked = 0
        // The newest legs come first; who rings now is among them.
        while next != Self.none, looked < Self.maximumTelephoneLegs {
            looked += 1
            let slot = Int(next)
            next = legs[slot].nextInCall
            guard legs[slot].isDialed, !legs[slot].isLocalHalf, !legs[slot].endedAt.isKnown else { continue }
            let rings = legs[slot].dialStatus == .none
            let talks = legs[slot].dialStatus == .answer || legs[slot].upAt.isKnown
            guard rings || talks, numbers.count < Self.maximumTelephones else { continue }
            let number = number(of: slot).string
            if !number.isEmpty, !numbers.contains(number) { numbers.append(number) }
        }
        var merged = calls[call].firstMerged
        while merged != Self.none {
            addTelephones(of: Int(merged), to: &numbers)
            merged = calls[Int(merged)].nextMerged
        }
    }

    /// Telephones of one call that are told of; a screen in every room is nobody's call.
    static let maximumTelephones = 50

    /// Legs of one call that are looked through for them.
    static let maximumTelephoneLegs = 256

    /// Notes that a telephone of a call has hung up; that it rings or was answered, `Dial` tells.
    mutating func noteTelephones(_ slot: Int) {
        guard legs[slot].home != Self.none else { return }
        calls[survivor(of: Int(legs[slot].home))].telephonesChanged = true
    }
}
