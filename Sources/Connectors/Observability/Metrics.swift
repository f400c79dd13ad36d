import Synchronization

/// What the daemon counts or measures; one table, so that a name stands in one place.
///
/// Counters only grow; gauges are set. Rendered by `Metrics.renderPrometheus(into:)`.
package enum Metric: Int, CaseIterable, Sendable {
    // Intake.
    case ariEvents
    case ariEventsInvalid
    case ariEventsDuplicateKeys
    case ariEventBytes
    case ariUnknownEventTypes
    case ariConnected
    case ariReconnects
    case ariProtocolErrors
    case ariRequestErrors
    case ariSilenceDrops
    case ariReplaced
    case ariContinued
    case ariContinueRefused
    case gaps
    case gapCallsEnded
    case gapCallsFound
    case gapMilliseconds
    case handoffEvents
    case handoffDropped
    // Calls.
    case callsActive
    case callsStarted
    case callsAnswered
    case callsFinished
    case callsMerged
    case callsRefused
    case textsCut
    // Store.
    case storeEventsWritten
    case storeCallsWritten
    case storeBatches
    case storeStatements
    case storeErrors
    case storeReconnects
    case storeConnected
    case storeQueuedBytes
    case storeEventsDropped
    case storeCallsDropped
    case storeRowsRejected
    case storePayloadsDropped
    case spoolBytes
    case spoolBatches
    case spoolEvents
    case spoolOldestSeconds
    case spoolBatchesWritten
    case spoolBatchesDrained
    case spoolBatchesRecognised
    case spoolErrors
    case spoolDamaged
    case storeEventPartitions
    case storeEventDaysAhead
    case storePartitionsDropped
    case storeEventsExpired
    case storeUpkeepErrors
    case storeFailovers
    case storeFailoverRowsRewritten
    case storeFailoverRowsLost
    // CRM.
    case crmRequests
    case crmErrors
    case crmRegistered
    case crmFinished
    case crmQueued
    case crmDropped
    case crmSkipped
    case crmRecordings
    case crmCircuit
    case crmUsers
    // HTTP.
    case httpRequests
    case httpErrors
    case httpConnections
    case httpRejected
    case streamClients

    /// Name without the `callflow_` prefix, help text, and whether it is a gauge.
    package var description: (name: String, help: String, isGauge: Bool) {
        switch self {
        case .ariEvents: ("ari_events_total", "ARI events received and read.", false)
        case .ariEventsInvalid: ("ari_events_invalid_total", "ARI messages that were no valid event.", false)
        case .ariEventsDuplicateKeys:
            ("ari_events_duplicate_keys_total", "ARI events with a key twice in one object.", false)
        case .ariEventBytes: ("ari_event_bytes_total", "Bytes of ARI events received.", false)
        case .ariUnknownEventTypes:
            ("ari_unknown_event_types_total", "ARI events of a type this version does not know.", false)
        case .ariConnected: ("ari_connected", "PBXs whose event stream is open.", true)
        case .ariReconnects:
            ("ari_reconnects_total", "Connections to a PBX that were lost or refused.", false)
        case .ariProtocolErrors:
            ("ari_protocol_errors_total", "WebSocket connections failed for a broken frame.", false)
        case .ariRequestErrors: ("ari_request_errors_total", "ARI requests that failed.", false)
        case .ariSilenceDrops: ("ari_silence_drops_total", "Connections dropped for being silent.", false)
        case .ariReplaced: ("ari_replaced_total", "Times another reader took our application name.", false)
        case .ariContinued: ("ari_continued_total", "Channels sent on in the dialplan.", false)
        case .ariContinueRefused:
            ("ari_continue_refused_total", "Channels that could not be sent on in the dialplan.", false)
        case .gaps: ("gaps_total", "Times in which a PBX was not heard, once over.", false)
        case .gapCallsEnded:
            ("gap_calls_ended_total", "Calls whose end fell into a gap and is estimated.", false)
        case .gapCallsFound: ("gap_calls_found_total", "Calls that began in a gap.", false)
        case .gapMilliseconds: ("gap_milliseconds_total", "How long PBXs were not heard.", false)
        case .handoffEvents: ("handoff_events_total", "Events handed to another loop's shard.", false)
        case .handoffDropped:
            ("handoff_dropped_total", "Events lost because another loop's mailbox was full.", false)
        case .callsActive: ("calls_active", "Calls that have not ended.", true)
        case .callsStarted: ("calls_started_total", "Calls begun.", false)
        case .callsAnswered: ("calls_answered_total", "Calls answered.", false)
        case .callsFinished: ("calls_finished_total", "Calls ended.", false)
        case .callsMerged: ("calls_merged_total", "Calls that became part of an older one.", false)
        case .callsRefused: ("calls_refused_total", "Calls not tracked because a shard was full.", false)
        case .textsCut: ("texts_cut_total", "Texts cut or cleaned to fit their column.", false)
        case .storeEventsWritten: ("store_events_written_total", "Event rows committed.", false)
        case .storeCallsWritten: ("store_calls_written_total", "Call rows committed.", false)
        case .storeBatches: ("store_batches_total", "Batches committed.", false)
        case .storeStatements:
            (
                "store_statements_total", "Statements sent to PostgreSQL for batches, their notes included.",
                false
            )
        case .storeErrors: ("store_errors_total", "Errors reported by the database.", false)
        case .storeReconnects: ("store_reconnects_total", "Database connections lost or refused.", false)
        case .storeConnected: ("store_connected", "Writers with a working database connection.", true)
        case .storeQueuedBytes: ("store_queued_bytes", "Bytes waiting for the database.", true)
        case .storeEventsDropped:
            (
                "store_events_dropped_total", "Event rows lost because the bound on waiting bytes was hit.",
                false
            )
        case .storeCallsDropped:
            (
                "store_calls_dropped_total", "Call rows lost because the bound on waiting calls was hit.",
                false
            )
        case .storeRowsRejected:
            ("store_rows_rejected_total", "Rows that the database refused, kept in dead_letters.", false)
        case .storePayloadsDropped:
            ("store_payloads_dropped_total", "Event payloads left out because the spool was full.", false)
        case .spoolBytes: ("spool_bytes", "Bytes of batches in the spool.", true)
        case .spoolBatches: ("spool_batches", "Batches in the spool.", true)
        case .spoolEvents: ("spool_events", "Event rows in the spool.", true)
        case .spoolOldestSeconds:
            ("spool_oldest_seconds", "Age of the oldest batch in the spool; 0 when it is empty.", true)
        case .spoolBatchesWritten: ("spool_batches_written_total", "Batches written to the spool.", false)
        case .spoolBatchesDrained:
            ("spool_batches_drained_total", "Batches of the spool that became durable.", false)
        case .spoolBatchesRecognised:
            (
                "spool_batches_recognised_total",
                "Batches of an earlier run that were found committed already.", false
            )
        case .spoolErrors: ("spool_errors_total", "Writes and reads of the spool that failed.", false)
        case .spoolDamaged: ("spool_damaged_total", "Damaged spool files and batches in them.", false)
        case .storeEventPartitions: ("store_event_partitions", "Partitions of the events.", true)
        case .storeEventDaysAhead:
            ("store_event_days_ahead", "Days from today that have a partition for events.", true)
        case .storePartitionsDropped:
            ("store_event_partitions_dropped_total", "Partitions dropped by the retention.", false)
        case .storeEventsExpired:
            ("store_events_expired_total", "Event rows deleted by the retention.", false)
        case .storeUpkeepErrors:
            ("store_upkeep_errors_total", "Runs of the upkeep that could not do all they should.", false)
        case .storeFailovers:
            ("store_failovers_total", "Times a writer found itself on a promoted server.", false)
        case .storeFailoverRowsRewritten:
            (
                "store_failover_rows_rewritten_total",
                "Rows that a former primary had confirmed, that the promoted server lacked, and that were written again.",
                false
            )
        case .storeFailoverRowsLost:
            (
                "store_failover_rows_lost_total",
                "Rows that a former primary had confirmed, that the promoted server lacked, and that nobody held any more.",
                false
            )
        case .crmRequests: ("crm_requests_total", "Requests sent to CRMs.", false)
        case .crmErrors: ("crm_errors_total", "Requests that a CRM refused or that failed.", false)
        case .crmRegistered: ("crm_registered_total", "Calls registered in Bitrix24.", false)
        case .crmFinished: ("crm_finished_total", "Calls finished in Bitrix24.", false)
        case .crmQueued: ("crm_queued", "CRM steps waiting.", true)
        case .crmDropped: ("crm_dropped_total", "CRM steps given up.", false)
        case .crmSkipped:
            ("crm_skipped_total", "Calls not told to the CRM: hidden number or internal.", false)
        case .crmRecordings: ("crm_recordings_total", "Recordings attached to calls in Bitrix24.", false)
        case .crmUsers: ("crm_users", "Active employees that Bitrix24 told.", true)
        case .crmCircuit:
            ("crm_circuit", "Whether Bitrix24 is asked: 0 yes, 1 one request tries, 2 no.", true)
        case .httpRequests: ("http_requests_total", "HTTP requests answered.", false)
        case .httpErrors: ("http_errors_total", "HTTP requests answered with 4xx or 5xx.", false)
        case .httpConnections: ("http_connections", "HTTP connections open.", true)
        case .httpRejected: ("http_rejected_total", "HTTP connections refused or cut for bad input.", false)
        case .streamClients: ("stream_clients", "Clients of the live stream.", true)
        }
    }
}

/// A stretch of an event's way whose length is measured.
package enum LatencyStage: String, CaseIterable, Sendable {
    /// From receipt (the loop's tick that read it) to the call's new state.
    case state
    /// From receipt to the commit of its row.
    case durable
}

/// Counters, gauges and latencies of the process; any thread may add, none waits.
package final class Metrics: Sendable {
    private let values: [AtomicValue]
    private let latencies: [LatencyHistogram]

    private final class AtomicValue: Sendable {
        let value = Atomic<Int>(0)
    }

    package init() {
        values = Metric.allCases.map { _ in AtomicValue() }
        latencies = LatencyStage.allCases.map { _ in LatencyHistogram() }
    }

    /// How long events took on a stretch of their way.
    package func latency(_ stage: LatencyStage) -> LatencyHistogram {
        latencies[stage == .state ? 0 : 1]
    }

    /// Adds to a counter (or moves a gauge); relaxed, a few nanoseconds uncontended.
    package func add(_ metric: Metric, _ amount: Int = 1) {
        values[metric.rawValue].value.wrappingAdd(amount, ordering: .relaxed)
    }

    /// Sets a gauge.
    package func set(_ metric: Metric, _ amount: Int) {
        values[metric.rawValue].value.store(amount, ordering: .relaxed)
    }

    /// The value now; values of different metrics are not from one moment.
    package subscript(_ metric: Metric) -> Int {
        values[metric.rawValue].value.load(ordering: .relaxed)
    }

    /// Appends a gauge that has a value for each of several things, in the same format.
    ///
    /// - Parameters:
    ///   - label: What tells the things apart.
    ///   - values: The label's value and the gauge's.
    package static func append(
        gauge name: String, help: String, label: String, _ values: [(String, Int)],
        to output: inout [UInt8]
    ) {
        output.append(
            contentsOf: "# HELP callflow_\(name) \(help)\n# TYPE callflow_\(name) gauge\n".utf8)
        for (thing, value) in values {
            output.append(contentsOf: "callflow_\(name){\(label)=\"".utf8)
            for byte in thing.utf8 {
                switch byte {
                case 0x22, 0x5C: output += [0x5C, byte]
                case 0x0A: output += [0x5C, 0x6E]
                default: output.append(byte)
                }
            }
            output.append(contentsOf: "\"} \(value)\n".utf8)
        }
    }

    /// Appends all metrics in the Prometheus text exposition format, version 0.0.4.
    package func renderPrometheus(into output: inout [UInt8]) {
        for metric in Metric.allCases {
            let (name, help, isGauge) = metric.description
            output.append(
                contentsOf: """
                    # HELP callflow_\(name) \(help)
                    # TYPE callflow_\(name) \(isGauge ? "gauge" : "counter")
                    callflow_\(name) \(self[metric])

                    """.utf8)
        }
        let name = "callflow_event_latency_seconds"
        output.append(
            contentsOf: """
                # HELP \(name) Time of an event from its receipt to the call's new state and to the commit of its row.
                # TYPE \(name) histogram

                """.utf8)
        for stage in LatencyStage.allCases {
            latency(stage).snapshot.appendPrometheus(
                name: name, label: "stage=\"\(stage.rawValue)\"", to: &output)
        }
    }
}
