// io_uring(7) as plain functions over an opaque ring. liburing's own header defines feature-test macros, which
// must not reach a module, so nothing of it is visible here.
//
// One thread makes, uses and destroys a ring. `prepare` functions queue a submission; it reaches the kernel
// with the next wait, or earlier when the queue is full.
#ifndef CREACTOR_RING_H
#define CREACTOR_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct creactor_ring;

// What of io_uring is in use, with the first Linux that has it.
#define CREACTOR_RING_SINGLE_ISSUER (1u << 0)  // 6.0
#define CREACTOR_RING_DEFER_TASKRUN (1u << 1)  // 6.1: completions are made in the wait, not by interrupting
#define CREACTOR_RING_COOP_TASKRUN (1u << 2)  // 5.19: no interrupt to the thread for each completion
#define CREACTOR_RING_MULTISHOT_ACCEPT (1u << 3)  // 5.19
#define CREACTOR_RING_MULTISHOT_RECEIVE (1u << 4)  // 6.0
#define CREACTOR_RING_BUFFER_RING (1u << 5)  // 5.19; without it there is no ring
#define CREACTOR_RING_REGISTERED_RING (1u << 6)  // 5.18: no look-up of the ring's descriptor in each wait
#define CREACTOR_RING_INCREMENTAL (1u << 7)  // 6.12: receives fill a buffer one behind another
#define CREACTOR_RING_MINIMUM_WAIT (1u << 8)  // 6.12: a wait that gathers completions for a while

struct creactor_ring_options {
    // Receive buffers: a power of two, and bytes of each. Incremental buffers are four times as large and a
    // quarter as many.
    uint32_t buffer_count;
    uint32_t buffer_bytes;
    // The CREACTOR_RING_ features that may be tried.
    uint32_t allowed;
    // Sizes of the submission and completion queues, powers of two; 0 for the usual ones.
    uint32_t submission_entries;
    uint32_t completion_entries;
};

// Makes a ring with its receive buffers. The first eighth of them is handed to the kernel at once, the rest as
// load asks for it.
//
// `features` gets the features in use. On failure the result is a negative errno and `failed_call` names the
// call.
int creactor_ring_create(const struct creactor_ring_options *options, struct creactor_ring **out,
                         uint32_t *features, const char **failed_call);
void creactor_ring_destroy(struct creactor_ring *ring);

// Each gives 0, or -EBUSY when the kernel takes no submissions at the moment.
int creactor_ring_prepare_accept(struct creactor_ring *ring, int fd, bool multishot, uint64_t user_data);
int creactor_ring_prepare_receive(struct creactor_ring *ring, int fd, bool multishot, uint64_t user_data);
// `bytes` must stay where they are until the completion.
int creactor_ring_prepare_send(struct creactor_ring *ring, int fd, const void *bytes, size_t count,
                               uint64_t user_data);
// One answer; CREACTOR_READABLE and CREACTOR_WRITABLE of creactor.h.
int creactor_ring_prepare_poll(struct creactor_ring *ring, int fd, uint32_t events, uint64_t user_data);
// An answer for each time that something is written to the eventfd, which need not be read (edge-triggered).
int creactor_ring_prepare_wake(struct creactor_ring *ring, int eventfd, uint64_t user_data);
// Cancels what was prepared with `target`; succeeds silently, fails with a completion of `user_data`.
int creactor_ring_prepare_cancel(struct creactor_ring *ring, uint64_t target, uint64_t user_data);
// Closes after what was prepared before, so that a queued submission never meets another file of this number.
int creactor_ring_prepare_close(struct creactor_ring *ring, int fd, uint64_t user_data);

struct creactor_completion {
    uint64_t user_data;
    // The bytes received, inside a receive buffer; NULL when there are none.
    void *bytes;
    int32_t result;
    // The receive buffer to give back once the bytes are not needed any more, or -1: none, or one that more goes into.
    int32_t buffer;
    // More completions of the same submission will follow.
    bool more;
};

// Submits, waits for at least one completion or `nanoseconds` (UINT64_MAX: for ever, 0: not at all), and
// gives up to `capacity` completions. An interrupted wait gives 0.
//
// `gather` nanoseconds, 0 for none, are waited in any case, so that more comes together, unless very many
// completions are there before.
int creactor_ring_wait(struct creactor_ring *ring, uint64_t nanoseconds, uint64_t gather,
                       struct creactor_completion *out, int capacity);

// Gives a buffer back; the kernel sees it after `creactor_ring_commit_buffers`, one store for the batch.
void creactor_ring_recycle(struct creactor_ring *ring, int32_t buffer);
void creactor_ring_commit_buffers(struct creactor_ring *ring);

// io_uring_enter(2) calls so far.
uint64_t creactor_ring_system_calls(const struct creactor_ring *ring);
// Bytes of receive buffers handed to the kernel so far.
uint64_t creactor_ring_buffer_bytes(const struct creactor_ring *ring);
// The events of a poll completion as CREACTOR_ flags.
uint32_t creactor_ring_poll_events(int32_t result);

#endif
