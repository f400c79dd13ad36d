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

// What newer headers than Debian 12's (Linux 6.1) define; the numbers are the kernel's interface.
#define FEATURE_MIN_TIMEOUT (1u << 15)
#define BUFFER_RING_INCREMENTAL 2
#define COMPLETION_BUFFER_MORE (1u << 4)

// struct io_uring_getevents_arg with the field that Linux 6.12 put in place of the padding.
struct wait_argument {
    uint64_t sigmask;
    uint32_t sigmask_size;
    uint32_t minimum_microseconds;
    uint64_t timeout;
};

enum { BUFFER_GROUP = 0 };

// An incremental buffer takes many receives, so fewer and larger ones cut fewer messages.
enum { INCREMENTAL_FACTOR = 4 };

// They are filled to the last byte, so fewer do: the others are needed only where a short message takes a buffer. With
// a quarter, a thousand busy connections found none too often; with all of them, what the kernel wrote had left the
// second-level cache when it was read.
enum { INCREMENTAL_SHARE = 2 };

// With deferred task work the kernel makes at most max(20, number waited for) completions per wait
// (IO_LOCAL_TW_DEFAULT_MAX, Linux 6.13). Under load it is therefore asked for a batch, with no time to wait.
enum { BUSY_COMPLETIONS = 16, BUSY_BATCH = 256 };

// The kernel adds the timeout to its clock without looking for overflow; three years are for ever.
#define LONGEST_WAIT ((uint64_t)100000000000000000u)

struct creactor_ring {
    struct io_uring ring;
    struct io_uring_buf_ring *buffers;
    uint8_t *memory;
    size_t list_bytes;
    size_t memory_bytes;
    uint32_t buffer_count;
    uint32_t buffer_bytes;
    // Buffers that the kernel got so far; the others wait until it runs out. It gets `most` of them.
    uint32_t provided;
    uint32_t most;
    uint32_t recycled;
    // Incremental buffers: how far each is filled.
    uint32_t *filled;
    uint32_t features;
    unsigned enter_flags;
    bool starved;
    // The last wait gave so many completions that more are likely waiting.
    bool busy;
    // Completions taken from the queue to make room, before their turn.
    struct io_uring_cqe *aside;
    uint32_t aside_count;
    uint32_t aside_next;
    uint32_t aside_capacity;
    uint64_t system_calls;
};

// --- Making and ending a ring

// Tries one set of flags with the usual queue sizes, then with small ones: before Linux 5.12 rings count against
// RLIMIT_MEMLOCK, and containers limit memory in other ways.
static int try_ring(struct io_uring *ring, unsigned flags, const struct creactor_ring_options *options) {
    static const unsigned usual[][2] = {{2048, 16384}, {256, 2048}, {64, 512}};
    int result = -EINVAL;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        unsigned submissions = options->submission_entries ? options->submission_entries : usual[i][0];
        unsigned completions = options->completion_entries ? options->completion_entries : usual[i][1];
        struct io_uring_params parameters = {.flags = flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
                                             .cq_entries = completions};
        result = io_uring_queue_init_params(submissions, ring, &parameters);
        if (result != -ENOMEM) return result;
    }
    return result;
}

static int make_ring(struct creactor_ring *ring, const struct creactor_ring_options *options) {
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
        if ((sets[i].features & options->allowed) != sets[i].features) continue;
        result = try_ring(&ring->ring, sets[i].flags, options);
        if (result == 0) {
            ring->features |= sets[i].features;
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

static void *map(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static void add_buffer(struct creactor_ring *ring, uint32_t buffer, uint32_t offset) {
    io_uring_buf_ring_add(ring->buffers, ring->memory + (size_t)buffer * ring->buffer_bytes,
                          ring->buffer_bytes, (unsigned short)buffer,
                          io_uring_buf_ring_mask(ring->buffer_count), (int)offset);
}

static int register_buffers(struct creactor_ring *ring, uint16_t flags) {
    struct io_uring_buf_reg registration = {.ring_addr = (uint64_t)(uintptr_t)ring->buffers,
                                            .ring_entries = ring->buffer_count,
                                            .bgid = BUFFER_GROUP,
                                            .pad = flags};  // the flags, where newer headers have them
    return io_uring_register_buf_ring(&ring->ring, &registration, 0);
}

static int make_buffers(struct creactor_ring *ring, const struct creactor_ring_options *options) {
    ring->list_bytes = options->buffer_count * sizeof(struct io_uring_buf);
    ring->memory_bytes = (size_t)options->buffer_count * options->buffer_bytes;
    ring->buffers = map(ring->list_bytes);
    ring->memory = map(ring->memory_bytes);
    if (!ring->buffers || !ring->memory) return -ENOMEM;
    int result = -EINVAL;
    if ((options->allowed & CREACTOR_RING_INCREMENTAL) && options->buffer_count >= INCREMENTAL_FACTOR) {
        ring->buffer_count = options->buffer_count / INCREMENTAL_FACTOR;
        ring->buffer_bytes = options->buffer_bytes * INCREMENTAL_FACTOR;
        ring->filled = calloc(ring->buffer_count, sizeof *ring->filled);
        if (!ring->filled) return -ENOMEM;
        result = register_buffers(ring, BUFFER_RING_INCREMENTAL);
        if (result == 0) ring->features |= CREACTOR_RING_INCREMENTAL;
    }
    if (result != 0) {
        ring->buffer_count = options->buffer_count;
        ring->buffer_bytes = options->buffer_bytes;
        result = register_buffers(ring, 0);
    }
    if (result < 0) return result;
    ring->features |= CREACTOR_RING_BUFFER_RING;
    io_uring_buf_ring_init(ring->buffers);
    bool fills = ring->features & CREACTOR_RING_INCREMENTAL;
    ring->most = fills ? (ring->buffer_count + INCREMENTAL_SHARE - 1) / INCREMENTAL_SHARE : ring->buffer_count;
    ring->provided = (ring->buffer_count + 7) / 8;
    for (uint32_t i = 0; i < ring->provided; i++) add_buffer(ring, i, i);
    io_uring_buf_ring_advance(ring->buffers, (int)ring->provided);
    return 0;
}

static void unmap(struct creactor_ring *ring) {
    if (ring->buffers) munmap(ring->buffers, ring->list_bytes);
    if (ring->memory) munmap(ring->memory, ring->memory_bytes);
    free(ring->filled);
    free(ring->aside);
    free(ring);
}

int creactor_ring_create(const struct creactor_ring_options *options, struct creactor_ring **out,
                         uint32_t *features, const char **failed_call) {
    struct creactor_ring *ring = calloc(1, sizeof *ring);
    *failed_call = "calloc";
    if (!ring) return -ENOMEM;
    *features = 0;
    *failed_call = "io_uring_setup";
    int result = make_ring(ring, options);
    if (result < 0) {
        unmap(ring);
        return result;
    }
    *failed_call = "io_uring_register(PBUF_RING)";
    result = (options->allowed & CREACTOR_RING_BUFFER_RING) ? make_buffers(ring, options) : -EOPNOTSUPP;
    if (result < 0) {
        io_uring_queue_exit(&ring->ring);
        unmap(ring);
        return result;
    }
    // There is no probe for the multishot forms; they came with the buffer ring (accept) and, in 6.0, beside
    // SEND_ZC (receive). A kernel that was patched otherwise answers EINVAL, and the single forms are used.
    ring->features |= options->allowed & CREACTOR_RING_MULTISHOT_ACCEPT;
    struct io_uring_probe *probe = io_uring_get_probe_ring(&ring->ring);
    if (probe && supports(probe, IORING_OP_SEND_ZC)) {
        ring->features |= options->allowed & CREACTOR_RING_MULTISHOT_RECEIVE;
    }
    if (probe) io_uring_free_probe(probe);
    if (ring->ring.features & FEATURE_MIN_TIMEOUT) {
        ring->features |= options->allowed & CREACTOR_RING_MINIMUM_WAIT;
    }
    if ((options->allowed & CREACTOR_RING_REGISTERED_RING) && io_uring_register_ring_fd(&ring->ring) == 1) {
        ring->features |= CREACTOR_RING_REGISTERED_RING;
        ring->enter_flags = IORING_ENTER_REGISTERED_RING;
    }
    // liburing fills the indirection either once or with each submission, by version; here it is once.
    for (unsigned i = 0; i < ring->ring.sq.ring_entries; i++) ring->ring.sq.array[i] = i;
    *features = ring->features;
    *out = ring;
    return 0;
}

void creactor_ring_destroy(struct creactor_ring *ring) {
    io_uring_queue_exit(&ring->ring);
    unmap(ring);
}

// --- Entering the kernel

// What a wait may answer without anything being wrong: the time is over, completions have to be taken first, or
// a signal came.
static bool is_harmless(int result) {
    return result >= 0 || result == -ETIME || result == -EBUSY || result == -EAGAIN || result == -EINTR;
}

// Shows the kernel what was prepared; gives how much it has not taken yet.
static unsigned flush(struct io_uring_sq *queue) {
    queue->sqe_head = queue->sqe_tail;
    io_uring_smp_store_release(queue->ktail, queue->sqe_tail);
    return queue->sqe_tail - IO_URING_READ_ONCE(*queue->khead);
}

// Submits and waits for `completions` (0: only makes those that are ready), `minimum` nanoseconds at least and
// `nanoseconds` at most (UINT64_MAX: for ever).
static int enter(struct creactor_ring *ring, unsigned completions, uint64_t minimum, uint64_t nanoseconds) {
    struct __kernel_timespec timeout = {.tv_sec = (long long)(nanoseconds / 1000000000u),
                                        .tv_nsec = (long long)(nanoseconds % 1000000000u)};
    bool ends = nanoseconds < LONGEST_WAIT;
    struct wait_argument argument = {.sigmask_size = _NSIG / 8,
                                     .minimum_microseconds = (uint32_t)(minimum / 1000),
                                     .timeout = ends ? (uint64_t)(uintptr_t)&timeout : 0};
    ring->system_calls++;
    return io_uring_enter2((unsigned)ring->ring.enter_ring_fd, flush(&ring->ring.sq), completions,
                           IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | ring->enter_flags,
                           (sigset_t *)(void *)&argument, sizeof argument);
}

// Takes what is in the completion queue, so that the kernel has room in it.
static int set_aside(struct creactor_ring *ring) {
    unsigned ready = io_uring_cq_ready(&ring->ring);
    if (ready == 0) return 0;
    if (ring->aside_count + ready > ring->aside_capacity) {
        uint32_t capacity = (ring->aside_count + ready) * 2;
        struct io_uring_cqe *larger = realloc(ring->aside, capacity * sizeof *larger);
        if (!larger) return -ENOMEM;
        ring->aside = larger;
        ring->aside_capacity = capacity;
    }
    unsigned head, taken = 0;
    struct io_uring_cqe *completion;
    io_uring_for_each_cqe(&ring->ring, head, completion) {
        if (taken == ready) break;
        ring->aside[ring->aside_count++] = *completion;
        taken++;
    }
    io_uring_cq_advance(&ring->ring, taken);
    return 0;
}

static struct io_uring_sqe *next_submission(struct creactor_ring *ring) {
    struct io_uring_sqe *submission = io_uring_get_sqe(&ring->ring);
    // The queue is full: submit early. What that completes must not overflow the other queue (until Linux 6.0
    // nothing is submitted then, EBUSY). Else it is refused only for want of memory (EAGAIN), which passes.
    for (int attempt = 0; !submission && attempt < 1000; attempt++) {
        if (set_aside(ring) < 0) return NULL;
        if (!is_harmless(enter(ring, 0, 0, UINT64_MAX))) return NULL;
        submission = io_uring_get_sqe(&ring->ring);
    }
    return submission;
}

// --- Preparing

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

int creactor_ring_prepare_wake(struct creactor_ring *ring, int eventfd, uint64_t user_data) {
    struct io_uring_sqe *submission = next_submission(ring);
    if (!submission) return -EBUSY;
    io_uring_prep_poll_multishot(submission, eventfd, POLLIN);
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

// --- Completions

// Where the bytes are, and whether the buffer is used up by them.
static void translate(struct creactor_ring *ring, const struct io_uring_cqe *completion,
                      struct creactor_completion *out) {
    out->user_data = completion->user_data;
    out->bytes = NULL;
    out->result = completion->res;
    out->buffer = -1;
    out->more = (completion->flags & IORING_CQE_F_MORE) != 0;
    if (completion->res == -ENOBUFS) ring->starved = true;
    if (!(completion->flags & IORING_CQE_F_BUFFER)) return;
    uint32_t buffer = completion->flags >> IORING_CQE_BUFFER_SHIFT;
    out->bytes = ring->memory + (size_t)buffer * ring->buffer_bytes;
    if (ring->features & CREACTOR_RING_INCREMENTAL) {
        out->bytes = (uint8_t *)out->bytes + ring->filled[buffer];
        if (completion->res > 0) ring->filled[buffer] += (uint32_t)completion->res;
        if (completion->flags & COMPLETION_BUFFER_MORE) return;
        ring->filled[buffer] = 0;
    }
    out->buffer = (int32_t)buffer;
}

static int collect(struct creactor_ring *ring, struct creactor_completion *out, int capacity) {
    int total = 0;
    while (ring->aside_next < ring->aside_count && total < capacity) {
        translate(ring, &ring->aside[ring->aside_next++], &out[total++]);
    }
    if (ring->aside_next == ring->aside_count) ring->aside_next = ring->aside_count = 0;
    if (ring->aside_count == 0) {
        unsigned head, taken = 0;
        struct io_uring_cqe *completion;
        io_uring_for_each_cqe(&ring->ring, head, completion) {
            if (total == capacity) break;
            translate(ring, completion, &out[total++]);
            taken++;
        }
        io_uring_cq_advance(&ring->ring, taken);
    }
    ring->busy = total >= BUSY_COMPLETIONS;
    return total;
}

int creactor_ring_wait(struct creactor_ring *ring, uint64_t nanoseconds, uint64_t gather,
                       struct creactor_completion *out, int capacity) {
    if (ring->aside_count > 0) nanoseconds = 0;
    if (gather > nanoseconds) gather = nanoseconds;
    if (gather > 0) {
        // Either the kernel goes on waiting for the first one, or another wait does.
        bool both = ring->features & CREACTOR_RING_MINIMUM_WAIT;
        int result = enter(ring, BUSY_BATCH, both ? gather : 0, both ? nanoseconds : gather);
        if (!is_harmless(result)) return result;
        int count = collect(ring, out, capacity);
        if (count > 0 || both) return count;
        if (nanoseconds != UINT64_MAX) nanoseconds -= gather;
    }
    if (ring->busy || nanoseconds == 0) {
        int result = enter(ring, ring->busy ? BUSY_BATCH : 0, 0, 0);
        if (!is_harmless(result)) return result;
        int count = collect(ring, out, capacity);
        if (count > 0 || nanoseconds == 0) return count;
    }
    int result = enter(ring, 1, 0, nanoseconds);
    return is_harmless(result) ? collect(ring, out, capacity) : result;
}

void creactor_ring_recycle(struct creactor_ring *ring, int32_t buffer) {
    add_buffer(ring, (uint32_t)buffer, ring->recycled++);
}

void creactor_ring_commit_buffers(struct creactor_ring *ring) {
    if (ring->starved) {
        ring->starved = false;
        uint32_t wanted = ring->provided * 2;
        if (wanted > ring->most) wanted = ring->most;
        while (ring->provided < wanted) add_buffer(ring, ring->provided++, ring->recycled++);
    }
    if (ring->recycled == 0) return;
    io_uring_buf_ring_advance(ring->buffers, (int)ring->recycled);
    ring->recycled = 0;
}

uint64_t creactor_ring_system_calls(const struct creactor_ring *ring) { return ring->system_calls; }

uint64_t creactor_ring_buffer_bytes(const struct creactor_ring *ring) {
    return (uint64_t)ring->provided * ring->buffer_bytes;
}

uint32_t creactor_ring_poll_events(int32_t result) {
    if (result < 0) return CREACTOR_FAILED;
    return ((result & POLLIN) ? CREACTOR_READABLE : 0) | ((result & POLLOUT) ? CREACTOR_WRITABLE : 0) |
           ((result & (POLLERR | POLLHUP | POLLNVAL)) ? CREACTOR_FAILED : 0);
}
