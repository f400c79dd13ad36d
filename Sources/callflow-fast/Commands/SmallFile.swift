import Glibc

/// Files that a person wrote.
enum SmallFile {
    /// Longer ones are not what they are taken for.
    static let maximumBytes = 1 << 20

    /// The whole text; `nil` when it cannot be read or is too long.
    static func text(_ path: String) -> String? {
        guard let file = fopen(path, "rb") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: maximumBytes + 1)
        let count = fread(&bytes, 1, bytes.count, file)
        guard count <= maximumBytes, ferror(file) == 0 else { return nil }
        return String(decoding: bytes[..<count], as: UTF8.self)
    }
}
