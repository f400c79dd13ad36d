import NIOCore
import NIOHTTP1
import NIOPosix
import NIOWebSocket

/// `nio-echo PORT echo|sink`: one event loop; frames are sent back as they come, or dropped; pings are answered.
final class Answering: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame
    typealias OutboundOut = WebSocketFrame

    private let sendsBack: Bool

    init(sendsBack: Bool) { self.sendsBack = sendsBack }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = unwrapInboundIn(data)
        switch frame.opcode {
        case .ping: answer(context, WebSocketFrame(fin: true, opcode: .pong, data: frame.unmaskedData))
        case .connectionClose: context.close(promise: nil)
        case .text, .binary:
            guard sendsBack else { return }
            answer(context, WebSocketFrame(fin: true, opcode: frame.opcode, data: frame.unmaskedData))
        default: break
        }
    }

    private func answer(_ context: ChannelHandlerContext, _ frame: WebSocketFrame) {
        context.write(wrapOutboundOut(frame), promise: nil)
    }

    // One flush for all that was read at once, which is SwiftNIO's cheapest way.
    func channelReadComplete(context: ChannelHandlerContext) { context.flush() }
}

let arguments = CommandLine.arguments
guard arguments.count == 3, let port = Int(arguments[1]) else { fatalError("usage: nio-echo PORT echo|sink") }
let sendsBack = arguments[2] == "echo"
let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
let server = try ServerBootstrap(group: group)
    .serverChannelOption(.backlog, value: 1024)
    .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
    .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
    .childChannelInitializer { channel in
        let upgrader = NIOWebSocketServerUpgrader(
            shouldUpgrade: { channel, _ in channel.eventLoop.makeSucceededFuture([:]) },
            upgradePipelineHandler: { channel, _ in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Answering(sendsBack: sendsBack))
                }
            })
        return channel.pipeline.configureHTTPServerPipeline(
            withServerUpgrade: (upgraders: [upgrader], completionHandler: { _ in }))
    }
    .bind(host: "127.0.0.1", port: port).wait()
print("listening")
try server.closeFuture.wait()
