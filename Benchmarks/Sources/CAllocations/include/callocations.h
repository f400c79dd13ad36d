#ifndef CALLOCATIONS_H
#define CALLOCATIONS_H
#include <stdint.h>

/// Calls of malloc, calloc, realloc, posix_memalign and aligned_alloc by this process so far.
uint64_t callocations_count(void);

#endif
