import Glibc
import Protocols

/// What every answer of ours has, and the answers that no service makes.
enum HTTPAnswer {
    /// Appends status line and fields, `Date` first (RFC 9110 §6.6.1).
    static func appendHead(
        status: Int, fields: [(String, String)], framing: HTTPBodyFraming, closes: Bool,
        to output: inout [UInt8]
    ) {
        var all = [HTTPField("Date", date())]
        for (name, value) in fields { all.append(HTTPField(name, value)) }
        if closes { all.append(HTTPField("Connection", "close")) }
        HTTPWriter.responseHead(status, fields: all, body: framing, to: &output)
    }

    /// A whole answer with the JSON body of an error, after which the connection closes.
    static func refusal(_ status: Int, fields: [(String, String)] = []) -> [UInt8] {
        let body = errorBody(status)
        var output: [UInt8] = []
        appendHead(
            status: status, fields: [("Content-Type", jsonType)] + fields, framing: .length(body.count),
            closes: true, to: &output)
        output.append(contentsOf: body)
        return output
    }

    /// The JSON body of an error, in the shape that the API's contract has for 404.
    static func errorBody(_ status: Int) -> [UInt8] {
        Array(#"{"errors":{"detail":"\#(HTTPWriter.reason(for: status))"}}"#.utf8)
    }

    /// The media type of all JSON that we send.
    static let jsonType = "application/json; charset=utf-8"

    /// The current time as the `Date` field wants it: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
    static func date() -> String {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return date(Timestamp(seconds: Int64(time.tv_sec)))
    }

    /// A moment, 1970 or later, in that form.
    static func date(_ time: Timestamp) -> String {
        let civil = time.civil
        let names = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
        let months = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ]
        func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let name = names[Int(max(0, time.seconds) / 86_400 % 7)]
        return "\(name), \(two(civil.day)) \(months[civil.month - 1]) \(civil.year) "
            + "\(two(civil.hour)):\(two(civil.minute)):\(two(civil.second)) GMT"
    }
}
