import FuzzTargets
import Glibc

/// What libFuzzer calls for each input; the environment says which target it is for.
///
/// A finding is told and ends the process with `abort`, upon which libFuzzer saves the input.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
    do {
        try target.check(UnsafeRawBufferPointer(start: data, count: size))
    } catch {
        note("\(target.rawValue): \(error)")
        abort()
    }
    return 0
}

private let target: FuzzTarget = {
    guard let name = getenv("FUZZ_TARGET"), let target = FuzzTarget(rawValue: String(cString: name)) else {
        note("FUZZ_TARGET is none of \(FuzzTarget.allCases.map(\.rawValue).joined(separator: ", "))")
        exit(2)
    }
    return target
}()

private func note(_ text: String) {
    let line = Array("\(text)\n".utf8)
    _ = write(STDERR_FILENO, line, line.count)
}
