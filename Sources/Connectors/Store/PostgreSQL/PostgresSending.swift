import CLibPQ
import Glibc

/// Hands statements to libpq, which copies them into its output buffer; what is borrowed need not live longer.
///
/// Each gives `false` when libpq does not take it: the connection is of no use any more.
enum PostgresSending {
    /// A prepared statement with columns as parameters.
    static func prepared(_ statement: String, _ columns: [PostgresArray], over handle: OpaquePointer) -> Bool
    {
        withParameters(columns.count) { values, lengths, formats in
            // One nested scope for each column, so that all of them stay where they are until libpq has copied
            // them into its output buffer.
            func pin(_ index: Int) -> Bool {
                guard index < columns.count else {
                    return PQsendQueryPrepared(
                        handle, statement, Int32(columns.count), values, lengths, formats, 1) == 1
                }
                return columns[index].bytes.withUnsafeBytes { bytes in
                    values[index] = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
                    lengths[index] = Int32(truncatingIfNeeded: bytes.count)
                    return pin(index + 1)
                }
            }
            return pin(0)
        }
    }

    /// The note of a batch's number in the ledger.
    static func note(_ batch: WriteBatch, over handle: OpaquePointer) -> Bool {
        let writer = batch.id.writerNameBytes
        let (slot, number) = ((batch.slot ?? 0).bigEndian, batch.id.number.bigEndian)
        return writer.withUnsafeBytes { writer in
            withUnsafeBytes(of: slot) { slot in
                withUnsafeBytes(of: number) { number in
                    withParameters(3) { values, lengths, formats in
                        func set(_ index: Int, _ bytes: UnsafeRawBufferPointer) {
                            values[index] = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
                            lengths[index] = Int32(truncatingIfNeeded: bytes.count)
                        }
                        set(0, writer)
                        set(1, slot)
                        set(2, number)
                        return PQsendQueryPrepared(
                            handle, PostgresCommitLedger.noteName, 3, values, lengths, formats, 1) == 1
                    }
                }
            }
        }
    }

    /// Room for what libpq wants to know of parameters, on the stack: a batch has some hundred of them.
    private static func withParameters<R>(
        _ count: Int,
        _ body: (
            _ values: UnsafeMutablePointer<UnsafePointer<CChar>?>, _ lengths: UnsafeMutablePointer<Int32>,
            _ formats: UnsafeMutablePointer<Int32>
        ) -> R
    ) -> R {
        withUnsafeTemporaryAllocation(of: UnsafePointer<CChar>?.self, capacity: count + 1) { values in
            withUnsafeTemporaryAllocation(of: Int32.self, capacity: 2 * count + 1) { numbers in
                guard let values = values.baseAddress, let lengths = numbers.baseAddress else {
                    preconditionFailure("an allocation of at least one element has an address")
                }
                values.initialize(repeating: nil, count: count + 1)
                // All are in binary format.
                lengths.initialize(repeating: 1, count: 2 * count + 1)
                return body(values, lengths, lengths + count)
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
