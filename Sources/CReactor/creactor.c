#define _GNU_SOURCE
#include "creactor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// --- Addresses

union any_address {
    struct sockaddr base;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage storage;
};

static socklen_t to_sockaddr(const struct creactor_address *address, union any_address *out) {
    memset(out, 0, sizeof *out);
    if (address->family == CREACTOR_IPV4) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(address->port);
        memcpy(&out->v4.sin_addr, &address->word0, 4);
        return sizeof out->v4;
    }
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = htons(address->port);
    out->v6.sin6_scope_id = address->scope;
    memcpy(&out->v6.sin6_addr, &address->word0, 8);
    memcpy((uint8_t *)&out->v6.sin6_addr + 8, &address->word1, 8);
    return sizeof out->v6;
}

static int from_sockaddr(const struct sockaddr *address, struct creactor_address *out) {
    memset(out, 0, sizeof *out);
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
        out->family = CREACTOR_IPV4;
        out->port = ntohs(v4->sin_port);
        memcpy(&out->word0, &v4->sin_addr, 4);
        return 0;
    }
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
        out->family = CREACTOR_IPV6;
        out->port = ntohs(v6->sin6_port);
        out->scope = v6->sin6_scope_id;
        memcpy(&out->word0, &v6->sin6_addr, 8);
        memcpy(&out->word1, (const uint8_t *)&v6->sin6_addr + 8, 8);
        return 0;
    }
    return -EAFNOSUPPORT;
}

int creactor_address_parse(const char *text, struct creactor_address *out) {
    memset(out, 0, sizeof *out);
    struct in_addr v4;
    if (inet_pton(AF_INET, text, &v4) == 1) {
        out->family = CREACTOR_IPV4;
        memcpy(&out->word0, &v4, 4);
        return 0;
    }
    char host[INET6_ADDRSTRLEN + IF_NAMESIZE + 2];
    if (strlen(text) >= sizeof host) return -EINVAL;
    strcpy(host, text);
    char *zone = strchr(host, '%');
    if (zone) *zone++ = 0;
    struct in6_addr v6;
    if (inet_pton(AF_INET6, host, &v6) != 1) return -EINVAL;
    out->family = CREACTOR_IPV6;
    memcpy(&out->word0, &v6, 8);
    memcpy(&out->word1, (const uint8_t *)&v6 + 8, 8);
    if (zone) {
        out->scope = if_nametoindex(zone);
        if (out->scope == 0) return -EINVAL;
    }
    return 0;
}

int creactor_address_format(const struct creactor_address *address, char *text, size_t capacity) {
    union any_address any;
    to_sockaddr(address, &any);
    const void *bytes = address->family == CREACTOR_IPV4 ? (const void *)&any.v4.sin_addr
                                                         : (const void *)&any.v6.sin6_addr;
    int family = address->family == CREACTOR_IPV4 ? AF_INET : AF_INET6;
    return inet_ntop(family, bytes, text, (socklen_t)capacity) ? 0 : -errno;
}

// EAI_ codes are small negative numbers; moved away so that they are not mistaken for an errno.
enum { RESOLVE_BASE = -10000 };

int creactor_resolve(const char *host, uint16_t port, struct creactor_address *out, int capacity) {
    // Without AI_ADDRCONFIG: it leaves the loopback out of account, and a family that this machine has not got
    // fails at once when it is tried.
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int result = getaddrinfo(host, NULL, &hints, &list);
    if (result != 0) return RESOLVE_BASE + (result < 0 ? result : -result);
    int count = 0;
    for (struct addrinfo *item = list; item && count < capacity; item = item->ai_next) {
        if (from_sockaddr(item->ai_addr, &out[count]) != 0) continue;
        out[count].port = port;
        count++;
    }
    freeaddrinfo(list);
    return count;
}

const char *creactor_resolve_message(int result) { return gai_strerror(result - RESOLVE_BASE); }

// --- Sockets

int creactor_socket(uint16_t family) {
    int fd = socket(family == CREACTOR_IPV4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

int creactor_bind(int fd, const struct creactor_address *address) {
    union any_address any;
    socklen_t length = to_sockaddr(address, &any);
    return bind(fd, &any.base, length) < 0 ? -errno : 0;
}

int creactor_listen(int fd, int backlog) { return listen(fd, backlog) < 0 ? -errno : 0; }

int creactor_accept(int fd) {
    for (;;) {
        int accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (accepted >= 0) return accepted;
        if (errno != EINTR) return -errno;
    }
}

int creactor_connect(int fd, const struct creactor_address *address) {
    union any_address any;
    socklen_t length = to_sockaddr(address, &any);
    if (connect(fd, &any.base, length) == 0) return 0;
    // connect(2): an interrupted connect goes on in the background, as an unfinished one does.
    return errno == EINTR ? -EINPROGRESS : -errno;
}

int creactor_local_address(int fd, struct creactor_address *out) {
    union any_address any;
    socklen_t length = sizeof any;
    if (getsockname(fd, &any.base, &length) < 0) return -errno;
    return from_sockaddr(&any.base, out);
}

int creactor_peer_address(int fd, struct creactor_address *out) {
    union any_address any;
    socklen_t length = sizeof any;
    if (getpeername(fd, &any.base, &length) < 0) return -errno;
    return from_sockaddr(&any.base, out);
}

static int set_option(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value) < 0 ? -errno : 0;
}

int creactor_socket_error(int fd) {
    int value = 0;
    socklen_t length = sizeof value;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &length) < 0) return -errno;
    return -value;
}

int creactor_set_reuse_address(int fd) { return set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1); }
int creactor_set_reuse_port(int fd) { return set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1); }
int creactor_set_v6_only(int fd) { return set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1); }
int creactor_set_no_delay(int fd) { return set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1); }
int creactor_set_send_buffer(int fd, int bytes) { return set_option(fd, SOL_SOCKET, SO_SNDBUF, bytes); }
int creactor_set_receive_buffer(int fd, int bytes) { return set_option(fd, SOL_SOCKET, SO_RCVBUF, bytes); }

int creactor_set_keepalive(int fd, int idle_seconds, int interval_seconds, int probes) {
    int result = set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    if (result == 0) result = set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_seconds);
    if (result == 0) result = set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval_seconds);
    if (result == 0) result = set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, probes);
    return result;
}

int creactor_set_reset_on_close(int fd) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    return setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) < 0 ? -errno : 0;
}

int creactor_shutdown_output(int fd) { return shutdown(fd, SHUT_WR) < 0 ? -errno : 0; }

int creactor_shutdown_listener(int fd) { return shutdown(fd, SHUT_RDWR) < 0 ? -errno : 0; }

// close(2): on Linux the descriptor is gone even after EINTR, so it is never repeated.
int creactor_close(int fd) { return close(fd) < 0 ? -errno : 0; }

long creactor_receive(int fd, void *buffer, size_t capacity) {
    for (;;) {
        ssize_t count = recv(fd, buffer, capacity, MSG_DONTWAIT);
        if (count >= 0) return count;
        if (errno != EINTR) return -errno;
    }
}

long creactor_send(int fd, const void *bytes, size_t count) {
    for (;;) {
        ssize_t sent = send(fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0) return sent;
        if (errno != EINTR) return -errno;
    }
}

// --- epoll and eventfd

static uint32_t to_epoll(uint32_t events) {
    return ((events & CREACTOR_READABLE) ? (uint32_t)EPOLLIN : 0) |
           ((events & CREACTOR_WRITABLE) ? (uint32_t)EPOLLOUT : 0) |
           ((events & CREACTOR_INPUT_ENDED) ? (uint32_t)EPOLLRDHUP : 0) |
           ((events & CREACTOR_EDGE) ? (uint32_t)EPOLLET : 0);
}

static uint32_t from_epoll(uint32_t events) {
    return ((events & EPOLLIN) ? CREACTOR_READABLE : 0) |
           ((events & EPOLLOUT) ? CREACTOR_WRITABLE : 0) |
           ((events & EPOLLRDHUP) ? CREACTOR_INPUT_ENDED : 0) |
           ((events & (EPOLLERR | EPOLLHUP)) ? CREACTOR_FAILED : 0);
}

int creactor_epoll_create(void) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int epoll_change(int epoll, int operation, int fd, uint32_t events, uint64_t user_data) {
    struct epoll_event event = {.events = to_epoll(events), .data.u64 = user_data};
    return epoll_ctl(epoll, operation, fd, &event) < 0 ? -errno : 0;
}

int creactor_epoll_add(int epoll, int fd, uint32_t events, uint64_t user_data) {
    return epoll_change(epoll, EPOLL_CTL_ADD, fd, events, user_data);
}

int creactor_epoll_modify(int epoll, int fd, uint32_t events, uint64_t user_data) {
    return epoll_change(epoll, EPOLL_CTL_MOD, fd, events, user_data);
}

int creactor_epoll_remove(int epoll, int fd) { return epoll_change(epoll, EPOLL_CTL_DEL, fd, 0, 0); }

int creactor_epoll_wait(int epoll, struct creactor_event *out, int capacity, int timeout_ms) {
    struct epoll_event events[512];
    if (capacity > 512) capacity = 512;
    int count = epoll_wait(epoll, events, capacity, timeout_ms);
    if (count < 0) return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < count; i++) {
        out[i].user_data = events[i].data.u64;
        out[i].events = from_epoll(events[i].events);
    }
    return count;
}

int creactor_eventfd(void) {
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int creactor_eventfd_signal(int fd) {
    uint64_t one = 1;
    for (;;) {
        if (write(fd, &one, sizeof one) >= 0) return 0;
        if (errno == EAGAIN) return 0;  // the counter is full, so the reader is awake anyway
        if (errno != EINTR) return -errno;
    }
}

int creactor_eventfd_drain(int fd) {
    uint64_t value;
    for (;;) {
        if (read(fd, &value, sizeof value) >= 0) return 0;
        if (errno == EAGAIN) return 0;
        if (errno != EINTR) return -errno;
    }
}

// --- Threads, time, randomness

uint64_t creactor_monotonic_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void creactor_sleep(uint64_t nanoseconds) {
    struct timespec time = {.tv_sec = (time_t)(nanoseconds / 1000000000u),
                            .tv_nsec = (long)(nanoseconds % 1000000000u)};
    nanosleep(&time, NULL);
}

int creactor_pin_to_core(int core) {
    if (core < 0 || core >= CPU_SETSIZE) return -EINVAL;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    return -pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

void creactor_name_thread(const char *name) {
    char cut[16] = {0};
    strncpy(cut, name, sizeof cut - 1);
    pthread_setname_np(pthread_self(), cut);
}

int creactor_random(void *buffer, size_t count) {
    uint8_t *next = buffer;
    while (count > 0) {
        ssize_t got = getrandom(next, count, 0);
        if (got < 0) {
            if (errno == EINTR) continue;
            return -errno;
        }
        next += got;
        count -= (size_t)got;
    }
    return 0;
}

uint64_t creactor_descriptor_limit(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (uint64_t)limit.rlim_cur : 0;
}

int creactor_set_descriptor_limit(uint64_t value) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    limit.rlim_cur = value < limit.rlim_max ? value : limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? -errno : 0;
}

void creactor_error_text(int code, char *text, size_t capacity) {
    const char *message = strerror_r(code, text, capacity);
    if (message != text) snprintf(text, capacity, "%s", message);
}
