package import CallEngine
package import Reactor

/// A question for the loop that has a call: what its legs say at this moment.
package struct CallLook: Sendable {
    /// The call's key, whole.
    package var callID: String
    /// Comes back with the answer.
    package var number: UInt64
    /// Where the answer goes; full, it is dropped, and whoever asked gives up waiting.
    package var mailbox: Mailbox<(number: UInt64, call: LookedCall?)>

    package init(callID: String, number: UInt64, mailbox: Mailbox<(number: UInt64, call: LookedCall?)>) {
        self.callID = callID
        self.number = number
        self.mailbox = mailbox
    }
}

/// A call as the engine has it.
package struct LookedCall: Sendable {
    /// Its row.
    package var record: CallRecord
    /// What its legs say.
    package var details: CallDetails

    package init(record: CallRecord, details: CallDetails) {
        self.record = record
        self.details = details
    }
}

/// One loop's questions about calls that other loops have, and who waits for the answers.
package final class CallLooks {
    /// Questions waiting at once.
    package static let maximumWaiting = 64
    /// A loop answers within its turn; one that does not is stopping.
    package static let patience: Duration = .seconds(1)

    private let loop: Loop
    private let answers = Mailbox<(number: UInt64, call: LookedCall?)>(capacity: CallLooks.maximumWaiting * 2)
    private var waiting: [UInt64: (timer: TimerID, completion: (LookedCall?) -> Void)] = [:]
    private var nextNumber: UInt64 = 0

    package init(loop: Loop) {
        self.loop = loop
        loop.attach(answers) { [weak self] in self?.finish($0.number, $0.call) }
    }

    /// Asks the loop behind `mailbox` for a call.
    ///
    /// - Parameter completion: Called once, later; `nil` when the loop does not know the call, or does not answer.
    package func ask(
        _ mailbox: Mailbox<PipelineMessage>, for callID: String, completion: @escaping (LookedCall?) -> Void
    ) {
        nextNumber += 1
        let number = nextNumber
        let isAsked =
            waiting.count < Self.maximumWaiting
            && mailbox.post(.look(CallLook(callID: callID, number: number, mailbox: answers)))
        let timer = loop.schedule(after: isAsked ? Self.patience : .zero) { [weak self] in
            self?.finish(number, nil)
        }
        waiting[number] = (timer, completion)
    }

    private func finish(_ number: UInt64, _ call: LookedCall?) {
        guard let (timer, completion) = waiting.removeValue(forKey: number) else { return }
        loop.cancel(timer)
        completion(call)
    }
}
