package import CallEngine

extension BitrixOutbox {
    /// A step of a call.
    package enum Step: String, Sendable, Hashable {
        case register, finish
    }

    /// A request to be sent now.
    package struct Departure: Sendable, Hashable {
        /// Hand it back with the reply.
        package var callID: String
        package var command: BitrixCommand
    }

    /// Something to be reported; see ``BitrixClient`` for what is logged and counted.
    package enum Effect: Sendable, Hashable {
        /// The portal knows the call under this id.
        case registered(callID: String, bitrixCallID: String, warnings: [String])
        /// The call is finished. Not `confirmed`: the portal no longer knew the call after an attempt whose
        /// answer was lost, so that attempt is taken to have worked.
        case finished(callID: String, confirmed: Bool, warnings: [String])
        /// The call is not told to the portal, on purpose.
        case skipped(callID: String, reason: BitrixSkipReason)
        /// The action was given before, or belongs to a call that was skipped.
        case ignored(callID: String, step: Step, reason: String)
        /// Nobody has the extension; the call goes to the fallback user.
        case userReplaced(callID: String, from: BitrixUser, to: BitrixUser)
        /// An attempt failed and will be repeated.
        case retrying(callID: String, step: Step, reason: String, after: Duration)
        /// A step is given up. For a register that means its finish too.
        case dropped(callID: String, step: Step, reason: String)
        /// How the link stands has changed.
        case state(CRMState)
    }

    /// A call that an earlier run left open.
    package struct PendingCall: Sendable, Hashable {
        package var call: CRMCall
        /// The portal's id, once `register` was answered.
        package var bitrixCallID: String?
        package init(call: CRMCall, bitrixCallID: String?) {
            self.call = call
            self.bitrixCallID = bitrixCallID
        }
    }
}
