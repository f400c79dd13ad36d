import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOWebSocket

// The daemon's job as a careful SwiftNIO program would do it, to be measured beside it: one event loop that reads ARI and keeps calls, one
// thread that writes. Settings in the environment: ARI_URL, ARI_USER, ARI_PASSWORD, DATABASE_URL.

/// Hands messages to the calls, and their rows to the writer; fragments are put together.
final class Messages: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame
    typealias OutboundOut = WebSocketFrame

    private let calls = Calls()
    private let waiting: Waiting
    private var fragments: ByteBuffer?

    init(_ waiting: Waiting) { self.waiting = waiting }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = unwrapInboundIn(data)
        switch frame.opcode {
        case .text, .continuation:
            var message = frame.data
            if var whole = fragments {
                whole.writeBuffer(&message)
                message = whole
            }
            guard frame.fin else {
                fragments = message
                return
            }
            fragments = nil
            do {
                let (event, call) = try calls.take(message)
                waiting.add(event, call)
            } catch {
                stop("an event: \(error)")
            }
        case .ping:
            let pong = WebSocketFrame(fin: true, opcode: .pong, maskKey: .random(), data: frame.data)
            context.writeAndFlush(wrapOutboundOut(pong), promise: nil)
        default: context.close(promise: nil)
        }
    }
}

func stop(_ message: String) -> Never {
    FileHandle.standardError.write(Data("nio-consumer: \(message)\n".utf8))
    exit(1)
}

let environment = ProcessInfo.processInfo.environment
guard let url = environment["ARI_URL"].flatMap(URLComponents.init), let host = url.host, let port = url.port,
    let user = environment["ARI_USER"], let password = environment["ARI_PASSWORD"],
    let database = environment["DATABASE_URL"]
else { stop("ARI_URL, ARI_USER, ARI_PASSWORD, DATABASE_URL are needed") }

let waiting = Waiting()
Thread {
    do {
        let writer = try Writer(database)
        while true { try writer.write(waiting.take()) }
    } catch { stop("the database: \(error)") }
}.start()

var headers = HTTPHeaders()
headers.add(name: "Host", value: "\(host):\(port)")
headers.add(name: "Authorization", value: "Basic \(Data("\(user):\(password)".utf8).base64EncodedString())")
let request = HTTPRequestHead(
    version: .http1_1, method: .GET, uri: "/ari/events?app=callflow_elixir&subscribeAll=true",
    headers: headers)
let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
let upgraded = try await ClientBootstrap(group: group)
    .channelOption(.tcpOption(.tcp_nodelay), value: 1)
    .channelOption(
        .recvAllocator,
        value: AdaptiveRecvByteBufferAllocator(minimum: 4096, initial: 65_536, maximum: 1 << 20)
    )
    .connect(host: host, port: port) { channel in
        channel.eventLoop.makeCompletedFuture {
            let upgrader = NIOTypedWebSocketClientUpgrader<Channel>(maxFrameSize: 1 << 24) { channel, _ in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Messages(waiting))
                    return channel
                }
            }
            let upgrade = NIOTypedHTTPClientUpgradeConfiguration(
                upgradeRequestHead: request, upgraders: [upgrader],
                notUpgradingCompletionHandler: { _ in stop("the PBX does not upgrade to a WebSocket") })
            return try channel.pipeline.syncOperations.configureUpgradableHTTPClientPipeline(
                configuration: .init(upgradeConfiguration: upgrade))
        }
    }
try await upgraded.get().closeFuture.get()
