#define _GNU_SOURCE
#include "creactor.h"

#include <link.h>
#include <malloc.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

// Under the loader's lock, so that no library is half loaded meanwhile.
static int release(struct dl_phdr_info *object, size_t size, void *context) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int index = 0; index < object->dlpi_phnum; index++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[index];
        // What is mapped writable was relocated, and its pages are ours alone.
        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W)) continue;
        uintptr_t start = (object->dlpi_addr + segment->p_vaddr) & ~(page - 1);
        // The last page may be the first of what follows.
        uintptr_t end = (object->dlpi_addr + segment->p_vaddr + segment->p_memsz) & ~(page - 1);
        if (end <= start || madvise((void *)start, end - start, MADV_DONTNEED) != 0) continue;
        *(uint64_t *)context += end - start;
    }
    (void)size;
    return 0;
}

uint64_t creactor_release_program_pages(void) {
    uint64_t bytes = 0;
    dl_iterate_phdr(release, &bytes);
    return bytes;
}

int creactor_release_free_memory(uint64_t least) {
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
    if (mallinfo2().fordblks < least) return 0;
    return malloc_trim(0);
#else
    (void)least;
    return 0;
#endif
}
