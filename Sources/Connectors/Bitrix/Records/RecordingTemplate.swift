package import CallEngine
import Glibc
import Protocols

/// Where a call's recording lies: a path on this machine, or an address that the portal can fetch it from.
///
/// Variables in braces stand for what is known of the call, as in `/var/spool/asterisk/monitor/{year}/{month}/{day}/*-{uniqueid}.wav`;
/// in a path `*` and `?` stand for what is not known (man 7 glob). Times are of this machine's zone, as PBXs name their files.
package struct RecordingTemplate: Sendable, Hashable, CustomStringConvertible {
    /// What may stand in braces.
    package enum Variable: String, Sendable, CaseIterable {
        /// The call's id, with the PBX's prefix.
        case id
        /// The same without prefix and system name: what stands behind the last `-`.
        case uniqueid
        case pbx, caller, callee
        /// Who answered, or was called.
        case `extension`
        /// `in` or `out`.
        case direction
        case year, month, day, hour, minute, second
    }

    /// Why a text is no template.
    package struct Problem: Error, Hashable, CustomStringConvertible {
        package var description: String
    }

    private enum Piece: Hashable {
        case text(String)
        case variable(Variable)
    }

    /// The text it was read from.
    package let description: String
    private let pieces: [Piece]
    /// Whether it is an address and not a path.
    package let isAddress: Bool

    /// Reads a template.
    package init(_ text: String) throws(Problem) {
        description = text
        isAddress = text.hasPrefix("http://") || text.hasPrefix("https://")
        guard isAddress || text.hasPrefix("/") else {
            throw Problem(description: "must begin with / or https://")
        }
        let lower = text.lowercased()
        guard Self.endings.contains(where: { lower.hasSuffix($0) }) else {
            throw Problem(description: "must end with .wav or .mp3; the portal takes nothing else")
        }
        var pieces: [Piece] = []
        var rest = text[...]
        while let open = rest.firstIndex(of: "{") {
            guard let close = rest[open...].firstIndex(of: "}") else {
                throw Problem(description: "has a { without a }")
            }
            let name = String(rest[rest.index(after: open)..<close])
            guard let variable = Variable(rawValue: name) else {
                let known = Variable.allCases.map { "{\($0.rawValue)}" }.joined(separator: " ")
                throw Problem(description: "has {\(name)}, which is none of \(known)")
            }
            if open > rest.startIndex { pieces.append(.text(String(rest[..<open]))) }
            pieces.append(.variable(variable))
            rest = rest[rest.index(after: close)...]
        }
        if !rest.isEmpty { pieces.append(.text(String(rest))) }
        guard pieces.contains(where: { $0 == .variable(.id) || $0 == .variable(.uniqueid) }) else {
            throw Problem(description: "needs {id} or {uniqueid}, or all calls would have one recording")
        }
        self.pieces = pieces
    }

    private static let endings = [".wav", ".mp3"]

    /// The path or address of a call's recording.
    ///
    /// What a caller can choose cannot lead to another folder: of a variable only letters, digits, `+`, `#`, `_`, `@`, `-` and
    /// dots within are kept in a path, each other character is any one character.
    package func location(of call: CRMCall, pbx: String) -> String {
        var local = tm()
        var seconds = time_t(call.startedAt.microseconds / 1_000_000)
        localtime_r(&seconds, &local)
        var output = ""
        for piece in pieces {
            switch piece {
            case .text(let text): output += text
            case .variable(let variable):
                let value = self.value(variable, call, pbx, local)
                output += isAddress ? PercentCoding.encoded(value) : Self.safe(value)
            }
        }
        return output
    }

    private func value(_ variable: Variable, _ call: CRMCall, _ pbx: String, _ time: tm) -> String {
        func digits(_ number: Int32, _ count: Int) -> String {
            let text = String(number)
            return String(repeating: "0", count: max(0, count - text.utf8.count)) + text
        }
        return switch variable {
        case .id: call.callID
        case .uniqueid: String(call.callID.split(separator: "-").last ?? "")
        case .pbx: pbx
        case .caller: call.callerNumber ?? ""
        case .callee: call.calleeNumber ?? ""
        case .extension: call.answeredBy ?? call.calleeNumber ?? ""
        case .direction: call.direction == .outbound ? "out" : "in"
        case .year: digits(time.tm_year + 1900, 4)
        case .month: digits(time.tm_mon + 1, 2)
        case .day: digits(time.tm_mday, 2)
        case .hour: digits(time.tm_hour, 2)
        case .minute: digits(time.tm_min, 2)
        case .second: digits(time.tm_sec, 2)
        }
    }

    private static func safe(_ value: String) -> String {
        let bytes = value.utf8.map { byte -> UInt8 in
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2B, 0x23, 0x5F, 0x40, 0x2D, 0x2E: byte
            default: 0x3F
            }
        }
        let text = String(decoding: bytes, as: UTF8.self)
        // A name of dots alone is another folder.
        return text.allSatisfy { $0 == "." } ? text.map { _ in "?" }.joined() : text
    }
}
