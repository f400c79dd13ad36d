// swift-tools-version: 6.1
import PackageDescription

// Reads as the architecture drawing: arrows point one way only (docs/architecture.md).
//
//   CReactor, COpenSSL ◀── Reactor ◀────────┐
//   CLibPQ, CSQLite, COpenSSL ◀─────────────┼── Connectors ◀── Simulator ◀── callflow-fast
//   CScan ◀── Protocols ◀── CallEngine ◀────┘

let settings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    // Class properties cost about 14 ns per access with dynamic exclusivity checks; debug builds, and so
    // all tests, keep them (docs/adr/0003-memory-and-exclusivity.md).
    .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release)),
]

let package = Package(
    name: "callflow-fast",
    products: [
        .executable(name: "callflow-fast", targets: ["callflow-fast"]),
        .library(name: "Reactor", targets: ["Reactor"]),
        .library(name: "Protocols", targets: ["Protocols"]),
        .library(name: "CallEngine", targets: ["CallEngine"]),
        .library(name: "Connectors", targets: ["Connectors"]),
        .library(name: "Simulator", targets: ["Simulator"]),
        .library(name: "ProtocolProbe", targets: ["ProtocolProbe"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: []),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    ],
    targets: [
        // C: the calls that Swift cannot see, and system libraries.
        .target(name: "CReactor", linkerSettings: [.linkedLibrary("uring")]),
        .target(name: "CScan"),
        .systemLibrary(
            name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CLibPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(
            name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),

        .target(name: "Reactor", dependencies: ["CReactor", "COpenSSL"], swiftSettings: settings),
        .target(name: "Protocols", dependencies: ["CScan"], swiftSettings: settings),
        .target(name: "CallEngine", dependencies: ["Protocols"], swiftSettings: settings),
        .target(
            name: "Connectors",
            dependencies: [
                "Reactor", "Protocols", "CallEngine", "CLibPQ", "CSQLite", "COpenSSL",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings),
        .target(
            name: "Simulator",
            dependencies: [
                "Reactor", "Protocols", "Connectors",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "callflow-fast",
            dependencies: [
                "Reactor", "Protocols", "CallEngine", "Connectors", "Simulator",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Configuration", package: "swift-configuration"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings),

        // Bare readers and servers for conformance suites; Benchmarks makes the program protocol-probe of it.
        .target(
            name: "ProtocolProbe",
            dependencies: [
                "Reactor", "Protocols", "Connectors", .product(name: "Logging", package: "swift-log"),
            ],
            path: "Benchmarks/ProtocolProbe", swiftSettings: settings),
        // What is fuzzed, and replayed by the tests; Fuzzing/build links it with libFuzzer.
        .target(
            name: "FuzzTargets", dependencies: ["Protocols", "CallEngine"],
            path: "Fuzzing/FuzzTargets", swiftSettings: settings),

        .testTarget(
            name: "FuzzTests", dependencies: ["FuzzTargets", "Protocols"], swiftSettings: settings),
        .testTarget(name: "ReactorTests", dependencies: ["Reactor"], swiftSettings: settings),
        .testTarget(name: "ProtocolsTests", dependencies: ["Protocols"], swiftSettings: settings),
        .testTarget(
            name: "ConformanceTests", dependencies: ["Protocols"], swiftSettings: settings),
        .testTarget(
            name: "PropertyTests", dependencies: ["Protocols", "Reactor", "CallEngine"],
            swiftSettings: settings),
        .testTarget(
            name: "CallEngineTests", dependencies: ["CallEngine", "Protocols"],
            swiftSettings: settings),
        .testTarget(
            name: "ConnectorsTests",
            dependencies: [
                "Connectors", "Simulator", "Reactor", "Protocols", "CallEngine", "CLibPQ", "CSQLite",
            ],
            swiftSettings: settings),
        .testTarget(
            name: "IntegrationTests",
            dependencies: ["Connectors", "Simulator", "Reactor", "Protocols", "CallEngine", "callflow-fast"],
            swiftSettings: settings),
        .testTarget(name: "TidyTests", swiftSettings: settings),
    ],
    swiftLanguageModes: [.v6]
)
