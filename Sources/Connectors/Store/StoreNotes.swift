package import CallEngine
package import Protocols

/// Why a PBX was not heard for a while.
package enum GapReason: String, Sendable, CaseIterable {
    /// The connection was lost, or never came about.
    case connection
    /// The daemon did not run, or did not read this PBX.
    case daemon
    /// The PBX started anew.
    case restart
}

/// A time in which one PBX was not heard, and what the comparison after it found: a row of `callflow_gaps`.
package struct StoredGap: Sendable, Hashable {
    /// Row id.
    package var id: CallUUID
    /// Name of the PBX.
    package var pbx: String
    /// PBX time of the last sign of life before.
    package var from: Timestamp
    /// PBX time at which it was compared again.
    package var to: Timestamp
    /// A word of `GapReason`.
    package var reason: String
    /// More of it, for a person.
    package var detail: String
    /// Calls that were open before and were gone after; their end is estimated.
    package var callsEnded: Int
    /// Calls that began in it; what happened in them before is not known.
    package var callsFound: Int
    /// Calls that lived through it.
    package var callsKept: Int
    /// Our time.
    package var insertedAt: Timestamp

    /// All fields; see each.
    package init(
        id: CallUUID, pbx: String, from: Timestamp, to: Timestamp, reason: String, detail: String,
        callsEnded: Int, callsFound: Int, callsKept: Int, insertedAt: Timestamp
    ) {
        self.id = id
        self.pbx = pbx
        self.from = from
        self.to = to
        self.reason = reason
        self.detail = detail
        self.callsEnded = callsEnded
        self.callsFound = callsFound
        self.callsKept = callsKept
        self.insertedAt = insertedAt
    }
}

/// When a PBX was last heard: a row of `callflow_pbx`.
///
/// Written behind the events of the same time, so whoever reads it knows that all before it is in the tables.
package struct PBXSighting: Sendable, Hashable {
    /// Name of the PBX.
    package var pbx: String
    /// PBX time of the last sign of life.
    package var seenAt: Timestamp
    /// When it started, by its own clock.
    package var startedAt: Timestamp?

    /// All fields; see each.
    package init(pbx: String, seenAt: Timestamp, startedAt: Timestamp?) {
        self.pbx = pbx
        self.seenAt = seenAt
        self.startedAt = startedAt
    }
}

/// A row that is written once in a while, beside events and calls.
package enum StoreNote: Sendable {
    /// A gap, once it is closed.
    case gap(StoredGap)
    /// The newest sighting of a PBX counts.
    case sighting(PBXSighting)
}

extension [StoreNote] {
    /// Gaps among the notes.
    var gaps: [StoredGap] {
        compactMap { if case .gap(let gap) = $0 { gap } else { nil } }
    }

    /// The newest sighting of each PBX.
    var sightings: [PBXSighting] {
        var newest: [String: PBXSighting] = [:]
        for case .sighting(let sighting) in self { newest[sighting.pbx] = sighting }
        return newest.values.sorted { $0.pbx < $1.pbx }
    }

    /// Columns of the insert of gaps, or `nil` without any.
    func gapParameters() -> [PostgresArray]? {
        let gaps = gaps
        guard !gaps.isEmpty else { return nil }
        var columns = [
            PostgresType.uuid, .text, .timestamp, .timestamp, .text, .text, .int4, .int4, .int4, .timestamp,
        ]
        .map { PostgresArray(of: $0) }
        for gap in gaps {
            columns[0].append(high: gap.id.high, low: gap.id.low)
            columns[1].append(Self.columnText(gap.pbx))
            columns[2].append(gap.from)
            columns[3].append(gap.to)
            columns[4].append(Self.columnText(gap.reason))
            columns[5].append(Self.columnText(gap.detail))
            columns[6].append(Int32(clamping: gap.callsEnded))
            columns[7].append(Int32(clamping: gap.callsFound))
            columns[8].append(Int32(clamping: gap.callsKept))
            columns[9].append(gap.insertedAt)
        }
        for index in columns.indices { columns[index].finish() }
        return columns
    }

    /// Columns of the upsert of sightings, or `nil` without any.
    func sightingParameters() -> [PostgresArray]? {
        let sightings = sightings
        guard !sightings.isEmpty else { return nil }
        var columns = [PostgresType.text, .timestamp, .timestamp].map { PostgresArray(of: $0) }
        for sighting in sightings {
            columns[0].append(Self.columnText(sighting.pbx))
            columns[1].append(sighting.seenAt)
            columns[2].append(sighting.startedAt)
        }
        for index in columns.indices { columns[index].finish() }
        return columns
    }

    private static func columnText(_ text: String) -> [UInt8] {
        var text = text
        return text.withUTF8 { ColumnText.cleaned(UnsafeRawBufferPointer($0)).bytes }
    }
}
