#ifndef CCOPIES_H
#define CCOPIES_H
#include <stdint.h>

/// Begins to count, from nothing, what memcpy and memmove copy out of the `count` bytes at `base`. One thread at a time may count.
void ccopies_begin(const void *base, uint64_t count);

/// Ends it. Returns how many of those bytes this process copied meanwhile, by calls that the compiler did not turn into single moves:
/// anything whose size it does not know, as a payload's.
uint64_t ccopies_end(void);

#endif
