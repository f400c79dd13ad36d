// By 64 bytes.
#include "forms.h"

#if CSCAN_SSE2
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx2,bmi,bmi2"))), apply_to = function)

CSCAN_INLINE cscan_masks find(const uint8_t *p) {
    __m512i v = _mm512_loadu_si512(p);
    uint64_t quote = _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8(0x22));
    uint64_t backslash = _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8(0x5C));
    uint64_t control = _mm512_cmplt_epu8_mask(v, _mm512_set1_epi8(0x20));
    return (cscan_masks){quote | backslash | control, _mm512_movepi8_mask(v)};
}

CSCAN_INLINE cscan_pairs find_pairs(const uint8_t *p) {
    __m512i v = _mm512_loadu_si512(p);
    __m512i above = _mm512_sub_epi8(v, _mm512_set1_epi8((char)0xC2));
    uint64_t lead = _mm512_cmple_epu8_mask(above, _mm512_set1_epi8(0x1D));
    uint64_t trail = _mm512_cmplt_epi8_mask(v, _mm512_set1_epi8((char)0xC0));
    return (cscan_pairs){lead, trail};
}

// Only the pattern's own bytes are loaded: what is masked is not read.
CSCAN_INLINE int match(const uint8_t *p, size_t i, size_t n, const cscan_stretch *stretch) {
    if (i + stretch->length > n) return 0;
    __m512i text = _mm512_maskz_loadu_epi8(stretch->need, p + i);
    return _mm512_mask_cmpneq_epi8_mask(stretch->need, text, _mm512_loadu_si512(stretch->pattern)) == 0;
}

#define FORM(name) name##_avx512
#define FIND find
#define FIND_PAIRS find_pairs
#define MATCH match
#include "form_body.h"

#pragma clang attribute pop
#endif
