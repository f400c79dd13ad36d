import CLibPQ
import Glibc

/// Hands statements to libpq, which copies them into its output buffer; what is borrowed need not live longer.
///
/// Each gives `false` when libpq does not take it: the connection is of no use any more.
enum PostgresSending {
    /// A prepared statement with columns as parameters.
    static func prepared(_ statement: String, _ columns: [PostgresArray], over handle: OpaquePointer) -> Bool
    {
        var pointers: [UnsafePointer<CChar>?] = []
        let lengths = columns.map { Int32(truncatingIfNeeded: $0.bytes.count) }
        let formats = [Int32](repeating: 1, count: columns.count)
        // One nested scope for each column, so that all of them stay where they are until libpq has copied
        // them into its output buffer.
        func pin(_ index: Int) -> Bool {
            guard index < columns.count else {
                return PQsendQueryPrepared(
                    handle, statement, Int32(columns.count), pointers, lengths, formats, 1) == 1
            }
            return columns[index].bytes.withUnsafeBytes { bytes in
                pointers.append(bytes.baseAddress?.assumingMemoryBound(to: CChar.self))
                return pin(index + 1)
            }
        }
        return pin(0)
    }

    /// The note of a batch's number in the ledger.
    static func note(_ batch: WriteBatch, over handle: OpaquePointer) -> Bool {
        let writer = batch.id.writerNameBytes
        let (slot, number) = ((batch.slot ?? 0).bigEndian, batch.id.number.bigEndian)
        return writer.withUnsafeBytes { writer in
            withUnsafeBytes(of: slot) { slot in
                withUnsafeBytes(of: number) { number in
                    let parts = [writer, slot, number]
                    let values = parts.map { $0.baseAddress?.assumingMemoryBound(to: CChar.self) }
                    return PQsendQueryPrepared(
                        handle, PostgresCommitLedger.noteName, 3, values, [Int32(writer.count), 4, 8],
                        [1, 1, 1], 1) == 1
                }
            }
        }
    }

    /// A refused row as a dead letter.
    static func deadLetter(_ row: RefusedRow, of batch: WriteBatch, over handle: OpaquePointer) -> Bool {
        // libpq takes text parameters as C strings.
        var values = PostgresStatements.values(of: row, batch.id).map { UnsafePointer(strdup($0)) }
        defer { for value in values { free(UnsafeMutablePointer(mutating: value)) } }
        return PQsendQueryParams(
            handle, PostgresStatements.insertDeadLetter, Int32(values.count), nil, &values, nil, nil, 1) == 1
    }
}
