import Foundation

/// The order of keys and the kinds of values of a JSON text, everything else left out; elements of arrays
/// are left out too, for their number differs.
///
///     {"type":"Dial","peer":{"id":"7"},"n":[1]}  →  {type:s,peer:{id:s},n:[]}
func skeleton(of bytes: some Collection<UInt8>) -> String {
    var text = ""
    var arrayDepth = 0
    var stack: [UInt8] = []
    let bytes = Array(bytes)
    var index = 0
    var expectsKey = false
    func put(_ part: String) { if arrayDepth == 0 { text += part } }
    while index < bytes.count {
        let byte = bytes[index]
        switch byte {
        case UInt8(ascii: "{"):
            put("{")
            stack.append(byte)
            expectsKey = true
        case UInt8(ascii: "["):
            put("[]")
            arrayDepth += 1
            stack.append(byte)
            expectsKey = false
        case UInt8(ascii: "}"):
            put("}")
            stack.removeLast()
        case UInt8(ascii: "]"):
            arrayDepth -= 1
            stack.removeLast()
        case UInt8(ascii: ","):
            put(",")
            expectsKey = stack.last == UInt8(ascii: "{")
        case UInt8(ascii: ":"):
            put(":")
            expectsKey = false
        case UInt8(ascii: "\""):
            var end = index + 1
            while end < bytes.count, bytes[end] != UInt8(ascii: "\"") {
                end += bytes[end] == UInt8(ascii: "\\") ? 2 : 1
            }
            put(expectsKey ? String(decoding: bytes[(index + 1)..<end], as: UTF8.self) : "s")
            index = end
        case UInt8(ascii: "t"), UInt8(ascii: "f"):
            put("b")
            index += byte == UInt8(ascii: "t") ? 3 : 4
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"):
            put("n")
            while index + 1 < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[index + 1])
            {
                index += 1
            }
        default: put("?")
        }
        index += 1
    }
    return text
}

/// The recorded events of this repository.
enum Recordings {
    static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Fixtures/ari")

    /// All files of recorded events, one event a line.
    static func files() throws -> [URL] {
        try ["asterisk-16", "asterisk-22"].flatMap { version in
            try FileManager.default.contentsOfDirectory(
                at: folder.appending(path: version), includingPropertiesForKeys: nil
            ).filter { $0.pathExtension == "jsonl" }
        }.sorted { $0.path < $1.path }
    }

    /// The events of one file.
    static func events(in file: URL) throws -> [ArraySlice<UInt8>] {
        try [UInt8](Data(contentsOf: file)).split(separator: 0x0A)
    }
}
