#define _GNU_SOURCE
#include "creactor_ring.h"

#include "creactor.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { BUFFER_GROUP = 0 };

struct creactor_ring {
    struct io_uring ring;
    struct io_uring_buf_ring *buffers;
    uint8_t *memory;
    uint32_t buffer_count;
    uint32_t buffer_bytes;
    uint32_t recycled;
    // The last wait gave so many completions that more are likely waiting.
    bool busy;
    uint64_t system_calls;
};

// With deferred task work the kernel makes at most max(20, number waited for) completions per wait
// (IO_LOCAL_TW_DEFAULT_MAX, Linux 6.13). Under load it is therefore asked for a batch, with no time to wait.
enum { BUSY_COMPLETIONS = 16, BUSY_BATCH = 256 };

// Tries one set of flags with the usual queue sizes, then with small ones: before Linux 5.12 rings count against
// RLIMIT_MEMLOCK, and containers limit memory in other ways.
static int try_ring(struct io_uring *ring, unsigned flags) {
    static const unsigned sizes[][2] = {{2048, 16384}, {256, 2048}, {64, 512}};
    int result = -EINVAL;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct io_uring_params parameters = {.flags = flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
                                             .cq_entries = sizes[i][1]};
        result = io_uring_queue_init_params(sizes[i][0], ring, &parameters);
        if (result != -ENOMEM) return result;
    }
    return result;
}

static int make_ring(struct io_uring *ring, uint32_t allowed, uint32_t *features) {
    static const struct {
        uint32_t features;
        unsigned flags;
    } sets[] = {
        {CREACTOR_RING_SINGLE_ISSUER | CREACTOR_RING_DEFER_TASKRUN,
         IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL},
        {CREACTOR_RING_SINGLE_ISSUER | CREACTOR_RING_COOP_TASKRUN,
         IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
             IORING_SETUP_SUBMIT_ALL},
        {CREACTOR_RING_COOP_TASKRUN,
         IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL},
        {0, 0},
    };
    int result = -EINVAL;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if ((sets[i].features & allowed) != sets[i].features) continue;
        result = try_ring(ring, sets[i].flags);
        if (result == 0) {
            *features |= sets[i].features;
            return 0;
        }
        // Only "unknown flag" is a reason to try fewer.
        if (result != -EINVAL) return result;
    }
    return result;
}

static bool supports(const struct io_uring_probe *probe, int operation) {
    return operation <= probe->last_op && (probe->ops[operation].flags & IO_URING_OP_SUPPORTED);
}

static void add_buffer(struct creactor_ring *ring, uint32_t buffer, uint32_t offset) {
    io_uring_buf_ring_add(ring->buffers, ring->memory + (size_t)buffer * ring->buffer_bytes,
                          ring->buffer_bytes, (unsigned short)buffer,
                          io_uring_buf_ring_mask(ring->buffer_count), (int)offset);
}

static void *map(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static int make_buffers(struct creactor_ring *ring) {
    size_t ring_bytes = ring->buffer_count * sizeof(struct io_uring_buf);
    ring->buffers = map(ring_bytes);
    if (!ring->buffers) return -ENOMEM;
    ring->memory = map((size_t)ring->buffer_count * ring->buffer_bytes);
    if (!ring->memory) return -ENOMEM;
    struct io_uring_buf_reg registration = {.ring_addr = (uint64_t)(uintptr_t)ring->buffers,
                                            .ring_entries = ring->buffer_count,
                                            .bgid = BUFFER_GROUP};
    int result = io_uring_register_buf_ring(&ring->ring, &registration, 0);
    if (result < 0) return result;
    io_uring_buf_ring_init(ring->buffers);
    for (uint32_t i = 0; i < ring->buffer_count; i++) add_buffer(ring, i, i);
    io_uring_buf_ring_advance(ring->buffers, (int)ring->buffer_count);
    return 0;
}

static void unmap(struct creactor_ring *ring) {
    if (ring->buffers) munmap(ring->buffers, ring->buffer_count * sizeof(struct io_uring_buf));
    if (ring->memory) munmap(ring->memory, (size_t)ring->buffer_count * ring->buffer_bytes);
    free(ring);
}

int creactor_ring_create(uint32_t buffer_count, uint32_t buffer_bytes, uint32_t allowed,
                         struct creactor_ring **out, uint32_t *features, const char **failed_call) {
    struct creactor_ring *ring = calloc(1, sizeof *ring);
    *failed_call = "calloc";
    if (!ring) return -ENOMEM;
    ring->buffer_count = buffer_count;
    ring->buffer_bytes = buffer_bytes;
    *features = 0;
    *failed_call = "io_uring_setup";
    int result = make_ring(&ring->ring, allowed, features);
    if (result < 0) {
        unmap(ring);
        return result;
    }
    *failed_call = "io_uring_register(PBUF_RING)";
    result = (allowed & CREACTOR_RING_BUFFER_RING) ? make_buffers(ring) : -EOPNOTSUPP;
    if (result < 0) {
        io_uring_queue_exit(&ring->ring);
        unmap(ring);
        return result;
    }
    *features |= CREACTOR_RING_BUFFER_RING;
    // There is no probe for the multishot forms; they came with the buffer ring (accept) and, in 6.0, beside
    // SEND_ZC (receive).
    *features |= allowed & CREACTOR_RING_MULTISHOT_ACCEPT;
    struct io_uring_probe *probe = io_uring_get_probe_ring(&ring->ring);
    if (probe && supports(probe, IORING_OP_SEND_ZC)) *features |= allowed & CREACTOR_RING_MULTISHOT_RECEIVE;
    if (probe) io_uring_free_probe(probe);
    // Saves looking the descriptor up in every enter; does without where the kernel has not got it (5.18).
    io_uring_register_ring_fd(&ring->ring);
    *out = ring;
    return 0;
}

void creactor_ring_destroy(struct creactor_ring *ring) {
    io_uring_queue_exit(&ring->ring);
    unmap(ring);
}

static struct io_uring_sqe *next_submission(struct creactor_ring *ring) {
    struct io_uring_sqe *submission = io_uring_get_sqe(&ring->ring);
    // The queue is full: submit early. Refused only for want of memory (EAGAIN), which passes.
    for (int attempt = 0; !submission && attempt < 1000; attempt++) {
        ring->system_calls++;
        io_uring_submit(&ring->ring);
        submission = io_uring_get_sqe(&ring->ring);
    }
    return submission;
}

int creactor_ring_prepare_accept(struct creactor_ring *ring, int fd, bool multishot, uint64_t user_data) {
    struct io_uring_sqe *submission = next_submission(ring);
    if (!submission) return -EBUSY;
    int flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
    if (multishot) {
        io_uring_prep_multishot_accept(submission, fd, NULL, NULL, flags);
    } else {
        io_uring_prep_accept(submission, fd, NULL, NULL, flags);
    }
    io_uring_sqe_set_data64(submission, user_data);
    return 0;
}

int creactor_ring_prepare_receive(struct creactor_ring *ring, int fd, bool multishot, uint64_t user_data) {
    struct io_uring_sqe *submission = next_submission(ring);
    if (!submission) return -EBUSY;
    if (multishot) {
        io_uring_prep_recv_multishot(submission, fd, NULL, 0, 0);
    } else {
        io_uring_prep_recv(submission, fd, NULL, ring->buffer_bytes, 0);
    }
    submission->flags |= IOSQE_BUFFER_SELECT;
    submission->buf_group = BUFFER_GROUP;
    io_uring_sqe_set_data64(submission, user_data);
    return 0;
}

int creactor_ring_prepare_send(struct creactor_ring *ring, int fd, const void *bytes, size_t count,
                               uint64_t user_data) {
    struct io_uring_sqe *submission = next_submission(ring);
    if (!submission) return -EBUSY;
    // MSG_WAITALL: the kernel goes on after a short write by itself (5.19), which saves a round through the loop.
    io_uring_prep_send(submission, fd, bytes, count, MSG_NOSIGNAL | MSG_WAITALL);
    io_uring_sqe_set_data64(submission, user_data);
    return 0;
}

int creactor_ring_prepare_poll(struct creactor_ring *ring, int fd, uint32_t events, uint64_t user_data) {
    struct io_uring_sqe *submission = next_submission(ring);
    if (!submission) return -EBUSY;
    unsigned mask = ((events & CREACTOR_READABLE) ? (unsigned)POLLIN : 0u) |
                    ((events & CREACTOR_WRITABLE) ? (unsigned)POLLOUT : 0u);
    io_uring_prep_poll_add(submission, fd, mask);
    io_uring_sqe_set_data64(submission, user_data);
    return 0;
}

int creactor_ring_prepare_cancel(struct creactor_ring *ring, uint64_t target, uint64_t user_data) {
    struct io_uring_sqe *submission = next_submission(ring);
    if (!submission) return -EBUSY;
    io_uring_prep_cancel64(submission, target, 0);
    submission->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(submission, user_data);
    return 0;
}

int creactor_ring_prepare_close(struct creactor_ring *ring, int fd, uint64_t user_data) {
    struct io_uring_sqe *submission = next_submission(ring);
    if (!submission) return -EBUSY;
    io_uring_prep_close(submission, fd);
    submission->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(submission, user_data);
    return 0;
}

// What a wait may answer without anything being wrong: the time is over, completions have to be taken first, or
// a signal came.
static bool is_harmless(int result) {
    return result >= 0 || result == -ETIME || result == -EBUSY || result == -EAGAIN || result == -EINTR;
}

static int collect(struct creactor_ring *ring, struct creactor_completion *out, int capacity) {
    struct io_uring_cqe *completions[BUSY_BATCH];
    int total = 0;
    while (total < capacity) {
        unsigned wanted = (unsigned)(capacity - total);
        if (wanted > BUSY_BATCH) wanted = BUSY_BATCH;
        unsigned count = io_uring_peek_batch_cqe(&ring->ring, completions, wanted);
        if (count == 0) break;
        for (unsigned i = 0; i < count; i++) {
            const struct io_uring_cqe *completion = completions[i];
            struct creactor_completion *item = &out[total++];
            item->user_data = completion->user_data;
            item->result = completion->res;
            item->buffer = (completion->flags & IORING_CQE_F_BUFFER)
                               ? (int32_t)(completion->flags >> IORING_CQE_BUFFER_SHIFT)
                               : -1;
            item->more = (completion->flags & IORING_CQE_F_MORE) != 0;
        }
        io_uring_cq_advance(&ring->ring, count);
    }
    ring->busy = total >= BUSY_COMPLETIONS;
    return total;
}

static int wait_for(struct creactor_ring *ring, unsigned completions, uint64_t nanoseconds) {
    struct __kernel_timespec timeout = {.tv_sec = (long long)(nanoseconds / 1000000000u),
                                        .tv_nsec = (long long)(nanoseconds % 1000000000u)};
    struct io_uring_cqe *first = NULL;
    ring->system_calls++;
    return io_uring_submit_and_wait_timeout(&ring->ring, &first, completions, &timeout, NULL);
}

int creactor_ring_wait(struct creactor_ring *ring, uint64_t nanoseconds, struct creactor_completion *out,
                       int capacity) {
    int result;
    if (ring->busy) {
        result = wait_for(ring, BUSY_BATCH, 0);
        if (!is_harmless(result)) return result;
        int count = collect(ring, out, capacity);
        if (count > 0 || nanoseconds == 0) return count;
    }
    if (nanoseconds == 0) {
        ring->system_calls++;
        result = io_uring_submit_and_get_events(&ring->ring);
    } else if (nanoseconds == UINT64_MAX) {
        ring->system_calls++;
        result = io_uring_submit_and_wait(&ring->ring, 1);
    } else {
        result = wait_for(ring, 1, nanoseconds);
    }
    return is_harmless(result) ? collect(ring, out, capacity) : result;
}

void *creactor_ring_buffer(const struct creactor_ring *ring, int32_t buffer) {
    return ring->memory + (size_t)(uint32_t)buffer * ring->buffer_bytes;
}

void creactor_ring_recycle(struct creactor_ring *ring, int32_t buffer) {
    add_buffer(ring, (uint32_t)buffer, ring->recycled++);
}

void creactor_ring_commit_buffers(struct creactor_ring *ring) {
    if (ring->recycled == 0) return;
    io_uring_buf_ring_advance(ring->buffers, (int)ring->recycled);
    ring->recycled = 0;
}

uint64_t creactor_ring_system_calls(const struct creactor_ring *ring) { return ring->system_calls; }

uint32_t creactor_ring_poll_events(int32_t result) {
    if (result < 0) return CREACTOR_FAILED;
    return ((result & POLLIN) ? CREACTOR_READABLE : 0) | ((result & POLLOUT) ? CREACTOR_WRITABLE : 0) |
           ((result & (POLLERR | POLLHUP | POLLNVAL)) ? CREACTOR_FAILED : 0);
}
