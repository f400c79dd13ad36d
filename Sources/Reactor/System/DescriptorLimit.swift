internal import CReactor

/// How many descriptors this process may have open (RLIMIT_NOFILE, getrlimit(2)).
public enum DescriptorLimit {
    /// The soft limit now; 0 when it cannot be read.
    public static var current: Int { Int(clamping: creactor_descriptor_limit()) }

    /// Raises the soft limit to `wanted` or to the hard limit, whichever is lower; never lowers it.
    ///
    /// - Returns: The limit afterwards.
    @discardableResult
    public static func raise(to wanted: Int) -> Int {
        if wanted > current { _ = creactor_set_descriptor_limit(UInt64(wanted)) }
        return current
    }
}
