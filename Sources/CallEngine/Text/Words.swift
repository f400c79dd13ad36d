/// A sentence for people, in the languages they read.
public struct Words: Sendable, Hashable {
    /// In English.
    public var english: String
    /// In Russian.
    public var russian: String

    /// The same sentence twice.
    public init(_ english: String, _ russian: String) {
        self.english = english
        self.russian = russian
    }

    /// In one of them.
    public func text(in language: CallOutcome.Language) -> String {
        switch language {
        case .english: english
        case .russian: russian
        }
    }

    /// Two sentences, one behind the other.
    static func + (left: Words, right: Words) -> Words {
        Words(left.english + right.english, left.russian + right.russian)
    }
}
