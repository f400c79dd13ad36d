import CallEngine

/// What a simulated PBX can play.
enum TruthPlay: String, CaseIterable {
    case direct, outbound, group, queue, menu, voicemail, phoneAfterPhone
    case blindTransfer, consultation, twoCallTransfer, parking, pickup, forward, localChain
    case conference, clickToCall, application, localCaller
}

extension TruthCast {
    /// Plans a whole play.
    func perform(_ kind: TruthPlay) {
        switch kind {
        case .direct: direct()
        case .outbound: outboundCall()
        case .group: group()
        case .queue: queue()
        case .menu: menu()
        case .voicemail: voicemail()
        case .phoneAfterPhone: phoneAfterPhone()
        case .blindTransfer: blindTransfer()
        case .consultation: consultation()
        case .twoCallTransfer: twoCallTransfer()
        case .parking: parking()
        case .pickup: pickup()
        case .forward: forward()
        case .localChain: localChain()
        case .conference: conference()
        case .clickToCall: clickToCall()
        case .application: application()
        case .localCaller: localCaller()
        }
    }

    // MARK: One telephone

    private func direct() { reach("101", inbound("74951000101")) }

    private func outboundCall() {
        let number = "7916\(1_000_000 + chance.below(8_999_999))"
        reach(number, outbound(number))
    }

    /// The call's line dials a telephone, which does what telephones do.
    private func reach(_ number: String, _ call: TruthCall) {
        let line = call.line
        let isOutbound = call.direction == .outbound
        switch chance.below(8) {
        case 0:
            // There is nobody to dial.
            wait(0...3)
            call.hungUpBy = .system
            sendHome(line, cause: 3)
            end(call, .unavailable)
        case 1, 2:
            let phone = dial(number, by: line, for: call, rings: false)
            let (cause, status, sip, outcome) =
                [
                    (17, "BUSY", 486, CallOutcome.busy), (21, "NOANSWER", 403, .rejected),
                    (34, "CONGESTION", 503, .congestion), (1, "NOANSWER", 404, .numberInvalid),
                ].randomElement(using: &chance) ?? (17, "BUSY", 486, .busy)
            call.hungUpBy = .system
            let code = hasSIPCodes ? sip : 0
            then { [pbx] in pbx.hangUp(phone, cause, sip: code) }
            then { [pbx] in pbx.dial(phone, by: line, status) }
            inAnyOrder([{ [pbx] in pbx.destroy(phone, cause, sip: code) }])
            sendHome(line, cause: cause, sip: code)
            end(call, outcome)
        case 3:
            let phone = dial(number, by: line, for: call)
            wait(1000...8000)
            call.hungUpBy = .system
            then { [pbx] in pbx.dial(phone, by: line, "NOANSWER") }
            then { [pbx] in pbx.destroy(phone, 0) }
            sendHome(line)
            end(call, .noAnswer)
        case 4:
            let phone = dial(number, by: line, for: call)
            wait(300...5000)
            abandon(call, [phone])
            end(call, isOutbound ? .cancelled : .abandoned)
        default:
            let phone = dial(number, by: line, for: call)
            wait(100...4000)
            pickUp(phone, by: line)
            connect(phone, line, for: call, by: number)
            talk(phone, line)
            let callerFirst = once(in: 2)
            hangUp(callerFirst ? line : phone, then: callerFirst ? phone : line, for: call)
        }
    }

    /// Some time on the telephone, perhaps with one on hold.
    func talk(_ one: TruthChannel, _ other: TruthChannel) {
        wait(200...6000)
        guard once(in: 3) else { return }
        let holder = once(in: 2) ? one : other
        then { [pbx] in pbx.hold(holder) }
        wait(100...3000)
        if once(in: 4) { return }
        then { [pbx] in pbx.unhold(holder) }
        wait(100...1000)
    }

    private func phoneAfterPhone() {
        let call = inbound("74951000811")
        let first = dial("101", by: call.line, for: call)
        wait(1000...3000)
        then { [pbx] in pbx.dial(first, by: call.line, "NOANSWER") }
        then { [pbx] in pbx.destroy(first, 0) }
        let second = dial("102", by: call.line, for: call)
        wait(200...3000)
        if once(in: 3) {
            abandon(call, [second])
            end(call, .abandoned)
        } else {
            pickUp(second, by: call.line)
            connect(second, call.line, for: call, by: "102")
            talk(second, call.line)
            hangUp(second, then: call.line, for: call)
        }
    }

    // MARK: Several telephones

    private func group() {
        let call = inbound("74951000804")
        let line = call.line
        let numbers = ["101", "102", "103", "104"].prefix(2 + chance.below(3))
        let phones = numbers.map { dial($0, by: line, for: call, rings: false) }
        for phone in phones.shuffled(using: &chance) { ring(phone, by: line) }
        wait(300...4000)
        switch chance.below(4) {
        case 0:
            call.hungUpBy = .system
            giveUp(phones, by: line, "NOANSWER", cause: 0)
            sendHome(line)
            end(call, .noAnswer)
        case 1:
            abandon(call, phones, cause: 16)
            end(call, .abandoned)
        default:
            let chosen = chance.below(phones.count)
            let phone = phones[chosen]
            then { [pbx] in pbx.setState(phone, "Up") }
            giveUp(phones.filter { $0 !== phone }, by: line, "CANCEL", cause: 26)
            then { [pbx] in pbx.dial(phone, by: line, "ANSWER") }
            then { [pbx] in pbx.setState(line, "Up") }
            connect(phone, line, for: call, by: phone.face.number)
            talk(phone, line)
            hangUp(phone, then: line, for: call)
        }
    }

    private func queue() {
        let call = inbound("74951000801")
        let line = call.line
        call.queue = "sales"
        then { [pbx] in
            pbx.run(line, "Answer")
            pbx.setState(line, "Up")
        }
        wait(0...500)
        then { [pbx] in pbx.run(line, "Queue", "sales,tTkK") }
        let rounds = 1 + chance.below(3)
        for round in 1...rounds {
            wait(1...1000)
            let numbers = ["101", "102", "103"].prefix(once(in: 2) ? 1 : 2 + chance.below(2))
            let members = numbers.map { dial($0, by: line, for: call, application: nil, rings: false) }
            for member in members { ring(member, by: line) }
            wait(500...3000)
            if round < rounds {
                giveUp(members, by: line, "NOANSWER", cause: 0)
                continue
            }
            switch chance.below(4) {
            case 0:
                abandon(call, members, cause: 16)
                return end(call, .abandoned)
            case 1:
                giveUp(members, by: line, "NOANSWER", cause: 0)
                call.hungUpBy = .system
                sendHome(line)
                return end(call, .noAnswer)
            default:
                let member = members[chance.below(members.count)]
                then { [pbx] in pbx.setState(member, "Up") }
                then { [pbx] in pbx.dial(member, by: line, "ANSWER") }
                giveUp(members.filter { $0 !== member }, by: line, "CANCEL", cause: 26)
                connect(member, line, for: call, by: member.face.number)
                talk(member, line)
                let callerFirst = once(in: 2)
                hangUp(callerFirst ? line : member, then: callerFirst ? member : line, for: call)
            }
        }
    }

    // MARK: Machines

    private func menu() {
        let call = inbound("74951000805")
        let line = call.line
        then { [pbx] in
            pbx.run(line, "Answer")
            pbx.setState(line, "Up")
        }
        wait(100...500)
        then { [pbx] in pbx.run(line, "BackGround", "menu") }
        wait(500...5000)
        if once(in: 2) {
            call.hungUpBy = .caller
            then { [pbx] in pbx.hangUp(line, 16) }
            then { [pbx] in pbx.hangUp(line, 16, soft: true) }
            then { [pbx] in pbx.destroy(line, 16) }
            return end(call, .ivrOnly)
        }
        let phone = dial("101", by: line, for: call)
        wait(200...3000)
        pickUp(phone, by: line)
        connect(phone, line, for: call, by: "101")
        talk(phone, line)
        hangUp(phone, then: line, for: call)
    }

    private func voicemail() {
        let call = inbound("74951000808")
        let line = call.line
        let phone = dial("101", by: line, for: call)
        wait(1000...3000)
        then { [pbx] in pbx.dial(phone, by: line, "NOANSWER") }
        inAnyOrder([
            { [pbx] in pbx.destroy(phone, 0) },
            { [pbx] in
                pbx.run(line, "VoiceMail", "101@default,us")
                pbx.setState(line, "Up")
            },
        ])
        wait(500...6000)
        call.hungUpBy = .caller
        then { [pbx] in pbx.hangUp(line, 16) }
        then { [pbx] in pbx.hangUp(line, 16, soft: true) }
        then { [pbx] in pbx.destroy(line, 16) }
        end(call, .voicemail)
    }

    private func conference() {
        let room = pbx.bridge(.conference)
        let numbers = ["7916", "101", "102"].prefix(1 + chance.below(3))
        let begin = now
        var stays: [(call: TruthCall, from: Int64, to: Int64)] = []
        for number in numbers {
            now = begin
            wait(0...1500)
            let isTrunk = number == "7916"
            let line = channel(
                isTrunk ? "PJSIP/trunk" : "PJSIP/\(number)", number: number,
                context: isTrunk ? "from-trunk" : "office", exten: "800", state: "Ring")
            let call = self.begin(line, isTrunk ? .inbound : .unknown)
            then { [pbx] in
                pbx.run(line, "Answer")
                pbx.setState(line, "Up")
            }
            wait(100...500)
            then { [pbx] in
                pbx.run(line, "ConfBridge", "800")
                pbx.enter(line, room)
            }
            let from = now
            wait(2500...5000)
            stays.append((call, from, now))
            call.hungUpBy = .caller
            call.isConference = true
            then { [pbx] in pbx.hangUp(line, 16) }
            then { [pbx] in pbx.leave(line) }
            then { [pbx] in pbx.hangUp(line, 16, soft: true) }
            then { [pbx] in
                pbx.run(line, "")
                pbx.destroy(line, 16)
            }
            then { call.outcome = line.hasTalked ? .answered : .ivrOnly }
        }
    }
}
