// Which form is taken.
#include "forms.h"

int cscan_widest(void) {
#if CSCAN_SSE2
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2"))
        return CSCAN_BASELINE;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw")) return CSCAN_AVX2;
    return CSCAN_AVX512;
#elif CSCAN_NEON
    return CSCAN_BASELINE;
#else
    return CSCAN_WORDS;
#endif
}

size_t cscan_index(const uint8_t *text, size_t count, size_t from, uint64_t *words, size_t most, int form) {
    switch (form) {
#if CSCAN_SSE2
    case CSCAN_AVX512: return cscan_index_avx512(text, count, from, words, most);
    case CSCAN_AVX2: return cscan_index_avx2(text, count, from, words, most);
#endif
#if CSCAN_SSE2 || CSCAN_NEON
    case CSCAN_BASELINE: return cscan_index_baseline(text, count, from, words, most);
#endif
    default: return cscan_index_words(text, count, from, words, most);
    }
}

int cscan_follow(cscan_follower *at) {
    switch (at->form) {
#if CSCAN_SSE2
    case CSCAN_AVX512: return cscan_follow_avx512(at);
    case CSCAN_AVX2: return cscan_follow_avx2(at);
#endif
#if CSCAN_SSE2 || CSCAN_NEON
    case CSCAN_BASELINE: return cscan_follow_baseline(at);
#endif
    default: return cscan_follow_words(at);
    }
}
