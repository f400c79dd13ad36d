import Protocols
import Testing

/// One way in which requests have been smuggled: bytes that two readers along a chain may cut or read differently.
struct SmugglingVector: CustomTestStringConvertible, Sendable {
    /// The section of RFC 9112 (or RFC 9110, where it says so) that it breaks.
    var section: String
    /// What is tried.
    var name: String
    /// The request, from its first byte on.
    var request: String
    /// What we say of it.
    var error: HTTPError

    var testDescription: String { "\(section) \(name)" }

    /// A request that is good but for the field lines given.
    static func fields(
        _ section: String, _ name: String, _ fields: String, _ error: HTTPError
    ) -> SmugglingVector {
        SmugglingVector(
            section: section, name: name,
            request: "POST / HTTP/1.1\r\nHost: h\r\n\(fields)\r\n\r\n3\r\nabc\r\n0\r\n\r\n", error: error)
    }

    /// A request that is good but for its chunks.
    static func chunks(
        _ section: String, _ name: String, _ body: String, _ error: HTTPError
    ) -> SmugglingVector {
        SmugglingVector(
            section: section, name: name,
            request: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\(body)", error: error)
    }

    static let lengths: [SmugglingVector] = [
        fields(
            "§6.3", "length before coding", "Content-Length: 3\r\nTransfer-Encoding: chunked",
            .ambiguousLength),
        fields(
            "§6.3", "coding before length", "Transfer-Encoding: chunked\r\nContent-Length: 3",
            .ambiguousLength),
        fields(
            "§6.3", "length 0 and coding", "Content-Length: 0\r\nTransfer-Encoding: chunked", .ambiguousLength
        ),
        fields("§6.3", "two equal lengths", "Content-Length: 3\r\nContent-Length: 3", .invalidContentLength),
        fields("§6.3", "two lengths", "Content-Length: 3\r\nContent-Length: 4", .invalidContentLength),
        fields(
            "§6.3", "two lengths in other case", "Content-Length: 3\r\ncontent-length: 4",
            .invalidContentLength),
        fields("§6.3", "a list of equal lengths", "Content-Length: 3, 3", .invalidContentLength),
        fields("§6.3", "a list of lengths", "Content-Length: 3, 4", .invalidContentLength),
        fields("RFC 9110 §8.6", "plus sign", "Content-Length: +3", .invalidContentLength),
        fields("RFC 9110 §8.6", "minus sign", "Content-Length: -3", .invalidContentLength),
        fields("RFC 9110 §8.6", "hexadecimal", "Content-Length: 0x3", .invalidContentLength),
        fields("RFC 9110 §8.6", "a letter behind", "Content-Length: 3a", .invalidContentLength),
        fields("RFC 9110 §8.6", "white space within", "Content-Length: 3 3", .invalidContentLength),
        fields("RFC 9110 §8.6", "nothing", "Content-Length: ", .invalidContentLength),
        fields("RFC 9110 §8.6", "a fraction", "Content-Length: 3.0", .invalidContentLength),
        fields("RFC 9110 §8.6", "an exponent", "Content-Length: 3e0", .invalidContentLength),
        fields("RFC 9110 §8.6", "digits of another script", "Content-Length: ٣", .invalidContentLength),
        fields("RFC 9110 §8.6", "an underscore", "Content-Length: 1_0", .invalidContentLength),
        fields("RFC 9110 §8.6", "quoted", "Content-Length: \"3\"", .invalidContentLength),
        fields(
            "RFC 9110 §8.6", "beyond 63 bits", "Content-Length: 9999999999999999999", .invalidContentLength),
        fields("RFC 9110 §8.6", "wraps to 3", "Content-Length: 18446744073709551619", .invalidContentLength),
        fields("RFC 9110 §8.6", "a comma behind", "Content-Length: 3,", .invalidContentLength),
    ]

    static let codings: [SmugglingVector] = [
        fields(
            "§6.3", "chunked is not last", "Transfer-Encoding: chunked, identity", .ambiguousTransferCoding),
        fields("§6.3", "chunked is not there", "Transfer-Encoding: identity", .ambiguousTransferCoding),
        fields("§6.3", "a word like chunked", "Transfer-Encoding: xchunked", .ambiguousTransferCoding),
        fields("§6.3", "a word that begins so", "Transfer-Encoding: chunkedx", .ambiguousTransferCoding),
        fields("§6.3", "with a parameter", "Transfer-Encoding: chunked;x=y", .ambiguousTransferCoding),
        fields("§6.3", "quoted", "Transfer-Encoding: \"chunked\"", .ambiguousTransferCoding),
        fields("§6.3", "nothing", "Transfer-Encoding: ", .ambiguousTransferCoding),
        fields("§6.3", "an empty member in front", "Transfer-Encoding: , chunked", .ambiguousTransferCoding),
        fields("§6.3", "an empty member behind", "Transfer-Encoding: chunked,", .ambiguousTransferCoding),
        fields(
            "§6.1", "chunked twice in a list", "Transfer-Encoding: chunked, chunked", .ambiguousTransferCoding
        ),
        fields(
            "§6.1", "chunked in two lines", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            .ambiguousTransferCoding),
        fields(
            "§6.3", "a second line hides it", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
            .ambiguousTransferCoding),
        fields("§6.1", "a coding that we lack", "Transfer-Encoding: gzip, chunked", .unknownTransferCoding),
        fields(
            "§6.1", "that in two lines", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
            .unknownTransferCoding),
        fields("§5.5", "a vertical tab in front", "Transfer-Encoding:\u{B}chunked", .malformedField),
        fields("§5.5", "a form feed in front", "Transfer-Encoding:\u{C}chunked", .malformedField),
        fields("§5.5", "NUL behind", "Transfer-Encoding: chunked\u{0}", .malformedField),
        SmugglingVector(
            section: "§6.1", name: "a coding in HTTP/1.0",
            request: "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", error: .ambiguousLength
        ),
    ]

    static let lines: [SmugglingVector] = [
        fields("§5.1", "space before the colon of a length", "Content-Length : 3", .spaceBeforeColon),
        fields("§5.1", "tab before the colon of a coding", "Transfer-Encoding\t: chunked", .spaceBeforeColon),
        fields("§5.1", "NUL in a name", "Content\u{0}-Length: 3", .malformedField),
        fields("§5.1", "no name", ": chunked", .malformedField),
        fields("§5.1", "no colon", "Transfer-Encoding chunked", .spaceBeforeColon),
        fields("§5.1", "a name that is no token", "Transfer-Encoding[]: chunked", .malformedField),
        fields("§5.1", "DEL in a name", "Transfer-Encoding\u{7F}: chunked", .malformedField),
        fields("§5.2", "a folded coding", "Transfer-Encoding:\r\n chunked", .obsoleteLineFolding),
        fields("§5.2", "a folded other field", "X: y\r\n Content-Length: 3", .obsoleteLineFolding),
        fields("§5.2", "a line that starts with a tab", "X: y\r\n\tContent-Length: 3", .obsoleteLineFolding),
        fields("§2.2", "LF alone", "X: y\nContent-Length: 3", .bareLineFeed),
        fields("§2.2", "CR alone", "X: y\rContent-Length: 3", .bareCarriageReturn),
        fields("§2.2", "CR CR LF", "X: y\r", .bareCarriageReturn),
        fields("§2.2", "an end of CR LF LF", "X: y\r\n\nGET /2 HTTP/1.1", .bareLineFeed),
        SmugglingVector(
            section: "§2.2", name: "white space before the first field",
            request: "GET / HTTP/1.1\r\n Host: h\r\n\r\n", error: .obsoleteLineFolding),
        SmugglingVector(
            section: "§3", name: "white space within the target",
            request: "GET /a /b HTTP/1.1\r\nHost: h\r\n\r\n",
            error: .malformedStartLine),
        SmugglingVector(
            section: "§3", name: "a tab for a space", request: "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n",
            error: .malformedStartLine),
        SmugglingVector(
            section: "§3", name: "no version", request: "GET /\r\nHost: h\r\n\r\n", error: .malformedStartLine
        ),
        SmugglingVector(
            section: "§3", name: "CR within the line", request: "GET / \rHTTP/1.1\r\nHost: h\r\n\r\n",
            error: .malformedStartLine),
        SmugglingVector(
            section: "§3.2", name: "two Host fields", request: "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            error: .invalidHost),
        SmugglingVector(
            section: "§3.2", name: "two hosts in one", request: "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
            error: .invalidHost),
        SmugglingVector(
            section: "§3.2", name: "two ports", request: "GET / HTTP/1.1\r\nHost: a:80:90\r\n\r\n",
            error: .invalidHost),
        SmugglingVector(
            section: "§3.2", name: "user information in Host", request: "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
            error: .invalidHost),
        SmugglingVector(
            section: "RFC 9110 §4.2.4", name: "user information in the target",
            request: "GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n", error: .malformedStartLine),
        SmugglingVector(
            section: "RFC 9110 §4.2.1", name: "a target without host",
            request: "GET http:///x HTTP/1.1\r\nHost: b\r\n\r\n", error: .malformedStartLine),
    ]

    static let chunks: [SmugglingVector] = [
        chunks("§7.1", "no number", "g\r\n", .malformedChunk),
        chunks("§7.1", "an empty line", "\r\n", .malformedChunk),
        chunks("§7.1", "minus sign", "-1\r\n", .malformedChunk),
        chunks("§7.1", "plus sign", "+3\r\nabc", .malformedChunk),
        chunks("§7.1", "0x in front", "0x3\r\nabc", .malformedChunk),
        chunks("§7.1", "space in front", " 3\r\nabc", .malformedChunk),
        chunks("§7.1", "space behind", "3 \r\nabc", .malformedChunk),
        chunks("§7.1", "an underscore", "1_0\r\nabc", .malformedChunk),
        chunks("§7.1", "LF alone", "3\nabc", .malformedChunk),
        chunks("§7.1", "CR alone", "3\rabc", .malformedChunk),
        chunks("§7.1.1", "LF alone behind an extension", "3;x\nabc", .malformedChunk),
        chunks("§7.1.1", "NUL in an extension", "3;\u{0}\r\nabc", .malformedChunk),
        chunks("§7.1.1", "CR in an extension", "3;a\rb\r\nabc", .malformedChunk),
        chunks("§7.1.1", "space before an extension", "3 ;x\r\nabc", .malformedChunk),
        chunks(
            "§7.1.1", "an extension over the limit", "3;" + String(repeating: "x", count: 300),
            .malformedChunk),
        chunks("§7.1", "more data than said", "3\r\nabcd\r\n", .malformedChunk),
        chunks("§7.1", "less data than said", "5\r\nabc\r\n0\r\n\r\n", .malformedChunk),
        chunks("§7.1", "LF alone behind the data", "3\r\nabc\n", .malformedChunk),
        chunks("§7.1", "CR alone behind the data", "3\r\nabc\rX", .malformedChunk),
        chunks("§7.1", "more digits than a size has", "0000000000000003\r\nabc", .malformedChunk),
        chunks("§7.1", "wraps", "FFFFFFFFFFFFFFFFF\r\n", .malformedChunk),
        chunks("§7.1", "wraps to 3", "10000000000000003\r\nabc", .malformedChunk),
        chunks("§7.1", "over the limit", "7FFFFFFFFFFFFFF\r\n", .bodyTooLarge(limit: 16 << 20)),
        chunks("§7.1.2", "space before a colon in the trailer", "0\r\nA : b\r\n\r\n", .spaceBeforeColon),
        chunks("§7.1.2", "a folded trailer", "0\r\n A: b\r\n\r\n", .obsoleteLineFolding),
        chunks("§7.1.2", "LF alone in the trailer", "0\r\nA: b\n\r\n", .bareLineFeed),
        chunks("§7.1.2", "the next request as a trailer", "0\r\nGET / HTTP/1.1\r\n\r\n", .spaceBeforeColon),
    ]
}

@Suite("Request smuggling, RFC 9112 §11.2")
struct SmugglingTests {
    @Test("§6.2, §6.3 lengths", arguments: SmugglingVector.lengths)
    func lengths(vector: SmugglingVector) { refused(vector) }

    @Test("§6.1 transfer codings", arguments: SmugglingVector.codings)
    func codings(vector: SmugglingVector) { refused(vector) }

    @Test("§2.2, §3, §5 lines and fields", arguments: SmugglingVector.lines)
    func lines(vector: SmugglingVector) { refused(vector) }

    @Test("§7.1 chunks", arguments: SmugglingVector.chunks)
    func chunks(vector: SmugglingVector) { refused(vector) }

    /// Whatever follows in the stream is never read as a request.
    private func refused(_ vector: SmugglingVector) {
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
        #expect(throws: vector.error) { try readRequests(vector.request + smuggled) }
        let code = vector.error.statusCode
        let expected =
            switch vector.error {
            case .unknownTransferCoding: 501
            case .bodyTooLarge: 413
            default: 400
            }
        #expect(code == expected)
    }

    @Test("§6.3, §7.1 what looks alike and is good")
    func good() throws {
        let next = "GET /2 HTTP/1.1\r\nHost: h\r\n\r\n"
        for fields in [
            "Content-Length: 3", "Content-Length:3", "Content-Length: \t3\t ", "content-LENGTH: 003",
            "X: Transfer-Encoding: chunked\r\nContent-Length: 3",
        ] {
            #expect(
                try readRequests("POST / HTTP/1.1\r\nHost: h\r\n\(fields)\r\n\r\nabc\(next)") == [
                    ReadRequest(line: "POST / 1.1", body: "abc", isComplete: true),
                    ReadRequest(line: "GET /2 1.1", isComplete: true),
                ])
        }
    }

    static let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n"

    @Test("§7.1 chunked bodies")
    func chunked() throws {
        let next = "GET /2 HTTP/1.1\r\nHost: h\r\n\r\n"
        for body in [
            "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "03\r\nabc\r\n2;x=y;z=\"a b\"\r\nde\r\n000\r\n\r\n",
            "1\r\na\r\n4\r\nbcde\r\n0;x\r\nTrailer: x\r\nMore:\r\n\r\n",
            // A trailer changes nothing of what the head said (§7.1.2).
            "5\r\nabcde\r\n0\r\nContent-Length: 9\r\nTransfer-Encoding: x\r\nHost: a\r\n\r\n",
        ] {
            #expect(
                try readRequests(Self.head + body + next) == [
                    ReadRequest(line: "POST / 1.1", body: "abcde", isComplete: true),
                    ReadRequest(line: "GET /2 1.1", isComplete: true),
                ])
        }
    }
}
