// By words of eight bytes: any machine.
#include "forms.h"

CSCAN_INLINE cscan_masks find(const uint8_t *p) {
    cscan_masks found = {0, 0};
    for (int k = 0; k < CSCAN_BLOCK; k += 8) {
        uint64_t word = cscan_load8(p + k);
        found.non_ascii |= (uint64_t)cscan_gather(word) << k;
        found.stops |= (uint64_t)cscan_gather(cscan_string_stops8(word) & ~word) << k;
    }
    return found;
}

CSCAN_INLINE cscan_pairs find_pairs(const uint8_t *p) {
    cscan_pairs found = {0, 0};
    for (int k = 0; k < CSCAN_BLOCK; k++) {
        found.lead |= (uint64_t)(p[k] >= 0xC2 && p[k] <= 0xDF) << k;
        found.trail |= (uint64_t)((p[k] & 0xC0) == 0x80) << k;
    }
    return found;
}

CSCAN_INLINE int match(const uint8_t *p, size_t i, size_t n, const cscan_stretch *stretch) {
    const size_t length = stretch->length;
    if (n - i < length) return 0;
    p += i;
    size_t k = 0;
    for (; k + 8 <= length; k += 8)
        if (cscan_load8(p + k) != cscan_load8(stretch->pattern + k)) return 0;
    for (; k < length; k++)
        if (p[k] != stretch->pattern[k]) return 0;
    return 1;
}

#define FORM(name) name##_words
#define FIND find
#define FIND_PAIRS find_pairs
#define MATCH match
#include "form_body.h"
