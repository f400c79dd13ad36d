import Protocols

/// The two steps of handing a file to the portal: asking where to, and sending it there.
enum RecordingUpload {
    /// Where the portal wants a file.
    struct Target: Equatable {
        var origin: HTTPOrigin
        /// Path and query; a secret.
        var target: String
        /// Name of the form's field.
        var field: String
    }

    /// Reads the answer to `attachRecord` with a name alone.
    ///
    /// - Parameter portal: Only there a file is sent; the address bears the portal's own key.
    static func target(in body: [UInt8], portal: HTTPOrigin) -> Target? {
        guard let value = try? JSONValue.parse(body.span.bytes),
            let text = value["result"]?["uploadUrl"]?.string,
            let url = try? URL(text)
        else { return nil }
        let origin = HTTPOrigin(url)
        guard origin.host.lowercased() == portal.host.lowercased(), origin.isSecure == portal.isSecure else {
            return nil
        }
        return Target(
            origin: origin, target: url.requestTarget,
            field: value["result"]?["fieldName"]?.string ?? "file")
    }

    /// Whether an answer says that the portal has the file.
    static func isAttached(_ body: [UInt8]) -> Bool {
        guard let value = try? JSONValue.parse(body.span.bytes) else { return false }
        return value["result"]?["FILE_ID"]?.text != nil
    }

    /// The form that carries a file (RFC 7578).
    ///
    /// - Parameter boundary: In no file by chance: random.
    static func form(field: String, name: String, _ file: [UInt8], boundary: String) -> [UInt8] {
        func clean(_ text: String) -> String { text.filter { $0 != "\"" && $0 != "\r" && $0 != "\n" } }
        let type = name.lowercased().hasSuffix(".mp3") ? "audio/mpeg" : "audio/wav"
        var form = Array(
            """
            --\(boundary)\r
            Content-Disposition: form-data; name="\(clean(field))"; filename="\(clean(name))"\r
            Content-Type: \(type)\r
            \r

            """.utf8)
        form.reserveCapacity(form.count + file.count + boundary.utf8.count + 8)
        form += file
        form += Array("\r\n--\(boundary)--\r\n".utf8)
        return form
    }
}
