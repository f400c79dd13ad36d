import Testing

/// The parent of all suites that run loops: one after another, so that none starves another of the core.
@Suite("Reactor", .serialized)
enum ReactorSuites {}
