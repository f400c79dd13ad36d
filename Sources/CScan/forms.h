// What takes a whole text at a time, `cscan_index` and `cscan_follow`, is compiled in several forms, each in a file of
// its own: a call costs nothing then, and a function for one kind of processor cannot be inlined into code for
// every kind. forms.c chooses.
#ifndef CSCAN_FORMS_H
#define CSCAN_FORMS_H

#include "cscan.h"

#define CSCAN_FORM(form)                                                                                       \
    size_t cscan_index_##form(const uint8_t *text, size_t count, size_t from, uint64_t *words, size_t most);   \
    int cscan_follow_##form(cscan_follower *at);

CSCAN_FORM(words)
CSCAN_FORM(baseline)
CSCAN_FORM(avx2)
CSCAN_FORM(avx512)

enum { CSCAN_BLOCK = 64 };

// What is told apart in a block, a bit for each byte.
typedef struct {
    uint64_t stops;      // '"', '\\', below 0x20
    uint64_t non_ascii;  // 0x80 and above
} cscan_masks;

typedef struct {
    uint64_t lead;   // 0xC2 to 0xDF: the first of two bytes
    uint64_t trail;  // 0x80 to 0xBF
} cscan_pairs;

#endif
