// Masking and unmasking (RFC 6455 §5.3), in a form for each kind of processor.
#include "forms.h"

#if CSCAN_SSE2
#include <immintrin.h>
#endif

// The key as it stands at byte `i` of what is masked.
CSCAN_INLINE uint32_t turned(uint32_t key, size_t i) {
    const uint32_t turn = 8 * (uint32_t)(i & 3);
    return turn == 0 ? key : key >> turn | key << (32 - turn);
}

// Any machine, and what is shorter than the wide forms' least.
static void mask_words(uint8_t *d, const uint8_t *s, size_t count, uint32_t key) {
    const uint64_t key8 = (uint64_t)key << 32 | key;
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        const uint64_t word = cscan_load8(s + i) ^ key8;
        memcpy(d + i, &word, 8);
    }
    for (; i < count; i++, key = turned(key, 1)) d[i] = s[i] ^ (uint8_t)key;
}

// The wide forms take at least one vector. What is left behind the last whole one is a vector that ends with the
// bytes' end: it is read before anything is written, since it overlaps, and written last.

#if CSCAN_SSE2
static void mask_baseline(uint8_t *d, const uint8_t *s, size_t count, uint32_t key) {
    const size_t last = count - 16;
    const __m128i key16 = _mm_set1_epi32((int)key);
    const __m128i tail =
        _mm_xor_si128(_mm_loadu_si128((const __m128i *)(s + last)), _mm_set1_epi32((int)turned(key, last)));
    for (size_t i = 0; i < last; i += 16)
        _mm_storeu_si128((__m128i *)(d + i), _mm_xor_si128(_mm_loadu_si128((const __m128i *)(s + i)), key16));
    _mm_storeu_si128((__m128i *)(d + last), tail);
}

__attribute__((target("avx2"), always_inline)) static inline void mask32(uint8_t *d, const uint8_t *s, __m256i key) {
    _mm256_storeu_si256((__m256i *)d, _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)s), key));
}

__attribute__((target("avx2"))) static void mask_avx2(uint8_t *d, const uint8_t *s, size_t count, uint32_t key) {
    const size_t last = count - 32;
    const __m256i key32 = _mm256_set1_epi32((int)key);
    const __m256i tail = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(s + last)),
                                          _mm256_set1_epi32((int)turned(key, last)));
    size_t i = 0;
    for (; i + 128 <= last; i += 128)
        for (size_t k = i; k < i + 128; k += 32) mask32(d + k, s + k, key32);
    for (; i < last; i += 32) mask32(d + i, s + i, key32);
    _mm256_storeu_si256((__m256i *)(d + last), tail);
}

__attribute__((target("avx512f"), always_inline)) static inline void mask64(uint8_t *d, const uint8_t *s, __m512i key) {
    _mm512_storeu_si512(d, _mm512_xor_si512(_mm512_loadu_si512(s), key));
}

__attribute__((target("avx512f"))) static void mask_avx512(uint8_t *d, const uint8_t *s, size_t count,
                                                           uint32_t key) {
    const size_t last = count - 64;
    const __m512i key64 = _mm512_set1_epi32((int)key);
    const __m512i tail = _mm512_xor_si512(_mm512_loadu_si512(s + last), _mm512_set1_epi32((int)turned(key, last)));
    size_t i = 0;
    for (; i + 256 <= last; i += 256)
        for (size_t k = i; k < i + 256; k += 64) mask64(d + k, s + k, key64);
    for (; i < last; i += 64) mask64(d + i, s + i, key64);
    _mm512_storeu_si512(d + last, tail);
}
#elif CSCAN_NEON
static void mask_baseline(uint8_t *d, const uint8_t *s, size_t count, uint32_t key) {
    const size_t last = count - 16;
    const uint8x16_t key16 = vreinterpretq_u8_u32(vdupq_n_u32(key));
    const uint8x16_t tail = veorq_u8(vld1q_u8(s + last), vreinterpretq_u8_u32(vdupq_n_u32(turned(key, last))));
    for (size_t i = 0; i < last; i += 16) vst1q_u8(d + i, veorq_u8(vld1q_u8(s + i), key16));
    vst1q_u8(d + last, tail);
}
#endif

CSCAN_INLINE void mask(uint8_t *d, const uint8_t *s, size_t count, uint32_t key, int form) {
#if CSCAN_SSE2
    if (form >= CSCAN_AVX512 && count >= 64) return mask_avx512(d, s, count, key);
    if (form >= CSCAN_AVX2 && count >= 32) return mask_avx2(d, s, count, key);
#endif
#if CSCAN_SSE2 || CSCAN_NEON
    if (form >= CSCAN_BASELINE && count >= 16) return mask_baseline(d, s, count, key);
#endif
    mask_words(d, s, count, key);
}

void cscan_xor_key(void *destination, const void *source, size_t count, uint32_t key) {
#if CSCAN_SSE2
    const int form = __builtin_cpu_supports("avx512f") ? CSCAN_AVX512
                     : __builtin_cpu_supports("avx2") ? CSCAN_AVX2
                                                      : CSCAN_BASELINE;
#elif CSCAN_NEON
    const int form = CSCAN_BASELINE;
#else
    const int form = CSCAN_WORDS;
#endif
    mask(destination, source, count, key, form);
}

void cscan_xor_key_by(void *destination, const void *source, size_t count, uint32_t key, int form) {
    mask(destination, source, count, key, form);
}
