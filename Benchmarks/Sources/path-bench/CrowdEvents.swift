/// Texts of the events of a made-up office's calls, as Asterisk 22 writes them: templates in which only numbers of fixed
/// width are written anew, so that making an event costs next to nothing beside reading it.
struct CrowdEvents {
    /// What a call goes through; those with three legs ring at two telephones.
    enum Step: Int, CaseIterable {
        case created, start, dialplan, dial, dialSecond, ringing, ringingSecond, up, callerUp, entered,
            callerEntered
        case hold, unhold
        case destroyed, destroyedSecond, destroyedCaller

        /// Steps that only calls of three legs have.
        var isSecond: Bool { self == .dialSecond || self == .ringingSecond || self == .destroyedSecond }
    }

    /// Until people talk.
    static let begin: [Step] = [
        .created, .start, .dialplan, .dial, .dialSecond, .ringing, .ringingSecond, .up, .callerUp, .entered,
        .callerEntered,
    ]
    /// While they do.
    static let talk: [Step] = [.hold, .unhold]
    static let end: [Step] = [.destroyedSecond, .destroyed, .destroyedCaller]

    private struct Template {
        var bytes: [UInt8]
        /// Where the number of the call and the time stand.
        var numbers: [Int]
        var times: [Int]
    }

    private var templates: [Template]

    init() {
        templates = Step.allCases.map { Self.template($0) }
    }

    /// Gives the event's text to `body`, borrowed.
    ///
    /// - Parameters:
    ///   - call: Below 10,000,000.
    ///   - milliseconds: Of the day.
    mutating func with<Result>(
        _ step: Step, call: Int, milliseconds: Int, _ body: (UnsafeRawBufferPointer) throws -> Result
    ) rethrows -> Result {
        let index = step.rawValue
        for place in templates[index].numbers { Self.write(call, 7, &templates[index].bytes, place) }
        let seconds = milliseconds / 1000
        for place in templates[index].times {
            Self.write(seconds / 3600 % 24, 2, &templates[index].bytes, place)
            Self.write(seconds / 60 % 60, 2, &templates[index].bytes, place + 3)
            Self.write(seconds % 60, 2, &templates[index].bytes, place + 6)
            Self.write(milliseconds % 1000, 3, &templates[index].bytes, place + 9)
        }
        return try templates[index].bytes.withUnsafeBytes(body)
    }

    private static func write(_ number: Int, _ digits: Int, _ bytes: inout [UInt8], _ place: Int) {
        var number = number
        for digit in stride(from: digits - 1, through: 0, by: -1) {
            bytes[place + digit] = 0x30 + UInt8(number % 10)
            number /= 10
        }
    }

    // MARK: Texts

    private static let number = "NNNNNNN"
    private static let time = "HH:MM:SS.mmm"

    private static func channel(_ leg: Int, _ state: String, _ application: String) -> String {
        let name = leg == 0 ? "PJSIP/trunk-0\(number)" : "PJSIP/10\(leg)-0\(number)"
        let caller = leg == 0 ? "7916\(number)" : "10\(leg)"
        return
            #"{"id":"179500000\#(leg).\#(number)","name":"\#(name)","state":"\#(state)","protocol_id":"a84b4c76e66710@10.0.0.7","#
            + #""caller":{"name":"","number":"\#(caller)"},"connected":{"name":"","number":"74951000101"},"accountcode":"","#
            + #""dialplan":{"context":"from-trunk","exten":"74951000101","priority":3,"app_name":"\#(application)","#
            + #""app_data":"PJSIP/101&PJSIP/102,30"},"creationtime":"2026-11-22T\#(time)+0000","language":"en","#
            + #""channelvars":{"CHANNEL(linkedid)":"1795000000.\#(number)","intNum":"","extNum":""}}"#
    }

    private static func event(_ type: String, _ members: String) -> String {
        #"{"type":"\#(type)","timestamp":"2026-11-22T\#(time)+0000",\#(members),"asterisk_id":"00:16:3e:5e:6c:cf","application":"callflow_elixir"}"#
    }

    private static func bridge() -> String {
        #""bridge":{"id":"5d3bd8a4-c7c5-4e59-9d3a-00000\#(number)","technology":"simple_bridge","bridge_type":"mixing","#
            + #""bridge_class":"basic","creator":"","name":"","channels":[],"video_mode":"none"}"#
    }

    private static func dial(_ leg: Int, _ status: String) -> String {
        event(
            "Dial",
            #""dialstatus":"\#(status)","forward":"","dialstring":"10\#(leg)","caller":\#(channel(0, "Ring", "Dial")),"peer":\#(channel(leg, "Down", "AppDial"))"#
        )
    }

    private static func text(_ step: Step) -> String {
        func of(_ leg: Int, _ state: String, _ application: String) -> String {
            #""channel":\#(channel(leg, state, application))"#
        }
        switch step {
        case .created: return event("ChannelCreated", of(0, "Ring", ""))
        case .start: return event("StasisStart", #""args":[],"# + of(0, "Ring", "Stasis"))
        case .dialplan:
            return event(
                "ChannelDialplan", #""dialplan_app":"Dial","dialplan_app_data":"x","# + of(0, "Ring", "Dial"))
        case .dial: return dial(1, "")
        case .dialSecond: return dial(2, "")
        case .ringing: return dial(1, "RINGING")
        case .ringingSecond: return dial(2, "RINGING")
        case .up: return event("ChannelStateChange", of(1, "Up", "AppDial"))
        case .callerUp: return event("ChannelStateChange", of(0, "Up", "Dial"))
        case .entered: return event("ChannelEnteredBridge", bridge() + "," + of(1, "Up", "AppDial"))
        case .callerEntered: return event("ChannelEnteredBridge", bridge() + "," + of(0, "Up", "Dial"))
        case .hold: return event("ChannelHold", #""musicclass":"default","# + of(1, "Up", "AppDial"))
        case .unhold: return event("ChannelUnhold", of(1, "Up", "AppDial"))
        case .destroyed:
            return event(
                "ChannelDestroyed", #""cause":16,"cause_txt":"Normal Clearing","# + of(1, "Up", "AppDial"))
        case .destroyedSecond:
            return event(
                "ChannelDestroyed",
                #""cause":26,"cause_txt":"Answered elsewhere","# + of(2, "Ringing", "AppDial"))
        case .destroyedCaller:
            return event(
                "ChannelDestroyed", #""cause":16,"cause_txt":"Normal Clearing","# + of(0, "Up", "Dial"))
        }
    }

    private static func template(_ step: Step) -> Template {
        let bytes = Array(text(step).utf8)
        func places(of pattern: String) -> [Int] {
            let pattern = Array(pattern.utf8)
            return (0...(bytes.count - pattern.count)).filter {
                bytes[$0..<($0 + pattern.count)].elementsEqual(pattern)
            }
        }
        return Template(bytes: bytes, numbers: places(of: number), times: places(of: time))
    }
}
