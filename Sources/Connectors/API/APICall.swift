import CallEngine
import Protocols

/// A call as the API shows it: the stored row with what the engine knows newer laid over it.
struct APICall: Equatable {
    /// Its place in the list, as its row says where there is one: pages begin and end between rows.
    var cursor: CallCursor
    var id: CallUUID
    var callID: String
    var direction: String?
    var callerNumber: String?
    var calleeNumber: String?
    var status: String
    var startedAt: Timestamp?
    var answeredAt: Timestamp?
    var endedAt: Timestamp?
    var insertedAt: Timestamp
    var updatedAt: Timestamp

    init(_ stored: StoredCall) {
        cursor = stored.cursor
        id = stored.id
        callID = stored.callID
        direction = stored.direction
        callerNumber = stored.callerNumber
        calleeNumber = stored.calleeNumber
        status = stored.status
        startedAt = stored.startedAt
        answeredAt = stored.answeredAt
        endedAt = stored.endedAt
        insertedAt = stored.insertedAt
        updatedAt = stored.updatedAt
    }

    init(_ record: CallRecord) {
        cursor = CallCursor(startedAt: record.startedAt, id: record.id)
        id = record.id
        callID = record.callID.string
        direction = record.direction.name.description
        callerNumber = record.callerNumber.isEmpty ? nil : record.callerNumber.string
        calleeNumber = record.calleeNumber.isEmpty ? nil : record.calleeNumber.string
        status = record.status.name.description
        startedAt = record.startedAt
        answeredAt = record.answeredAt
        endedAt = record.endedAt
        insertedAt = record.insertedAt
        updatedAt = record.updatedAt
    }

    /// Lays a live record over a stored row, unless the row is newer (another node wrote it).
    ///
    /// Rows have whole seconds, so a row counts as newer from the next second on. Texts of the row are kept
    /// where it has them: the record's may be cut.
    mutating func overlay(_ record: CallRecord) {
        guard record.updatedAt.seconds >= updatedAt.seconds else { return }
        status = record.status.name.description
        if record.direction != .unknown || direction == nil { direction = record.direction.name.description }
        if callerNumber == nil, !record.callerNumber.isEmpty { callerNumber = record.callerNumber.string }
        if calleeNumber == nil, !record.calleeNumber.isEmpty { calleeNumber = record.calleeNumber.string }
        startedAt = record.startedAt
        answeredAt = record.answeredAt
        endedAt = record.endedAt
        updatedAt = record.updatedAt
    }

    func matches(_ filter: CallFilter) -> Bool {
        if let wanted = filter.status, wanted != status { return false }
        if let wanted = filter.direction, wanted != direction { return false }
        return true
    }
}
