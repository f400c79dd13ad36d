// Load for WebSocket servers: CONNECTIONS clients on one thread, epoll, no library.
//
//   ws-load PORT PID echo CONNECTIONS BYTES SECONDS   one message under way on each connection: sent, awaited, sent again
//   ws-load PORT PID sink CONNECTIONS BYTES SECONDS   as many as the server takes, 16 in one write; none is answered
//
// Prints: messages, messages a second, and what process PID used of a core for each, in microseconds (its user and system time, not
// ours). In sink mode the count is what was written until a ping behind the last message was answered.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 16 };

typedef struct {
    int fd;
    size_t written;  // of the block that is being written
    size_t awaited;  // bytes of the answer that are still to come
    int finishing;   // sink: the ping is written or being written
} client;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

// User and system time of a process in seconds (proc(5), fields 14 and 15), to a hundredth.
static double used(int pid) {
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file || !fgets(line, sizeof line, file)) fail(path);
    fclose(file);
    unsigned long user = 0, system = 0;
    char *behind = strrchr(line, ')');
    if (!behind || sscanf(behind + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2) fail(path);
    return (double)(user + system) / sysconf(_SC_CLK_TCK);
}

static size_t frame(uint8_t *out, int opcode, size_t count) {
    size_t i = 0;
    out[i++] = 0x80 | opcode;
    if (count < 126) out[i++] = 0x80 | count;
    else { out[i++] = 0x80 | 126; out[i++] = count >> 8; out[i++] = count; }
    const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
    memcpy(out + i, key, 4);
    i += 4;
    for (size_t k = 0; k < count; k++) out[i + k] = ('a' + k % 26) ^ key[k & 3];
    return i + count;
}

static int open_client(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) fail("connect");
    const char *request =
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    if (write(fd, request, strlen(request)) < 0) fail("write");
    char answer[2048] = "";
    size_t count = 0;
    while (!strstr(answer, "\r\n\r\n")) {
        ssize_t n = read(fd, answer + count, sizeof answer - 1 - count);
        if (n <= 0) fail("handshake");
        count += n;
    }
    if (!strstr(answer, " 101 ")) { fprintf(stderr, "%s\n", answer); exit(1); }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

int main(int argc, char **argv) {
    if (argc != 7) { fprintf(stderr, "usage: ws-load PORT PID echo|sink CONNECTIONS BYTES SECONDS\n"); return 2; }
    int port = atoi(argv[1]), pid = atoi(argv[2]), is_sink = !strcmp(argv[3], "sink"), connections = atoi(argv[4]);
    size_t bytes = atoi(argv[5]);
    double seconds = atof(argv[6]);
    if (bytes < 1 || bytes > 60000 || connections < 1) return 2;
    uint8_t *block = malloc(BATCH * (bytes + 16)), ping[16], *trash = malloc(1 << 20);
    size_t one = frame(block, 2, bytes), size = one, ping_size = frame(ping, 9, 0);
    if (is_sink) for (int i = 1; i < BATCH; i++) size += frame(block + size, 2, bytes);
    size_t answer = is_sink ? 2 : bytes + (bytes < 126 ? 2 : 4);

    int queue = epoll_create1(0);
    client *clients = calloc(connections, sizeof *clients);
    for (int i = 0; i < connections; i++) {
        clients[i].fd = open_client(port);
        clients[i].awaited = answer;
        struct epoll_event event = {.events = is_sink ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = &clients[i]};
        epoll_ctl(queue, EPOLL_CTL_ADD, clients[i].fd, &event);
    }
    double before = used(pid), start = now(), end = start + seconds;
    uint64_t messages = 0;
    int running = connections;
    if (!is_sink) for (int i = 0; i < connections; i++) if (write(clients[i].fd, block, one) != (ssize_t)one) fail("write");
    struct epoll_event events[256];
    while (running > 0) {
        int count = epoll_wait(queue, events, 256, 5000);
        if (count <= 0) fail("epoll_wait");
        int is_over = now() >= end;
        for (int k = 0; k < count; k++) {
            client *c = events[k].data.ptr;
            if (events[k].events & EPOLLIN) {
                ssize_t n = read(c->fd, trash, 1 << 20);
                if (n <= 0 && errno != EAGAIN) fail("read");
                if (n > 0 && (size_t)n > c->awaited) { fprintf(stderr, "more answered than asked\n"); return 1; }
                if (n > 0) c->awaited -= n;
                if (c->awaited == 0) {
                    if (is_sink || is_over) { running--; epoll_ctl(queue, EPOLL_CTL_DEL, c->fd, NULL); if (!is_sink) messages++; continue; }
                    messages++;
                    c->awaited = answer;
                    if (write(c->fd, block, one) != (ssize_t)one) fail("write");
                }
            }
            if (is_sink && events[k].events & EPOLLOUT) {
                if (c->written == 0 && is_over) c->finishing = 1;
                uint8_t *what = c->finishing ? ping : block;
                size_t all = c->finishing ? ping_size : size;
                ssize_t n = write(c->fd, what + c->written, all - c->written);
                if (n < 0) { if (errno == EAGAIN) continue; fail("write"); }
                c->written += n;
                if (c->written < all) continue;
                c->written = 0;
                if (c->finishing) {
                    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
                    epoll_ctl(queue, EPOLL_CTL_MOD, c->fd, &event);
                } else messages += BATCH;
            }
        }
    }
    double wall = now() - start, cpu = used(pid) - before;
    printf("%lu %.0f %.3f\n", messages, messages / wall, cpu * 1e6 / messages);
    return 0;
}
