/// Ways in which a simulated PBX misbehaves, for tests of the reader.
package struct FaultPlan: Sendable, Equatable {
    /// What happens to the next requests for the event stream.
    package enum Handshake: String, Sendable, CaseIterable {
        /// As it should be.
        case accept
        /// 401 whatever the credentials.
        case unauthorized
        /// 503, as a web server before the PBX may answer.
        case unavailable
        /// The connection is cut without an answer.
        case cut
        /// Bytes that are no HTTP.
        case garbage
        /// No answer at all.
        case silence
    }

    /// What the open stream is given once; each but `silence` is followed by further events if the reader
    /// is still there.
    package enum Stream: String, Sendable, CaseIterable {
        /// Nothing.
        case none
        /// The connection is reset in the middle of a frame.
        case resetInFrame = "reset_in_frame"
        /// The connection is ended in an orderly way without a close frame, as `core stop now` does.
        case end
        /// Nothing is sent any more, and pings are not answered: a half-open connection.
        case silence
        /// A frame with a reserved opcode.
        case badOpcode = "bad_opcode"
        /// A masked frame, which a server must not send.
        case maskedFrame = "masked_frame"
        /// A text frame whose length says 17 MiB.
        case hugeFrame = "huge_frame"
        /// A text message that is not UTF-8.
        case badUTF8 = "bad_utf8"
        /// Well-framed messages that are no valid event: cut short, nested 200 deep, a bare number, empty.
        case badJSON = "bad_json"
        /// A valid event in which keys stand twice.
        case duplicateKeys = "duplicate_keys"
        /// ApplicationReplaced, as when another reader takes the application's name.
        case replaced
    }

    /// What happens to REST requests.
    package enum Requests: String, Sendable, CaseIterable {
        /// As they should be.
        case answer
        /// 500 with a JSON message.
        case fail
        /// 403, as for a read-only user.
        case forbid
        /// No answer at all.
        case silence
    }

    /// For this many requests for the event stream (`Int.max`: for ever).
    package var handshake = Handshake.accept
    package var handshakes = Int.max
    package var stream = Stream.none
    package var requests = Requests.answer

    package init(
        handshake: Handshake = .accept, handshakes: Int = .max, stream: Stream = .none,
        requests: Requests = .answer
    ) {
        self.handshake = handshake
        self.handshakes = handshakes
        self.stream = stream
        self.requests = requests
    }

    /// No faults.
    package static let none = FaultPlan()
}
