import CallEngine

/// Calls that change hands, and channels that stand for others.
extension TruthCast {
    /// A customer is put through to 101 and talks.
    private func answeredCall() -> (TruthCall, TruthChannel, TruthBridge) {
        let call = inbound("74951000101")
        let phone = dial("101", by: call.line, for: call)
        wait(200...2000)
        pickUp(phone, by: call.line)
        let bridge = connect(phone, call.line, for: call, by: "101")
        wait(300...3000)
        return (call, phone, bridge)
    }

    func blindTransfer() {
        let (call, phone, _) = answeredCall()
        let line = call.line
        if once(in: 2) {
            then { [pbx] in pbx.hold(phone) }
            wait(200...2000)
            then { [pbx] in pbx.unhold(phone) }
        }
        then { [pbx] in
            pbx.transferBlindly(phone, of: line, to: "102")
            call.transferredBy = "101"
            call.transferredTo = "102"
        }
        inAnyOrder([
            { [pbx] in pbx.leave(phone) },
            { [pbx] in
                (line.face.context, line.face.exten) = ("office", "102")
                pbx.leave(line)
            },
        ])
        then { [pbx] in pbx.destroy(phone, 16) }
        let second = dial("102", by: line, for: call)
        wait(300...4000)
        if once(in: 3) {
            then { [pbx] in pbx.dial(second, by: line, "NOANSWER") }
            then { [pbx] in pbx.destroy(second, 0) }
            call.hungUpBy = .system
            sendHome(line)
            end(call, .answered)
        } else {
            pickUp(second, by: line)
            connect(second, line, for: call)
            talk(second, line)
            hangUp(second, then: line, for: call)
        }
    }

    /// 101 asks 102 by feature keys: the consultation goes through a Local channel.
    func consultation() {
        let (call, phone, first) = answeredCall()
        let line = call.line
        then { [pbx] in pbx.hold(phone) }
        wait(500...2000)
        let (near, far) = local("102", "office")
        call.channels += [near, far]
        then { [pbx] in pbx.create(near, for: line) }
        then { [pbx] in pbx.create(far, for: line) }
        let second = pbx.bridge()
        then { [pbx] in pbx.enter(near, second) }
        then { [pbx] in pbx.leave(phone) }
        then { [pbx] in pbx.enter(phone, second) }
        let target = dial("102", by: far, for: call, rings: false)
        then { [pbx] in pbx.setState(target, "Ringing") }
        then { [pbx] in pbx.setState(near, "Ringing") }
        inAnyOrder([
            { [pbx] in pbx.dial(near, by: nil, "RINGING") },
            { [pbx] in pbx.dial(target, by: far, "RINGING") },
        ])
        wait(500...2000)
        let isEarly = once(in: 3)
        if !isEarly { consult(near, far, target) }
        switch isEarly ? 2 : chance.below(4) {
        case 0: leaveConsultation(call, phone, near, far, target)
        default:
            complete(call, phone, near, from: second, to: first)
            if isEarly {
                wait(300...2000)
                consult(near, far, target)
            }
            wait(500...4000)
            call.hungUpBy = .caller
            then { [pbx] in pbx.hangUp(line, 16) }
            then { [pbx] in pbx.leave(line) }
            then { [pbx] in pbx.hangUp(line, 16, soft: true) }
            then { [pbx] in pbx.destroy(line, 16) }
            endLocal(near, far, target)
            end(call, .answered)
        }
    }

    /// 102 answers the consultation.
    private func consult(_ near: TruthChannel, _ far: TruthChannel, _ target: TruthChannel) {
        then { [pbx] in pbx.setState(target, "Up") }
        then { [pbx] in pbx.dial(target, by: far, "ANSWER") }
        then { [pbx] in pbx.setState(far, "Up") }
        let third = pbx.bridge()
        then { [pbx] in pbx.enter(target, third) }
        inAnyOrder([
            { [pbx] in pbx.setState(near, "Up") }, { [pbx] in pbx.dial(near, by: nil, "ANSWER") },
            { [pbx] in pbx.enter(far, third) },
        ])
        wait(500...2000)
    }

    private func complete(
        _ call: TruthCall, _ phone: TruthChannel, _ near: TruthChannel, from: TruthBridge, to: TruthBridge
    ) {
        let isSoft = once(in: 2)
        then { [pbx] in pbx.hangUp(phone, isSoft ? 32 : 16, soft: isSoft) }
        let isFirst = once(in: 2)
        if isFirst { then { [pbx] in pbx.leave(phone) } }
        then { [pbx] in pbx.leave(near) }
        then { [pbx] in pbx.enter(near, to) }
        if !isFirst { then { [pbx] in pbx.leave(phone) } }
        then { [pbx] in
            pbx.transferAttended(phone, phone, of: call.line, to: near)
            (call.transferredBy, call.transferredTo) = ("101", "102")
        }
        wait(0...800)
        then { [pbx] in pbx.destroy(phone, 16) }
    }

    /// The customer gives up while 101 asks 102.
    private func leaveConsultation(
        _ call: TruthCall, _ phone: TruthChannel, _ near: TruthChannel, _ far: TruthChannel,
        _ target: TruthChannel
    ) {
        let line = call.line
        call.hungUpBy = .caller
        then { [pbx] in pbx.hangUp(line, 16) }
        then { [pbx] in pbx.leave(line) }
        then { [pbx] in pbx.destroy(line, 16) }
        wait(100...1000)
        then { [pbx] in pbx.hangUp(phone, 16) }
        then { [pbx] in pbx.leave(phone) }
        then { [pbx] in pbx.destroy(phone, 16) }
        endLocal(near, far, target)
        end(call, .answered)
    }

    private func endLocal(_ near: TruthChannel, _ far: TruthChannel, _ target: TruthChannel) {
        then { [pbx] in pbx.leave(near) }
        then { [pbx] in pbx.hangUp(far, 16) }
        inAnyOrder([
            { [pbx] in pbx.destroy(near, 16) }, { [pbx] in pbx.leave(far) },
        ])
        then { [pbx] in pbx.hangUp(far, 16, soft: true) }
        inAnyOrder([
            { [pbx] in pbx.destroy(far, 16) }, { [pbx] in pbx.leave(target) },
        ])
        then { [pbx] in pbx.destroy(target, 16) }
    }

    /// 101 calls 102 on a second line, and joins the two (REFER with Replaces).
    func twoCallTransfer() {
        let (call, phone, bridge) = answeredCall()
        let line = call.line
        then { [pbx] in pbx.hold(phone) }
        wait(300...1000)
        let asking = begin(
            channel("PJSIP/101", number: "101", context: "office", exten: "102", state: "Ring"), .unknown)
        let second = asking.line
        let target = dial("102", by: second, for: asking)
        wait(300...2000)
        pickUp(target, by: second)
        connect(target, second, for: asking, by: "102")
        wait(300...3000)
        then { [pbx] in pbx.leave(target) }
        then { [pbx] in
            pbx.enter(target, bridge)
            asking.mergedInto = call
            call.channels += asking.channels
        }
        inAnyOrder([{ [pbx] in pbx.leave(phone) }, { [pbx] in pbx.leave(second) }])
        then { [pbx] in
            pbx.transferAttended(phone, second, of: line, to: target)
            (call.transferredBy, call.transferredTo) = ("101", "102")
        }
        inAnyOrder([{ [pbx] in pbx.destroy(phone, 16) }, { [pbx] in pbx.destroy(second, 16) }])
        wait(500...4000)
        hangUp(target, then: line, for: call)
    }

    func parking() {
        let (call, phone, _) = answeredCall()
        let line = call.line
        let lot = pbx.bridge(.parking)
        then { [pbx] in pbx.leave(line) }
        then { [pbx] in pbx.enter(line, lot) }
        wait(200...1500)
        let isLate = once(in: 2)
        if !isLate {
            then { [pbx] in pbx.leave(phone) }
            then { [pbx] in pbx.destroy(phone, 16) }
        }
        wait(200...4000)
        if once(in: 2) {
            let taker = begin(
                channel("PJSIP/103", number: "103", context: "office", exten: "701", state: "Ring"), .unknown)
            then { [pbx] in
                pbx.run(taker.line, "ParkedCall", "default,701")
                pbx.setState(taker.line, "Up")
            }
            wait(200...500)
            let second = pbx.bridge()
            then { [pbx] in pbx.leave(line) }
            then { [pbx] in pbx.enter(line, second) }
            then { [pbx] in
                pbx.enter(taker.line, second)
                taker.mergedInto = call
                call.channels += taker.channels
            }
            if isLate { then { [pbx] in pbx.destroy(phone, 16) } }
            wait(500...3000)
            hangUp(taker.line, then: line, for: call)
        } else {
            then { [pbx] in pbx.leave(line) }
            if isLate { then { [pbx] in pbx.destroy(phone, 16) } }
            let again = dial("101", by: line, for: call)
            wait(300...2000)
            pickUp(again, by: line)
            connect(again, line, for: call)
            talk(again, line)
            hangUp(again, then: line, for: call)
        }
    }

    func pickup() {
        let call = inbound("74951000101")
        let line = call.line
        let phone = dial("101", by: line, for: call)
        wait(300...2000)
        let taker = begin(
            channel("PJSIP/103", number: "103", context: "office", exten: "**101", state: "Ring"), .unknown)
        let isDirected = once(in: 2)
        then { [pbx] in
            if isDirected { pbx.run(taker.line, "PickupChan", "PJSIP/101-,p") }
            pbx.setState(taker.line, "Up")
        }
        wait(200...600)
        then { [pbx] in
            pbx.run(taker.line, "AppDial", "(Outgoing Line)")
            pbx.dial(taker.line, by: line, "ANSWER")
            taker.mergedInto = call
            call.channels += taker.channels
        }
        then { [pbx] in pbx.setState(line, "Up") }
        if isDirected { then { [pbx] in pbx.hangUp(phone, 16, soft: true) } }
        let isFirst = once(in: 2)
        if isFirst { then { [pbx] in pbx.destroy(phone, isDirected ? 26 : 16) } }
        connect(taker.line, line, for: call, by: "103")
        if !isFirst { then { [pbx] in pbx.destroy(phone, isDirected ? 26 : 16) } }
        talk(taker.line, line)
        hangUp(taker.line, then: line, for: call)
    }

    /// 101 answers 302: the call goes to 103 through a Local channel.
    func forward() {
        let call = inbound("74951000101")
        let line = call.line
        let phone = dial("101", by: line, for: call)
        wait(100...1000)
        let code = hasSIPCodes ? 302 : 0
        then { [pbx] in pbx.hangUp(phone, 23, sip: code) }
        let (near, far) = local("103", "office")
        call.channels += [near, far]
        then { [pbx] in pbx.create(near, for: line) }
        then { [pbx] in pbx.create(far, for: line) }
        then { [pbx] in pbx.dial(phone, by: line, "CANCEL", forwarded: near) }
        then { [pbx] in pbx.dial(near, by: line, "") }
        then { [pbx] in pbx.destroy(phone, 23, sip: code) }
        through(near, far, "103", call)
    }

    func localChain() {
        let call = inbound("74951000809")
        let (near, far) = local("101", "follow")
        call.channels += [near, far]
        then { [pbx] in pbx.create(near, for: call.line) }
        then { [pbx] in pbx.create(far, for: call.line) }
        then { [pbx] in
            pbx.run(call.line, "Dial", "Local/101@follow,10")
            pbx.dial(near, by: call.line, "")
        }
        through(near, far, "101", call)
    }

    /// The far half dials a telephone; the halves may take themselves out of the way once all talk.
    private func through(_ near: TruthChannel, _ far: TruthChannel, _ number: String, _ call: TruthCall) {
        let line = call.line
        let phone = dial(number, by: far, for: call, rings: false)
        then { [pbx] in pbx.setState(phone, "Ringing") }
        then { [pbx] in pbx.setState(near, "Ringing") }
        inAnyOrder([
            { [pbx] in pbx.dial(phone, by: far, "RINGING") },
            { [pbx] in pbx.dial(near, by: line, "RINGING") },
        ])
        wait(200...3000)
        if once(in: 4) {
            call.hungUpBy = .caller
            then { [pbx] in pbx.hangUp(line, 19) }
            then { [pbx] in pbx.dial(near, by: line, "CANCEL") }
            then { [pbx] in pbx.hangUp(far, 19) }
            inAnyOrder([{ [pbx] in pbx.destroy(line, 19) }, { [pbx] in pbx.destroy(near, 19) }])
            then { [pbx] in pbx.dial(phone, by: far, "CANCEL") }
            inAnyOrder([{ [pbx] in pbx.destroy(far, 19) }, { [pbx] in pbx.destroy(phone, 19) }])
            return end(call, .abandoned)
        }
        then { [pbx] in pbx.setState(phone, "Up") }
        then { [pbx] in pbx.dial(phone, by: far, "ANSWER") }
        then { [pbx] in pbx.setState(far, "Up") }
        let (inner, outer) = (pbx.bridge(), pbx.bridge())
        // Whichever bridge is whole last makes the two hear each other.
        func hear() {
            if line.bridge != nil, near.bridge != nil, far.bridge != nil, phone.bridge != nil {
                answered(call, by: number)
            }
        }
        then { [pbx] in
            pbx.enter(phone, inner)
            hear()
        }
        then { [pbx] in pbx.setState(near, "Up") }
        then { [pbx] in pbx.dial(near, by: line, "ANSWER") }
        then { [pbx] in pbx.setState(line, "Up") }
        inAnyOrder([
            { [pbx] in
                pbx.enter(far, inner)
                hear()
            },
            { [pbx] in
                pbx.enter(near, outer)
                hear()
            },
            { [pbx] in
                pbx.enter(line, outer)
                hear()
            },
        ])
        wait(100...2000)
        if once(in: 2) { return optimise(near, far, phone, outer, call) }
        wait(100...3000)
        call.hungUpBy = .callee
        then { [pbx] in pbx.hangUp(phone, 16) }
        then { [pbx] in pbx.leave(phone) }
        inAnyOrder([{ [pbx] in pbx.destroy(phone, 16) }, { [pbx] in pbx.leave(far) }])
        then { [pbx] in pbx.hangUp(far, 16, soft: true) }
        then { [pbx] in pbx.hangUp(near, 16) }
        inAnyOrder([{ [pbx] in pbx.destroy(far, 16) }, { [pbx] in pbx.leave(near) }])
        inAnyOrder([{ [pbx] in pbx.destroy(near, 16) }, { [pbx] in pbx.leave(line) }])
        then { [pbx] in pbx.hangUp(line, 16, soft: true) }
        then { [pbx] in pbx.destroy(line, 16) }
        end(call, .answered)
    }

    /// The telephone takes the near half's place in the caller's bridge.
    private func optimise(
        _ near: TruthChannel, _ far: TruthChannel, _ phone: TruthChannel, _ outer: TruthBridge,
        _ call: TruthCall
    ) {
        then { [pbx] in pbx.leave(phone) }
        then { [pbx] in pbx.enter(phone, outer) }
        then { [pbx] in pbx.leave(near) }
        then { [pbx] in pbx.leave(far) }
        then { [pbx] in pbx.hangUp(near, 16, soft: true) }
        then { [pbx] in pbx.hangUp(far, 16) }
        inAnyOrder([{ [pbx] in pbx.destroy(near, 16) }, { [pbx] in pbx.destroy(far, 16) }])
        wait(500...3000)
        let callerFirst = once(in: 2)
        hangUp(callerFirst ? call.line : phone, then: callerFirst ? phone : call.line, for: call)
    }

    // MARK: Made by an application

    func clickToCall() {
        let operatorPhone = channel(
            "PJSIP/101", number: "101", context: "office", exten: "s", application: "AppDial2")
        let call = begin(operatorPhone, .unknown)
        then { [pbx] in pbx.dial(operatorPhone, by: nil, "") }
        ring(operatorPhone, by: nil)
        wait(300...2500)
        if once(in: 3) {
            call.hungUpBy = .caller
            then { [pbx] in pbx.destroy(operatorPhone, 19) }
            return end(call, .noAnswer)
        }
        pickUp(operatorPhone, by: nil)
        let number = "79160000001"
        then { operatorPhone.face.exten = number }
        let customer = dial(number, by: operatorPhone, for: call)
        wait(300...3000)
        pickUp(customer, by: operatorPhone)
        connect(customer, operatorPhone, for: call, by: number)
        talk(customer, operatorPhone)
        hangUp(customer, then: operatorPhone, for: call)
    }

    /// An application answers, calls an agent by itself and puts the two on a bridge.
    func application() {
        let call = inbound("74950000001", context: "from-external")
        let line = call.line
        then { [pbx] in
            pbx.run(line, "Stasis", "callflow_elixir,inbound")
            pbx.enterStasis(line)
        }
        wait(100...1000)
        then { [pbx] in pbx.setState(line, "Up") }
        wait(10...500)
        let agent = channel(
            "PJSIP/102", number: "102", context: "office", exten: "s", application: "AppDial2")
        let called = begin(agent, .unknown)
        then { [pbx] in pbx.dial(agent, by: nil, "") }
        ring(agent, by: nil)
        wait(200...2000)
        pickUp(agent, by: nil)
        then { [pbx] in
            pbx.run(agent, "Stasis", "callflow_elixir,agent")
            pbx.enterStasis(agent)
        }
        let bridge = pbx.bridge()
        then { [pbx] in pbx.enter(line, bridge) }
        then { [pbx] in
            pbx.enter(agent, bridge)
            self.answered(call, by: "102")
            called.mergedInto = call
            call.channels += called.channels
        }
        talk(agent, line)
        call.hungUpBy = .caller
        then { [pbx] in pbx.hangUp(line, 16) }
        then { [pbx] in pbx.leave(line) }
        then { [pbx] in pbx.leaveStasis(line) }
        then { [pbx] in pbx.hangUp(line, 16, soft: true) }
        then { [pbx] in pbx.destroy(line, 16) }
        wait(0...50)
        then { [pbx] in pbx.hangUp(agent, 32, soft: true) }
        then { [pbx] in pbx.leave(agent) }
        then { [pbx] in pbx.leaveStasis(agent) }
        then { [pbx] in pbx.destroy(agent, 16) }
        end(call, .answered)
    }

    /// The caller comes through a Local channel into an application, which answers, or does not.
    func localCaller() {
        let (near, far) = local("74952539196", "from-external")
        near.face.number = "79037236513"
        far.face.number = "79037236513"
        let call = begin(near, .inbound)
        call.channels.append(far)
        then { [pbx] in pbx.create(far, for: near) }
        inAnyOrder([
            { [pbx] in
                pbx.run(far, "Stasis", "callflow_elixir,inbound")
                pbx.enterStasis(far)
            },
            { [pbx] in
                pbx.run(near, "AppDial2")
                pbx.dial(near, by: nil, "")
            },
        ])
        wait(1...20)
        ring(near, by: nil)
        wait(200...3000)
        switch chance.below(3) {
        case 0:
            call.hungUpBy = .caller
            then { [pbx] in pbx.hangUp(far, 19) }
            inAnyOrder([
                { [pbx] in pbx.destroy(near, 19) }, { [pbx] in pbx.leaveStasis(far) },
            ])
            then { [pbx] in pbx.hangUp(far, 16, soft: true) }
            then { [pbx] in pbx.destroy(far, 19) }
            end(call, .abandoned)
        default:
            inAnyOrder([
                { [pbx] in pbx.setState(near, "Up") }, { [pbx] in pbx.setState(far, "Up") },
                { [pbx] in pbx.dial(near, by: nil, "ANSWER") },
            ])
            wait(500...3000)
            // Whether the caller's dialplan ended it or the caller shows only if the two differ by a millisecond.
            call.hungUpBy = nil
            then { [pbx] in pbx.hangUp(near, 16, soft: true) }
            then { [pbx] in pbx.hangUp(far, 16) }
            inAnyOrder([
                { [pbx] in pbx.destroy(near, 16) }, { [pbx] in pbx.leaveStasis(far) },
            ])
            then { [pbx] in pbx.hangUp(far, 16, soft: true) }
            then { [pbx] in pbx.destroy(far, 16) }
            end(call, .ivrOnly)
        }
    }
}
