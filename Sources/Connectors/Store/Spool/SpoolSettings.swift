/// Where and how large the spool is.
package struct SpoolSettings: Sendable, Equatable {
    /// The file (`SPOOL_PATH`); its write-ahead log and its reserve lie beside it.
    package var path: String
    /// Bytes of batches it holds (`SPOOL_MAX_BYTES`); the file is little larger.
    package var maximumBytes: Int

    /// The file used without `SPOOL_PATH`, in the working folder.
    package static let defaultPath = "callflow-fast.spool"
    /// Without `SPOOL_MAX_BYTES`: some three million events.
    package static let defaultMaximumBytes = 4 << 30

    /// Less would not hold the largest batches.
    package static let minimumMaximumBytes = 64 << 20

    package init(path: String = Self.defaultPath, maximumBytes: Int = Self.defaultMaximumBytes) {
        self.path = path
        self.maximumBytes = maximumBytes
    }

    /// Bytes that batches of a weight may fill: the last tenth is for calls, the one before for events without
    /// payload.
    func limit(for weight: SpoolRecord.Weight) -> Int {
        switch weight {
        case .whole: maximumBytes / 10 * 8
        case .withoutPayloads: maximumBytes / 10 * 9
        case .callsOnly: maximumBytes
        }
    }
}
