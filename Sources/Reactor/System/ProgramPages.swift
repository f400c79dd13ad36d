internal import CReactor

/// The pages of the program and its libraries that this process has in its address space.
public enum ProgramPages {
    /// Takes them out; those that are used come back one by one, from the kernel's file cache, at a microsecond each.
    ///
    /// Half of what a process has resident after its start is code that only the start needed: loading, relocating, reading
    /// settings. Only pages that lie in their files as they are in memory are touched (segments that are never writable), under the
    /// loader's lock. A debugger's breakpoints are lost with them.
    ///
    /// - Returns: Bytes of address space that were looked at.
    @discardableResult
    public static func release() -> Int {
        Int(clamping: creactor_release_program_pages())
    }
}
