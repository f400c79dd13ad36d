#define _GNU_SOURCE
#include "ccopies.h"
#include <dlfcn.h>
#include <stddef.h>

typedef void *(*copy)(void *, const void *, size_t);

static copy real;
// What is watched; without bytes nothing is counted.
static uintptr_t watched;
static uint64_t watched_bytes;
static uint64_t copied;

void ccopies_begin(const void *base, uint64_t count) {
    copied = 0;
    watched = (uintptr_t)base;
    watched_bytes = count;
}

uint64_t ccopies_end(void) {
    watched_bytes = 0;
    return copied;
}

static inline void look(const void *from, size_t size) {
    if ((uintptr_t)from - watched < watched_bytes) copied += size;
}

__attribute__((constructor)) static void find(void) { real = (copy)dlsym(RTLD_NEXT, "memmove"); }

// Until the real one is found; a loop that the compiler must not make a call of memmove of.
__attribute__((no_builtin("memcpy", "memmove"))) static void *by_bytes(void *to, const void *from, size_t size) {
    unsigned char *t = to;
    const unsigned char *f = from;
    if (t < f) for (size_t i = 0; i < size; i++) t[i] = f[i];
    else for (size_t i = size; i > 0; i--) t[i - 1] = f[i - 1];
    return to;
}

void *memmove(void *to, const void *from, size_t size) {
    look(from, size);
    return real ? real(to, from, size) : by_bytes(to, from, size);
}

void *memcpy(void *to, const void *from, size_t size) {
    look(from, size);
    return real ? real(to, from, size) : by_bytes(to, from, size);
}
