import Protocols

/// Finds in `GET /channels` the channels that wait in an application.
///
/// While we were away a channel may have been left in Stasis() with nobody to continue it: its caller hears
/// nothing, for ever. Asterisk does not list such channels in `GET /applications/{app}` once an application
/// has subscribed to all channels (tried on 22), so they are read off the channels' dialplan position.
enum ARIHeldChannels {
    /// Ids of channels whose current dialplan application is Stasis() with `app` as its first argument.
    ///
    /// Reads only as much JSON as it needs; what is not an array of objects gives nothing.
    static func find(in body: RawSpan, app: String) -> [String] {
        var found: [String] = []
        let app = Array(app.utf8)
        var channel = Channel()
        var keys: [[UInt8]] = []
        var depth = 0
        var index = 0
        var key: [UInt8] = []
        var isValue = false
        while index < body.byteCount {
            let byte = body.byte(at: index)
            switch byte {
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                depth += 1
                guard depth <= 16 else { return found }
                if byte == UInt8(ascii: "{"), depth == 2 { channel = Channel() }
                keys.append(key)
                key = []
                isValue = false
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                guard depth > 0 else { return found }
                if byte == UInt8(ascii: "}"), depth == 2, channel.isHeld(by: app), let id = channel.id {
                    found.append(String(decoding: id, as: UTF8.self))
                }
                depth -= 1
                key = keys.removeLast()
                isValue = false
            case UInt8(ascii: ":"): isValue = true
            case UInt8(ascii: ","): isValue = false
            case UInt8(ascii: "\""):
                guard let end = endOfString(body, from: index + 1) else { return found }
                let text = body.extracting((index + 1)..<end).copied
                if !isValue {
                    key = text
                } else if depth == 2, key == Array("id".utf8) {
                    channel.id = text
                } else if depth == 3, keys.last == Array("dialplan".utf8) {
                    if key == Array("app_name".utf8) { channel.appName = text }
                    if key == Array("app_data".utf8) { channel.appData = text }
                }
                index = end
            default: break
            }
            index += 1
        }
        return found
    }

    private struct Channel {
        var id: [UInt8]?
        var appName: [UInt8] = []
        var appData: [UInt8] = []

        func isHeld(by app: [UInt8]) -> Bool {
            guard appName == Array("Stasis".utf8), appData.starts(with: app) else { return false }
            return appData.count == app.count || appData[app.count] == UInt8(ascii: ",")
        }
    }

    private static func endOfString(_ body: RawSpan, from start: Int) -> Int? {
        var index = start
        while index < body.byteCount {
            switch body.byte(at: index) {
            case UInt8(ascii: "\""): return index
            case UInt8(ascii: "\\"): index += 2
            default: index += 1
            }
        }
        return nil
    }
}
