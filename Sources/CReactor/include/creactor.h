// The system calls that Swift cannot see (macros, unions, inline functions), as plain functions.
//
// No policy, no loop, no global. Every function that can fail gives a negative errno, and has already
// repeated what EINTR interrupted; "would block" is -EAGAIN. Nothing here needs the caller to read errno.
#ifndef CREACTOR_H
#define CREACTOR_H

#include "creactor_ring.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// --- Addresses -------------------------------------------------------------------------------------------

enum {
    CREACTOR_IPV4 = 4,
    CREACTOR_IPV6 = 6,
};

// An IPv4 or IPv6 address with its port. `word0` and `word1` hold the address bytes in network order; IPv4
// uses the first four bytes of `word0`.
struct creactor_address {
    uint64_t word0;
    uint64_t word1;
    uint32_t scope;
    uint16_t port;  // host order
    uint16_t family;  // CREACTOR_IPV4 or CREACTOR_IPV6
};

// Reads a numeric address ("127.0.0.1", "::1", "fe80::1%eth0"); the port is left 0. 0 or -EINVAL.
int creactor_address_parse(const char *text, struct creactor_address *out);

// Writes the address without port or brackets, zero-terminated; `text` must hold at least 64 bytes.
int creactor_address_format(const struct creactor_address *address, char *text, size_t capacity);

// getaddrinfo(3) for TCP. BLOCKS: never call it on a loop's thread. Gives the number of addresses written
// (at most `capacity`) or a negative EAI_ code turned positive minus 10000, for creactor_resolve_message.
int creactor_resolve(const char *host, uint16_t port, struct creactor_address *out, int capacity);

// The text for a negative result of creactor_resolve; static storage.
const char *creactor_resolve_message(int result);

// --- Sockets ---------------------------------------------------------------------------------------------

// All sockets are SOCK_STREAM, SOCK_NONBLOCK and SOCK_CLOEXEC.
int creactor_socket(uint16_t family);
int creactor_bind(int fd, const struct creactor_address *address);
int creactor_listen(int fd, int backlog);
int creactor_accept(int fd);
int creactor_connect(int fd, const struct creactor_address *address);
int creactor_local_address(int fd, struct creactor_address *out);
int creactor_peer_address(int fd, struct creactor_address *out);
// The pending SO_ERROR as a negative errno, 0 when there is none.
int creactor_socket_error(int fd);
int creactor_set_reuse_address(int fd);
int creactor_set_reuse_port(int fd);
int creactor_set_v6_only(int fd);
int creactor_set_no_delay(int fd);
// SO_KEEPALIVE with the given idle time, interval and number of unanswered probes (tcp(7)).
int creactor_set_keepalive(int fd, int idle_seconds, int interval_seconds, int probes);
int creactor_set_send_buffer(int fd, int bytes);
int creactor_set_receive_buffer(int fd, int bytes);
// SO_LINGER with time 0: close(2) then sends RST instead of FIN (socket(7)).
int creactor_set_reset_on_close(int fd);
int creactor_shutdown_output(int fd);
// Stops listening at once, also while an accept of io_uring still holds the socket.
int creactor_shutdown_listener(int fd);
// The descriptor is gone afterwards, whatever the result.
int creactor_close(int fd);
// Number of bytes, 0 at the end of the stream.
long creactor_receive(int fd, void *buffer, size_t capacity);
// MSG_NOSIGNAL: a broken connection is -EPIPE, never SIGPIPE.
long creactor_send(int fd, const void *bytes, size_t count);

// --- epoll and eventfd -----------------------------------------------------------------------------------

// Macros, since an anonymous enum would come to Swift as Int.
#define CREACTOR_READABLE (1u << 0)  // EPOLLIN
#define CREACTOR_WRITABLE (1u << 1)  // EPOLLOUT
#define CREACTOR_INPUT_ENDED (1u << 2)  // EPOLLRDHUP
#define CREACTOR_FAILED (1u << 3)  // EPOLLERR or EPOLLHUP: reported without being asked for
#define CREACTOR_EDGE (1u << 4)  // EPOLLET

struct creactor_event {
    uint64_t user_data;
    uint32_t events;  // CREACTOR_READABLE | …
};

int creactor_epoll_create(void);
int creactor_epoll_add(int epoll, int fd, uint32_t events, uint64_t user_data);
int creactor_epoll_modify(int epoll, int fd, uint32_t events, uint64_t user_data);
int creactor_epoll_remove(int epoll, int fd);
// Waits at most `timeout_ms` (-1 for ever). At most 512 events. An interrupted wait gives 0.
int creactor_epoll_wait(int epoll, struct creactor_event *out, int capacity, int timeout_ms);

int creactor_eventfd(void);
int creactor_eventfd_signal(int fd);
// Takes the counter down to 0, so that the descriptor is no longer readable.
int creactor_eventfd_drain(int fd);

// --- Threads, time, randomness ---------------------------------------------------------------------------

// CLOCK_MONOTONIC in nanoseconds.
uint64_t creactor_monotonic_nanoseconds(void);
// Sleeps for about so long; a signal ends it early.
void creactor_sleep(uint64_t nanoseconds);
// Pins the calling thread; -EINVAL when the process may not use that core.
int creactor_pin_to_core(int core);
// Names the calling thread; cut to 15 bytes.
void creactor_name_thread(const char *name);
// getrandom(2), whole.
int creactor_random(void *buffer, size_t count);
// Soft limit of open descriptors (RLIMIT_NOFILE).
uint64_t creactor_descriptor_limit(void);
int creactor_set_descriptor_limit(uint64_t limit);
// Unmaps the pages of program and libraries that were read from their files and not written (madvise(2), MADV_DONTNEED);
// those that are used come back by themselves. Returns the bytes of address space looked at.
uint64_t creactor_release_program_pages(void);
// Gives pages that malloc holds and nobody uses back to the system (malloc_trim(3)), in all arenas, when malloc counts at least so many
// bytes as free (mallinfo2(3)). Returns 1 when some went.
int creactor_release_free_memory(uint64_t least);
// strerror_r(3) into `text`.
void creactor_error_text(int code, char *text, size_t capacity);

#endif
