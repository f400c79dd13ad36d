package import CallEngine

extension BitrixOutbox {
    /// A step of a call.
    package enum Step: String, Sendable, Hashable {
        case register, finish
        /// Cards on employees' screens.
        case cards
        /// Whether the portal's statistics have the call, after a request whose outcome is unknown.
        case lookup
        /// Who is responsible for the client.
        case search
        /// Something that is no call's, sent under the same limits.
        case errand
    }

    /// What goes first.
    package enum Lane: Sendable, Hashable {
        /// Calls that are going on: somebody's screen waits.
        case live
        /// Calls that have ended; the oldest first.
        case ended
        /// What is no call's.
        case errand
    }

    /// A request to be sent now: one command by itself, or several as a `batch`.
    package struct Departure: Sendable, Hashable {
        /// One command of it.
        package struct Part: Sendable, Hashable {
            /// Empty when it is no call's.
            package var callID: String
            package var step: Step
            package var command: BitrixCommand
            /// Its name inside a batch.
            package var key: String

            /// All fields; see each.
            package init(callID: String, step: Step, command: BitrixCommand, key: String) {
                self.callID = callID
                self.step = step
                self.command = command
                self.key = key
            }
        }

        /// The commands, in order; never empty.
        package var parts: [Part]
        package var lane: Lane
        /// When it was given out.
        package var sentAt: Duration
        /// The number that ``BitrixOutbox/submitErrand(_:)`` gave.
        package var errand: Int?
        /// What is to be claimed in the table before it may be sent.
        package var claims: [CRMStepClaim] = []

        /// All fields; see each.
        package init(
            parts: [Part], lane: Lane, sentAt: Duration, errand: Int? = nil, claims: [CRMStepClaim] = []
        ) {
            self.claims = claims
            self.parts = parts
            self.lane = lane
            self.sentAt = sentAt
            self.errand = errand
        }

        /// Whether it travels as `batch`.
        package var isBatch: Bool { parts.count > 1 }
        /// The first command's call.
        package var callID: String { parts[0].callID }
        /// The first command.
        package var command: BitrixCommand { parts[0].command }
        /// The method that is called.
        package var method: BitrixMethod { isBatch ? .batch : command.method }

        /// The body, `application/x-www-form-urlencoded`.
        package var formBody: [UInt8] {
            isBatch
                ? BitrixCommand.batchBody(parts.map { (key: $0.key, command: $0.command) })
                : command.formBody
        }
    }

    /// Something to be reported; see ``BitrixClient`` for what is logged and counted.
    package enum Effect: Sendable, Hashable {
        /// The portal knows the call under this id.
        case registered(callID: String, bitrixCallID: String, warnings: [String])
        /// An earlier run registered the call; this one goes on with it.
        case resumed(callID: String, bitrixCallID: String)
        /// The call is finished. Not `confirmed`: the portal no longer knew the call after an attempt whose
        /// answer was lost, so that attempt is taken to have worked.
        case finished(callID: String, confirmed: Bool, warnings: [String])
        /// The call is finished, and its recording is to be attached.
        case recordDue(CRMCall, bitrixCallID: String, age: Duration)
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
        /// The circuit breaker has moved.
        case circuit(CircuitBreaker.State)
        /// Whether the portal lets its statistics be read, which decides how ended calls travel.
        case statistics(isReadable: Bool)
    }

    /// A call between its first step and its last.
    struct Entry {
        enum Stage: Hashable {
            case register
            case registered(bitrixCallID: String)
            case finishing(bitrixCallID: String)
            /// Done, or given up; kept only until the call has ended.
            case closed
        }

        enum Place: Hashable {
            /// Nothing to be done before something happens.
            case idle
            /// Until its time.
            case waiting
            /// In the lane.
            case ready(Lane)
            case underWay
        }

        /// States of a call's rows; nil: there is none.
        struct Rows: Hashable {
            var register: CRMStepState?
            var cards: CRMStepState?
            var finish: CRMStepState?
            var record: CRMStepState?
        }

        /// How a call was closed.
        enum Ending: Hashable {
            case done
            /// The step was given up.
            case failed(Step, reason: String)
        }

        /// The portal's id of the call, while it is known.
        var bitrixCallID: String? {
            switch stage {
            case .registered(let bitrixCallID), .finishing(let bitrixCallID): bitrixCallID
            case .register, .closed: nil
            }
        }

        var call: CRMCall
        var facts: BitrixCallFacts
        var stage = Stage.register
        /// Who sees it on the screen.
        var cards = Cards()
        /// When it was given to us.
        var submittedAt: Duration = .zero
        /// Set when the call has ended.
        var ended: CRMCall?
        /// Who the finished call goes to, when that is not `facts.user`.
        var finishUser: BitrixUser?
        /// Whom the portal did not know.
        var unknownUser: BitrixUser?
        /// Whether the portal is to be asked who is responsible, before the finish.
        var needsSearch = false
        /// What the table holds of its steps.
        var rows = Rows()
        /// Why the last attempt of the present step did not work.
        var lastError: String?
        /// How long a repeat waits.
        var repeatsIn: Duration = .zero
        /// How it was closed.
        var ending = Ending.done
        /// Requests made for the present step.
        var attempts = 0
        /// Whether one of them may have had its effect without our hearing of it.
        var mayHaveRun = false
        /// Register and finish travelled together and nothing is known of them: the statistics tell, but not before
        /// this time, when the portal has cut off whatever was still running.
        var lookupFrom: Duration?
        /// Since when the present step fails.
        var failingSince: Duration?
        var place = Place.idle
        /// Of what is queued for a call, only the latest counts.
        var ticket: UInt64 = 0
    }

    struct Ticket {
        var callID: String
        var number: UInt64
        /// Its place in the lane.
        var rank: Duration
    }

    /// Whether ended calls may travel as pairs.
    enum Statistics {
        case unknown, asked, readable, denied
    }
}
