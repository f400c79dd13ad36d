// swift-tools-version: 6.1
import PackageDescription

// Small parts by themselves, for whoever works on one of them: `swift package benchmark` with baselines and comparisons
// (ordo-one/benchmark). A package of its own, so that its dependencies are fetched by nobody else. The plugin takes targets whose
// folder lies in one named "Benchmarks", hence the path.

// The batch is open to the product's own package only; see ../Package.swift.
let productName = Context.packageDirectory.split(separator: "/").dropLast(2).last.map(String.init) ?? ""
let mangledName = String(productName.lowercased().map { $0.isLetter || $0.isNumber ? $0 : "_" })

let package = Package(
    name: "callflow-micro",
    dependencies: [
        .package(name: "callflow-fast", path: "../.."),
        // Without its counting of allocations, which path-bench does.
        .package(url: "https://github.com/ordo-one/benchmark", from: "1.38.1", traits: []),
    ],
    targets: [
        .executableTarget(
            name: "Micro",
            dependencies: [
                .product(name: "Benchmark", package: "benchmark"),
                .product(name: "Reactor", package: "callflow-fast"),
                .product(name: "Protocols", package: "callflow-fast"),
                .product(name: "CallEngine", package: "callflow-fast"),
                .product(name: "Connectors", package: "callflow-fast"),
            ],
            path: ".", sources: ["Sources"], packageAccess: false,
            swiftSettings: [
                .enableUpcomingFeature("ExistentialAny"),
                .enableUpcomingFeature("InternalImportsByDefault"),
                .enableUpcomingFeature("MemberImportVisibility"),
                .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release)),
                .unsafeFlags(["-package-name", mangledName]),
            ],
            plugins: [.plugin(name: "BenchmarkPlugin", package: "benchmark")])
    ],
    swiftLanguageModes: [.v6]
)
