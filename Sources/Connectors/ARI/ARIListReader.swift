import Protocols

/// Reads the answers of `GET /channels` and `GET /bridges` a little at a time: thousands of channels are several
/// megabytes, and the loop has other work.
struct ARIListReader {
    /// One channel of the list.
    struct Channel {
        /// Its unique id.
        var id: [UInt8]
        /// Where its object lies in the list.
        var range: Range<Int>
        /// Whether it waits in our application: its dialplan stands at Stasis() with our name.
        ///
        /// Asterisk does not list such channels in `GET /applications/{app}` once an application has subscribed to all
        /// channels (tried on 22), so it is read off their position in the dialplan.
        var isHeld: Bool
    }

    private static let plan = JSONFieldPlan([["id"], ["dialplan", "app_name"], ["dialplan", "app_data"]])

    let channelList: [UInt8]
    let bridgeList: [UInt8]
    private(set) var channels: [Channel] = []
    /// For each member of a bridge the bridge's object, as `ChannelEnteredBridge` would have it.
    private(set) var bridgeOfMember: [[UInt8]: Int] = [:]
    private(set) var bridges: [[UInt8]] = []
    private let app: [UInt8]
    private let scanner = JSONFieldScanner(Self.plan)
    private var channelElements = JSONElements()
    private var bridgeElements = JSONElements()

    init(channels: [UInt8], bridges: [UInt8], app: String) {
        channelList = channels
        bridgeList = bridges
        self.app = Array(app.utf8)
    }

    /// Reads up to `limit` channels.
    ///
    /// - Returns: Whether there may be more.
    /// - Throws: `JSONError` when the list is no array of objects.
    mutating func readChannels(_ limit: Int) throws(JSONError) -> Bool {
        let list = channelList
        for _ in 0..<limit {
            guard let range = try channelElements.next(in: list.span.bytes) else { return false }
            let object = list.span.bytes.extracting(range)
            guard try scanner.scan(object).root == .object else {
                throw JSONError(.unexpectedByte, at: range.lowerBound)
            }
            var id: [UInt8] = []
            scanner[0].append(to: &id, from: object)
            var data: [UInt8] = []
            scanner[2].append(to: &data, from: object)
            let isHeld =
                scanner[1].equals("Stasis", in: object) && data.starts(with: app)
                && (data.count == app.count || data[app.count] == UInt8(ascii: ","))
            channels.append(Channel(id: id, range: range, isHeld: isHeld))
        }
        return true
    }

    /// The ids of all channels of an answer to `GET /channels`; `nil` when it is none.
    static func channelIDs(_ answer: [UInt8]) -> [[UInt8]]? {
        var reader = ARIListReader(channels: answer, bridges: [], app: "")
        guard (try? reader.readChannels(.max)) != nil else { return nil }
        return reader.channels.map(\.id)
    }

    /// Reads up to `limit` bridges.
    ///
    /// - Returns: Whether there may be more.
    /// - Throws: `JSONError` when the list is no array of objects.
    mutating func readBridges(_ limit: Int) throws(JSONError) -> Bool {
        let list = bridgeList
        for _ in 0..<limit {
            guard let range = try bridgeElements.next(in: list.span.bytes) else { return false }
            let bridge = try JSONValue.parse(list.span.bytes.extracting(range))
            let members = (bridge["channels"]?.array ?? []).compactMap(\.string)
            guard !members.isEmpty else { continue }
            for member in members { bridgeOfMember[Array(member.utf8)] = bridges.count }
            bridges.append(
                JSONWriter.object { object in
                    for key in ["id", "technology", "bridge_type", "bridge_class", "creator", "name"] {
                        if let text = bridge[key]?.string { object.member(key, text) }
                    }
                })
        }
        return true
    }

    /// Whether a bridge has a member that is no channel of the list: one of the two is older than the other.
    var bridgesNameUnknownChannels: Bool {
        let known = Set(channels.map(\.id))
        return bridgeOfMember.keys.contains { !known.contains($0) }
    }

    /// A channel as the text of a `ChannelSnapshot` event, its bridge with it.
    func event(of channel: Channel) -> [UInt8] {
        var event = Array(#"{"type":"ChannelSnapshot","channel":"#.utf8)
        event.append(contentsOf: channelList[channel.range])
        if let bridge = bridgeOfMember[channel.id] {
            event.append(contentsOf: #","bridge":"#.utf8)
            event.append(contentsOf: bridges[bridge])
        }
        event.append(0x7D)
        return event
    }
}
