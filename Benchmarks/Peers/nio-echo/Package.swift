// swift-tools-version: 6.1
import PackageDescription

// SwiftNIO as a WebSocket server, for ws-load. A package of its own, so that nobody fetches SwiftNIO who does not measure it.
let package = Package(
    name: "nio-echo",
    dependencies: [.package(url: "https://github.com/apple/swift-nio", from: "2.101.2")],
    targets: [
        .executableTarget(
            name: "nio-echo",
            dependencies: [
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOWebSocket", package: "swift-nio"),
            ])
    ],
    swiftLanguageModes: [.v6]
)
