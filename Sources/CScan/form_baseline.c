// By 16 bytes, with what every machine of its kind has.
#include "forms.h"

#if CSCAN_SSE2 || CSCAN_NEON

#if CSCAN_SSE2

CSCAN_INLINE cscan_masks find(const uint8_t *p) {
    cscan_masks found = {0, 0};
    for (int k = 0; k < CSCAN_BLOCK; k += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(p + k));
        __m128i quote = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x22));
        __m128i backslash = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x5C));
        __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1F)), v);
        __m128i stop = _mm_or_si128(_mm_or_si128(quote, backslash), control);
        found.stops |= (uint64_t)(uint32_t)_mm_movemask_epi8(stop) << k;
        found.non_ascii |= (uint64_t)(uint32_t)_mm_movemask_epi8(v) << k;
    }
    return found;
}

CSCAN_INLINE cscan_pairs find_pairs(const uint8_t *p) {
    cscan_pairs found = {0, 0};
    for (int k = 0; k < CSCAN_BLOCK; k += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(p + k));
        __m128i above = _mm_sub_epi8(v, _mm_set1_epi8((char)0xC2));
        __m128i lead = _mm_cmpeq_epi8(_mm_min_epu8(above, _mm_set1_epi8(0x1D)), above);
        // Signed: 0x80 to 0xBF are the lowest.
        __m128i trail = _mm_cmplt_epi8(v, _mm_set1_epi8((char)0xC0));
        found.lead |= (uint64_t)(uint32_t)_mm_movemask_epi8(lead) << k;
        found.trail |= (uint64_t)(uint32_t)_mm_movemask_epi8(trail) << k;
    }
    return found;
}

#else

CSCAN_INLINE cscan_masks find(const uint8_t *p) {
    cscan_masks found = {0, 0};
    for (int k = 0; k < CSCAN_BLOCK; k += 16) {
        uint8x16_t v = vld1q_u8(p + k);
        uint8x16_t quote = vceqq_u8(v, vdupq_n_u8(0x22));
        uint8x16_t backslash = vceqq_u8(v, vdupq_n_u8(0x5C));
        uint8x16_t control = vcltq_u8(v, vdupq_n_u8(0x20));
        found.stops |= (uint64_t)cscan_neon_mask(vorrq_u8(vorrq_u8(quote, backslash), control)) << k;
        found.non_ascii |= (uint64_t)cscan_neon_mask(vcgeq_u8(v, vdupq_n_u8(0x80))) << k;
    }
    return found;
}

CSCAN_INLINE cscan_pairs find_pairs(const uint8_t *p) {
    cscan_pairs found = {0, 0};
    for (int k = 0; k < CSCAN_BLOCK; k += 16) {
        uint8x16_t v = vld1q_u8(p + k);
        uint8x16_t lead = vcleq_u8(vsubq_u8(v, vdupq_n_u8(0xC2)), vdupq_n_u8(0x1D));
        uint8x16_t trail = vceqq_u8(vandq_u8(v, vdupq_n_u8(0xC0)), vdupq_n_u8(0x80));
        found.lead |= (uint64_t)cscan_neon_mask(lead) << k;
        found.trail |= (uint64_t)cscan_neon_mask(trail) << k;
    }
    return found;
}

#endif

// Whether of 32 bytes all that are needed are the same.
CSCAN_INLINE int is_same32(const uint8_t *p, const uint8_t *q, uint32_t need) {
    uint32_t same = cscan_equal16(p, q) | cscan_equal16(p + 16, q + 16) << 16;
    return (~same & need) == 0;
}

CSCAN_INLINE int match(const uint8_t *p, size_t i, size_t n, const cscan_stretch *stretch) {
    if (n - i < 32 || !is_same32(p + i, stretch->pattern, (uint32_t)stretch->need)) return 0;
    if (stretch->length <= 32) return 1;
    return n - i >= 64 && is_same32(p + i + 32, stretch->pattern + 32, (uint32_t)(stretch->need >> 32));
}

#define FORM(name) name##_baseline
#define FIND find
#define FIND_PAIRS find_pairs
#define MATCH match
#include "form_body.h"

#endif
