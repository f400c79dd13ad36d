// uWebSockets as a WebSocket server on one thread, for ws-load: `uws-echo PORT echo|sink`. Built by `make bench-peers` against headers and
// a uSockets library that lie outside this repository.
#include <App.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

struct nothing {};

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    bool echoes = !strcmp(argv[2], "echo");
    uWS::App()
        .ws<nothing>("/*", {.compression = uWS::DISABLED,
                            .maxPayloadLength = 16 * 1024 * 1024,
                            .idleTimeout = 0,
                            .maxBackpressure = 64 * 1024 * 1024,
                            .message = [echoes](auto *ws, std::string_view message, uWS::OpCode opcode) {
                                if (echoes) ws->send(message, opcode);
                            }})
        .listen("127.0.0.1", atoi(argv[1]), [](auto *socket) {
            if (!socket) exit(1);
            printf("listening\n");
            fflush(stdout);
        })
        .run();
}
