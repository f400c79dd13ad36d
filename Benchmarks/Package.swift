// swift-tools-version: 6.1
import PackageDescription

// A package of its own, so that what benchmarks need is not what the product needs.

let settings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release)),
]

let package = Package(
    name: "callflow-benchmarks",
    dependencies: [.package(name: "callflow-fast", path: "..")],
    targets: [
        // Counts calls of malloc and friends by standing in front of libc's.
        .target(name: "CAllocations"),
        .executableTarget(
            name: "path-bench",
            dependencies: [
                "CAllocations",
                .product(name: "Protocols", package: "callflow-fast"),
                .product(name: "CallEngine", package: "callflow-fast"),
            ],
            swiftSettings: settings),
    ],
    swiftLanguageModes: [.v6]
)
