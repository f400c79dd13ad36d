import Glibc

/// A recording on the disk; everything here may block.
struct RecordingFile: Sendable, Equatable {
    /// What a look at the disk found.
    enum Look: Sendable, Equatable {
        /// No file of that name yet.
        case none
        /// The file, how large it is, and how long ago it was last written to.
        case file(RecordingFile, quietFor: Duration)
        /// It cannot be read, for good.
        case refused(String)
    }

    var path: String
    var bytes: Int

    /// Files of one pattern that are looked at; the newest counts.
    static let maximumMatches = 100

    /// Looks for a file.
    ///
    /// - Parameter pattern: A path, or a pattern of glob(7).
    static func look(for pattern: String) -> Look {
        var newest: (file: RecordingFile, status: stat)?
        for path in matches(pattern) {
            var status = stat()
            guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { continue }
            if let found = newest, found.status.st_mtim.tv_sec >= status.st_mtim.tv_sec { continue }
            newest = (RecordingFile(path: path, bytes: Int(status.st_size)), status)
        }
        guard let newest else { return .none }
        guard access(newest.file.path, R_OK) == 0 else {
            return .refused("\(newest.file.path): \(String(cString: strerror(errno)))")
        }
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        let written = newest.status.st_mtim
        let quiet =
            Int64(now.tv_sec - written.tv_sec) * 1000 + Int64(now.tv_nsec - written.tv_nsec) / 1_000_000
        return .file(newest.file, quietFor: .milliseconds(max(0, quiet)))
    }

    private static func matches(_ pattern: String) -> [String] {
        var found = glob_t()
        defer { globfree(&found) }
        guard glob(pattern, 0, nil, &found) == 0, let paths = found.gl_pathv else { return [] }
        return (0..<min(Int(found.gl_pathc), maximumMatches)).compactMap { index in
            paths[index].map { String(cString: $0) }
        }
    }

    /// The file's bytes; `nil` when it is not what it was, or cannot be read.
    func read() -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var isWhole = false
        let content = [UInt8](unsafeUninitializedCapacity: bytes + 1) { buffer, count in
            count = 0
            while count < buffer.count {
                let got = Glibc.read(descriptor, buffer.baseAddress.map { $0 + count }, buffer.count - count)
                guard got > 0 else {
                    isWhole = got == 0
                    break
                }
                count += got
            }
        }
        return isWhole && content.count == bytes ? content : nil
    }
}
