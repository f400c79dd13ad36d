import Foundation

/// A variable of the test run's environment.
func environment(_ name: String) -> String? {
    ProcessInfo.processInfo.environment[name]
}
