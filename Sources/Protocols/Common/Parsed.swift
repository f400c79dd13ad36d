/// What a parser found at the front of the bytes it was given.
///
/// "Not enough yet" is a result and never an error: a stream may be cut anywhere, and the same bytes cut
/// differently give the same values.
public enum Parsed<Value> {
    /// A complete value, and how many bytes from the front it used.
    case value(Value, used: Int)
    /// Nothing complete yet. `needed` is how many bytes, counted from the front of what was given, the
    /// next value takes at least; 0 when the parser cannot know (a line without its end, for example).
    case incomplete(needed: Int)
}

extension Parsed: Sendable where Value: Sendable {}
extension Parsed: Equatable where Value: Equatable {}
