/// The values that a ``JSONFieldScanner`` is to note, compiled once.
///
/// A path is the keys from the outermost object inwards: `["channel", "caller", "number"]`. Paths lead through
/// objects only, never into arrays. One path may lead through another's value.
///
/// ```
/// paths                      contexts
/// type                       root ─ type ·
/// channel.id                      └ channel ─ id ·
/// channel.caller.number                     └ caller ─ number ·
/// ```
public struct JSONFieldPlan: Sendable {
    /// A key of one context.
    struct Key: Sendable {
        var bytes: [UInt8]
        /// The context that the key stands in.
        var context: Int
        /// The context of an object that is its value; nil when no path goes further.
        var child: Int?
        /// Behind the last of the keys that lie within its value; keys are numbered inwards first, so those
        /// are `index + 1 ..< end`.
        var end: Int
    }

    /// The most keys on all paths together, and the most paths.
    public static let maximumKeys = 4096

    /// The paths, numbered as they were given.
    public let paths: [[String]]
    /// All keys on the paths.
    let keys: [Key]
    /// The key that each path ends with.
    let lastKeys: [Int]
    /// How many contexts there are; 0 is the outermost object.
    let contextCount: Int

    /// Compiles paths; none may be empty or given twice.
    public init(_ paths: [[String]]) {
        precondition(paths.count <= JSONFieldPlan.maximumKeys)
        precondition(paths.allSatisfy { !$0.isEmpty })
        precondition(Set(paths).count == paths.count)
        self.paths = paths
        var builder = Builder()
        let order = paths.indices.map { (path: paths[$0], index: $0) }
        builder.add(order.map { ($0.path[...], $0.index) }, to: 0)
        precondition(builder.keys.count <= JSONFieldPlan.maximumKeys)
        keys = builder.keys
        contextCount = builder.contextCount
        lastKeys = paths.indices.map { builder.lastKeys[$0] ?? 0 }
    }

    /// The number of a path, for building tables of names.
    public func index(of path: [String]) -> Int? { paths.firstIndex(of: path) }

    private struct Builder {
        var keys: [Key] = []
        var lastKeys: [Int: Int] = [:]
        var contextCount = 1

        mutating func add(_ paths: [(ArraySlice<String>, Int)], to context: Int) {
            var names: [String] = []
            for (path, _) in paths {
                if let name = path.first, !names.contains(name) { names.append(name) }
            }
            for name in names {
                let key = keys.count
                keys.append(Key(bytes: Array(name.utf8), context: context, child: nil, end: 0))
                var further: [(ArraySlice<String>, Int)] = []
                for (path, index) in paths where path.first == name {
                    if path.count == 1 {
                        lastKeys[index] = key
                    } else {
                        further.append((path.dropFirst(), index))
                    }
                }
                if !further.isEmpty {
                    let child = contextCount
                    contextCount += 1
                    keys[key].child = child
                    add(further, to: child)
                }
                keys[key].end = keys.count
            }
        }
    }
}
