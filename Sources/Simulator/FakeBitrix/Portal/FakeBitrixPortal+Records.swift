import Protocols

extension FakeBitrixPortal {
    /// Uploads that may be open at a time.
    static let maximumUploads = 1000

    /// `telephony.externalCall.attachRecord`: only after finish; one file for a call, a later one replaces it.
    mutating func attachRecord(_ parameters: PHPValue, at now: Timestamp) throws(PortalError) -> PHPValue {
        let callID = parameters["CALL_ID"].text ?? ""
        let url = parameters["RECORD_URL"].text ?? ""
        let name = parameters["FILENAME"] == .null ? nil : parameters["FILENAME"].text
        guard !url.isEmpty || name != nil else {
            throw telephonyError(
                "Required parameters are not set. Request should contain either URL or FILENAME parameter")
        }
        guard statistics[callID] != nil else {
            throw telephonyError(
                "Call is not found in the statistic table. It looks like it is not finished yet.")
        }
        if !url.isEmpty {
            let file = String(url.split(separator: "/").last ?? "record.mp3")
            return .map(["FILE_ID": .int(store(callID, name: file, byteCount: 0, at: now))])
        }
        guard let name, !name.isEmpty else { throw telephonyError("File name is empty") }
        guard [".wav", ".mp3"].contains(where: name.lowercased().hasSuffix) else {
            throw telephonyError("Wrong file extension. Only wav and mp3 are allowed")
        }
        let content = parameters["FILE_CONTENT"]
        if content == .null {
            let token = String(random.next(), radix: 16)
            if uploads.count >= Self.maximumUploads { uploads.removeAll() }
            uploads[token] = (callID, name)
            return .map([
                "uploadUrl": .string("\(settings.baseURL)/rest/upload.json?token=\(token)"),
                "fieldName": .string("file"),
            ])
        }
        guard let text = content.text, !text.isEmpty else { throw telephonyError("File content is empty.") }
        guard let bytes = Base64.decoded(text) else {
            throw telephonyError("File content is not properly encoded. Base64 encoding is expected.")
        }
        return .map(["FILE_ID": .int(store(callID, name: name, byteCount: bytes.count, at: now))])
    }

    /// The second step of an upload: one multipart field named `file`.
    mutating func upload(
        _ request: PortalRequest, _ parameters: PHPArray, at now: Timestamp
    ) throws(PortalError) -> PHPValue {
        guard let token = parameters["token"]?.text, let open = uploads[token] else {
            throw PortalError(status: 401, code: "NO_AUTH_FOUND", text: "Wrong authorization data")
        }
        guard let byteCount = Self.fileByteCount(request) else {
            throw telephonyError("File content is empty.")
        }
        uploads[token] = nil
        return .map(["FILE_ID": .int(store(open.callID, name: open.name, byteCount: byteCount, at: now))])
    }

    private mutating func store(_ callID: String, name: String, byteCount: Int, at now: Timestamp) -> Int {
        let fileID = makeID()
        statistics[callID]?.fileID = fileID
        note(.recordAttached(callID: callID, fileID: fileID, name: name, byteCount: byteCount), at: now)
        return fileID
    }

    /// Bytes of the part named `file`; nil when there is none or it is empty.
    private static func fileByteCount(_ request: PortalRequest) -> Int? {
        guard let type = request.contentType, type.lowercased().hasPrefix("multipart/form-data"),
            let mark = type.range(of: "boundary=")
        else { return nil }
        let boundary = type[mark.upperBound...].prefix { $0 != ";" }.filter { $0 != "\"" }
        let delimiter = Array("\r\n--\(boundary)".utf8)
        // The first delimiter has no line break in front.
        let body = Array("\r\n".utf8) + request.body
        var starts: [Int] = []
        var index = 0
        while index + delimiter.count <= body.count {
            if body[index..<(index + delimiter.count)].elementsEqual(delimiter) {
                starts.append(index)
                index += delimiter.count
            } else {
                index += 1
            }
        }
        for (start, end) in zip(starts, starts.dropFirst()) {
            let part = body[(start + delimiter.count)..<end]
            guard let split = headEnd(part) else { continue }
            let head = String(decoding: part[..<split], as: UTF8.self)
            let byteCount = end - split - 4
            if head.contains("name=\"file\"") { return byteCount > 0 ? byteCount : nil }
        }
        return nil
    }

    private static func headEnd(_ part: ArraySlice<UInt8>) -> Int? {
        guard part.count >= 4 else { return nil }
        for index in part.startIndex...(part.endIndex - 4)
        where part[index] == 13 && part[index + 1] == 10 && part[index + 2] == 13 && part[index + 3] == 10 {
            return index
        }
        return nil
    }
}

extension StringProtocol {
    /// The first occurrence of a text; the standard library has none without Foundation.
    fileprivate func range(of text: String) -> Range<Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
            start = index(after: start)
        }
        return nil
    }
}
