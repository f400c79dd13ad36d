import Protocols

extension BitrixCommand {
    /// The most commands of a `batch`; the portal refuses each further one.
    package static let maximumBatchCommands = 50

    /// The body of a `batch`: runs in order, goes on after errors.
    ///
    /// - Parameter commands: Each with a name that is no number: with numbers the portal would answer with
    ///   lists, and errors would lose their places.
    package static func batchBody(_ commands: [(key: String, command: BitrixCommand)]) -> [UInt8] {
        var query = Query()
        query.append("halt", "0")
        for (key, command) in commands { query.append("cmd[\(key)]", command.batchText) }
        var body: [UInt8] = []
        query.encode(into: &body)
        return body
    }

    /// What stands for the `CALL_ID` that another command of the same batch will answer.
    package static func callIDReference(to key: String) -> String { "$result[\(key)][CALL_ID]" }
}

/// What came of a request: one answer to all of it, or one to each command of a batch.
package enum BitrixAnswer: Sendable, Hashable {
    /// To the request; a success only when it is one command by itself.
    case whole(BitrixReply)
    /// To each command, in the order sent; nil for one that the portal says nothing of.
    case parts([BitrixReply?])
}
