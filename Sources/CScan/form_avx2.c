// By 32 bytes (x86-64-v3 without its other parts).
#include "forms.h"

#if CSCAN_SSE2
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2"))), apply_to = function)

CSCAN_INLINE cscan_masks find(const uint8_t *p) {
    cscan_masks found = {0, 0};
    for (int k = 0; k < CSCAN_BLOCK; k += 32) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(p + k));
        __m256i quote = _mm256_cmpeq_epi8(v, _mm256_set1_epi8(0x22));
        __m256i backslash = _mm256_cmpeq_epi8(v, _mm256_set1_epi8(0x5C));
        __m256i control = _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(0x1F)), v);
        __m256i stop = _mm256_or_si256(_mm256_or_si256(quote, backslash), control);
        found.stops |= (uint64_t)(uint32_t)_mm256_movemask_epi8(stop) << k;
        found.non_ascii |= (uint64_t)(uint32_t)_mm256_movemask_epi8(v) << k;
    }
    return found;
}

CSCAN_INLINE cscan_pairs find_pairs(const uint8_t *p) {
    cscan_pairs found = {0, 0};
    for (int k = 0; k < CSCAN_BLOCK; k += 32) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(p + k));
        __m256i above = _mm256_sub_epi8(v, _mm256_set1_epi8((char)0xC2));
        __m256i lead = _mm256_cmpeq_epi8(_mm256_min_epu8(above, _mm256_set1_epi8(0x1D)), above);
        __m256i trail = _mm256_cmpgt_epi8(_mm256_set1_epi8((char)0xC0), v);
        found.lead |= (uint64_t)(uint32_t)_mm256_movemask_epi8(lead) << k;
        found.trail |= (uint64_t)(uint32_t)_mm256_movemask_epi8(trail) << k;
    }
    return found;
}

CSCAN_INLINE int is_same32(const uint8_t *p, const uint8_t *q, uint32_t need) {
    __m256i text = _mm256_loadu_si256((const __m256i *)p);
    __m256i same = _mm256_cmpeq_epi8(text, _mm256_loadu_si256((const __m256i *)q));
    return (~(uint32_t)_mm256_movemask_epi8(same) & need) == 0;
}

CSCAN_INLINE int match(const uint8_t *p, size_t i, size_t n, const cscan_stretch *stretch) {
    if (n - i < 32 || !is_same32(p + i, stretch->pattern, (uint32_t)stretch->need)) return 0;
    if (stretch->length <= 32) return 1;
    return n - i >= 64 && is_same32(p + i + 32, stretch->pattern + 32, (uint32_t)(stretch->need >> 32));
}

#define FORM(name) name##_avx2
#define FIND find
#define FIND_PAIRS find_pairs
#define MATCH match
#include "form_body.h"

#pragma clang attribute pop
#endif
