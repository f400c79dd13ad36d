// Wide-instruction byte scanning, inlined into the Swift module that imports it.
//
// What is needed per token is `static inline` on purpose: the same code behind a call costs about a fifth of
// the JSON scanner's speed. x86-64 uses SSE2, which every x86-64 has; arm64 uses NEON; anything else two
// 64-bit words. All three give the same masks (bit k = byte k), and the word form is always compiled, so that
// tests compare it with the wide one on any machine. -DCSCAN_PORTABLE takes the word form everywhere:
// `make test PORTABLE=1` runs all tests on it. Only `cscan_index`, `cscan_follow` and
// `cscan_xor_key`, which take a whole text or payload at a time, are chosen at run time by what the processor can do.
//
// Nothing here reads outside the bytes named in its contract.
#ifndef CSCAN_H
#define CSCAN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(CSCAN_PORTABLE)
#define CSCAN_SSE2 0
#define CSCAN_NEON 0
#elif defined(__SSE2__)
#define CSCAN_SSE2 1
#define CSCAN_NEON 0
#include <emmintrin.h>
#elif defined(__ARM_NEON) && defined(__aarch64__)
#define CSCAN_SSE2 0
#define CSCAN_NEON 1
#include <arm_neon.h>
#else
#define CSCAN_SSE2 0
#define CSCAN_NEON 0
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "cscan's word form counts bytes from the low end: little-endian machines only"
#endif

#define CSCAN_INLINE static inline __attribute__((always_inline))

// ---- Word form -----------------------------------------------------------------------------------

#define CSCAN_ONES 0x0101010101010101ull
#define CSCAN_HIGH 0x8080808080808080ull
#define CSCAN_LOW7 0x7F7F7F7F7F7F7F7Full

CSCAN_INLINE uint64_t cscan_load8(const void *p) {
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

// 0x80 in each byte of `word` that is zero; exact (no borrow runs into the neighbour).
CSCAN_INLINE uint64_t cscan_zero_bytes(uint64_t word) {
    return ~(((word & CSCAN_LOW7) + CSCAN_LOW7) | word) & CSCAN_HIGH;
}

// Gathers the top bits of the eight bytes into the low eight bits.
CSCAN_INLINE uint32_t cscan_gather(uint64_t high_bits) {
    return (uint32_t)(((high_bits & CSCAN_HIGH) * 0x0002040810204081ull) >> 56);
}

CSCAN_INLINE uint64_t cscan_string_stops8(uint64_t word) {
    uint64_t quote = cscan_zero_bytes(word ^ (CSCAN_ONES * 0x22));
    uint64_t backslash = cscan_zero_bytes(word ^ (CSCAN_ONES * 0x5C));
    uint64_t control = ~((word & CSCAN_LOW7) + CSCAN_ONES * 0x60) & ~word & CSCAN_HIGH;
    return quote | backslash | control | (word & CSCAN_HIGH);
}

CSCAN_INLINE uint32_t cscan_string_stops16_words(const void *p) {
    const uint8_t *b = (const uint8_t *)p;
    return cscan_gather(cscan_string_stops8(cscan_load8(b)))
        | (cscan_gather(cscan_string_stops8(cscan_load8(b + 8))) << 8);
}

CSCAN_INLINE uint32_t cscan_non_ascii16_words(const void *p) {
    const uint8_t *b = (const uint8_t *)p;
    return cscan_gather(cscan_load8(b)) | (cscan_gather(cscan_load8(b + 8)) << 8);
}

CSCAN_INLINE uint32_t cscan_equal16_words(const void *p, const void *q) {
    const uint8_t *a = (const uint8_t *)p;
    const uint8_t *b = (const uint8_t *)q;
    return cscan_gather(cscan_zero_bytes(cscan_load8(a) ^ cscan_load8(b)))
        | (cscan_gather(cscan_zero_bytes(cscan_load8(a + 8) ^ cscan_load8(b + 8))) << 8);
}

// ---- Wide form -----------------------------------------------------------------------------------

#if CSCAN_NEON
// NEON has no movemask: weight each byte with its bit, add up each half.
CSCAN_INLINE uint32_t cscan_neon_mask(uint8x16_t lanes) {
    static const uint8_t weights[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t bits = vandq_u8(lanes, vld1q_u8(weights));
    return (uint32_t)vaddv_u8(vget_low_u8(bits)) | ((uint32_t)vaddv_u8(vget_high_u8(bits)) << 8);
}
#endif

// Reads 16 bytes. Bit k is set when byte k ends a plain run of a JSON string: '"', '\\', below 0x20, or
// 0x80 and above.
CSCAN_INLINE uint32_t cscan_string_stops16(const void *p) {
#if CSCAN_SSE2
    __m128i v = _mm_loadu_si128((const __m128i *)p);
    __m128i quote = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x22));
    __m128i backslash = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x5C));
    // Signed: bytes of 0x80 and above are negative, so one comparison finds them and the controls.
    __m128i outside = _mm_cmplt_epi8(v, _mm_set1_epi8(0x20));
    return (uint32_t)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), outside));
#elif CSCAN_NEON
    uint8x16_t v = vld1q_u8((const uint8_t *)p);
    uint8x16_t quote = vceqq_u8(v, vdupq_n_u8(0x22));
    uint8x16_t backslash = vceqq_u8(v, vdupq_n_u8(0x5C));
    uint8x16_t outside = vcltq_s8(vreinterpretq_s8_u8(v), vdupq_n_s8(0x20));
    return cscan_neon_mask(vorrq_u8(vorrq_u8(quote, backslash), outside));
#else
    return cscan_string_stops16_words(p);
#endif
}

// Reads 16 bytes. Bit k is set when byte k is 0x80 or above.
CSCAN_INLINE uint32_t cscan_non_ascii16(const void *p) {
#if CSCAN_SSE2
    return (uint32_t)_mm_movemask_epi8(_mm_loadu_si128((const __m128i *)p));
#elif CSCAN_NEON
    return cscan_neon_mask(vcltq_s8(vreinterpretq_s8_u8(vld1q_u8((const uint8_t *)p)), vdupq_n_s8(0)));
#else
    return cscan_non_ascii16_words(p);
#endif
}

// Reads 16 bytes at `p` and at `q`. Bit k is set when byte k is the same in both.
CSCAN_INLINE uint32_t cscan_equal16(const void *p, const void *q) {
#if CSCAN_SSE2
    __m128i a = _mm_loadu_si128((const __m128i *)p);
    __m128i b = _mm_loadu_si128((const __m128i *)q);
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(a, b));
#elif CSCAN_NEON
    return cscan_neon_mask(vceqq_u8(vld1q_u8((const uint8_t *)p), vld1q_u8((const uint8_t *)q)));
#else
    return cscan_equal16_words(p, q);
#endif
}

// The eight bytes at `p` as a word; no alignment is asked for.
CSCAN_INLINE uint64_t cscan_word8(const void *p) { return cscan_load8(p); }

// ---- Whole texts ------------------------------------------------------------------------------------

// The forms of `cscan_index`, `cscan_follow` and `cscan_xor_key`, each wider than the one before.
enum { CSCAN_WORDS = 0, CSCAN_BASELINE = 1, CSCAN_AVX2 = 2, CSCAN_AVX512 = 3 };

// The widest form that this machine can do.
int cscan_widest(void);

// Marks where plain runs of JSON strings end, a bit for each byte of `text` from `from` (a multiple of 64, below
// `count`) on: bit k of word w is the byte at from + 64 w + k. Set are '"', '\\', bytes below 0x20, all that
// is at or behind `count`, and of non-ASCII bytes those in a block of 64 that holds anything but whole
// characters of two bytes: so a run without a set bit is valid UTF-8, if the byte before it ends a character.
//
// Writes as many words as the rest of the text takes, `most` at most, and one behind them that is all ones, so
// `words` has room for most + 1. Returns how many, without that one. Reads `count` bytes of `text` at most.
// Every form gives the same bits.
size_t cscan_index(const uint8_t *text, size_t count, size_t from, uint64_t *words, size_t most, int form);

// Writes `count` bytes of `source` XORed with the repeated four bytes of `key` (RFC 6455 §5.3) to
// `destination`; the low byte of `key` goes with the first byte. The two may be the same memory, but must
// not overlap otherwise. Takes the widest form.
void cscan_xor_key(void *destination, const void *source, size_t count, uint32_t key);

// The same by one form, which the machine must be able to do. All write the same.
void cscan_xor_key_by(void *destination, const void *source, size_t count, uint32_t key, int form);

// ---- Key prediction --------------------------------------------------------------------------------

// One key that the JSON scanner knows in one object context, 64 bytes: a cache line. A context's head is a
// slot too: it matches nothing, its `next` are the guesses for an object's first key and `sibling` starts the
// chain of the context's keys.
typedef struct {
    uint8_t pattern[32];  // `"key":`, zeros behind; first byte 0 when it cannot be compared like this
    uint16_t need_low;    // a bit for each byte of the pattern among the first 16
    uint16_t need_high;   // and the second 16
    uint16_t length;      // bytes of the pattern
    int16_t field;        // where the value is noted; -1: nowhere
    uint16_t child;       // the head for an object that is this key's value; 0: not known yet
    uint16_t sibling;     // the next key of the same context; 0: the last
    uint16_t next[4];     // slots of keys that came after this one, the latest learned first; 0: none
    uint16_t key_count;   // bytes of the key itself; for a head the number of keys in its chain
    uint16_t context;     // the head of the key's context; of a head itself
    uint16_t owner;       // of a head: the key whose value its objects are
    uint16_t depth;       // of a head: how many objects are open within its own
    uint32_t long_key;    // where a key too long for the pattern lies among the long keys
} cscan_slot;

_Static_assert(sizeof(cscan_slot) == 64, "a slot is a cache line");

// Reads 32 bytes at `p`. Whether the slot's pattern stands there.
CSCAN_INLINE int cscan_slot_match(const void *p, const cscan_slot *slot) {
    uint32_t low = cscan_equal16(p, slot->pattern);
    if ((low & slot->need_low) != slot->need_low) return 0;
    if (slot->need_high == 0) return 1;
    uint32_t high = cscan_equal16((const uint8_t *)p + 16, slot->pattern + 16);
    return (high & slot->need_high) == slot->need_high;
}

// Reads `remaining` bytes at `p` at most. The same near the end of the text.
CSCAN_INLINE int cscan_slot_match_near_end(const void *p, size_t remaining, const cscan_slot *slot) {
    return remaining >= slot->length && slot->length > 0 && memcmp(p, slot->pattern, slot->length) == 0;
}

// Whether `count` bytes are the same.
CSCAN_INLINE int cscan_equal(const void *a, const void *b, size_t count) { return memcmp(a, b, count) == 0; }

// ---- Stretches -------------------------------------------------------------------------------------

// The longest and the shortest pattern, the most keys of the plan whose objects it opens, and how many buckets stretches
// are found by.
enum { CSCAN_STRETCH_BYTES = 64, CSCAN_STRETCH_LEAST = 6, CSCAN_STRETCH_OPENS = 3, CSCAN_BUCKETS = 1024 };

// In `acts`: the value is not a string, or is to be read in the general way for another reason; the pattern ends
// before it, and otherwise with the quote that opens the string.
enum { CSCAN_TO_OTHER = 0x80 };

// A piece of text that the JSON scanner walked in full once: from behind the value of one key to the value of
// a later key, over commas, keys, brackets and values that are not noted. Where the same bytes stand behind
// the same key again, the walk would go the same way. Two cache lines.
typedef struct {
    uint8_t pattern[CSCAN_STRETCH_BYTES];  // zeros behind its end
    uint64_t need;       // a bit for each byte of the pattern
    uint8_t length;      // bytes of the pattern
    uint8_t acts;        // CSCAN_TO_OTHER, and how many keys are in `opened`; 0: a string comes behind it, and no more
    uint16_t from;       // the slot of the key whose value it comes behind; 0: this is none
    uint16_t target;     // the slot of the key whose value comes behind it
    int16_t field;       // where that value is noted; -1: nowhere
    uint16_t sibling;    // the next of the same bucket; 0: the last
    uint16_t next;       // the one that came behind this one the last time: the next guess
    uint16_t opened[CSCAN_STRETCH_OPENS];  // the keys of the plan whose objects it opens, as numbers of fields
    uint8_t padding[38];
} cscan_stretch;

_Static_assert(sizeof(cscan_stretch) == 128, "a stretch is two cache lines");

CSCAN_INLINE void cscan_stretch_add_opened(cscan_stretch *stretch, uint16_t field) {
    stretch->opened[stretch->acts++] = field;
}

// The bucket of a stretch that comes behind `slot` and has this text, CSCAN_STRETCH_LEAST bytes of it: behind a comma and a
// quote they tell keys apart.
CSCAN_INLINE size_t cscan_bucket(uint16_t slot, const void *text) {
    uint32_t four;
    memcpy(&four, (const uint8_t *)text + 2, 4);
    return ((four ^ (uint32_t)slot << 16) * 0x9E3779B1u) >> 22;
}

_Static_assert(CSCAN_BUCKETS == 1 << (32 - 22), "a bucket is a multiplication's top bits");

// What is noted of one key of the plan: JSONField in C.
typedef struct {
    uint32_t offset;
    uint32_t count;
    uint8_t kind;
    uint8_t has_escapes;
    uint32_t generation;  // the scan that noted it
} cscan_field;

_Static_assert(sizeof(cscan_field) == 16, "written as two words");

enum { CSCAN_KIND_STRING = 1 };

// Where a scan is, for `cscan_follow`; all memory is the caller's.
typedef struct {
    const uint8_t *text;
    size_t count;                    // bytes of the text
    size_t i;                        // behind the value of `slot`; see cscan_follow
    size_t indexed_from;             // what of the text is indexed; both 0: nothing yet
    size_t indexed_end;
    uint64_t *index;                 // see cscan_index; room for index_words + 1
    size_t index_words;
    cscan_stretch *stretches;        // number 0 is none
    const uint16_t *first;           // the first stretch of each bucket
    cscan_field *fields;
    uint32_t generation;             // of this scan
    uint16_t slot;
    int form;                        // of the index, and of the comparisons
} cscan_follower;

enum { CSCAN_UNKNOWN = 0, CSCAN_BEHIND_VALUE = 1, CSCAN_AT_VALUE = 2 };

// Follows stretches, and the plain strings between them, from behind the value of `slot` as far as they lead.
// Strings that the plan wants are noted, keys of the plan whose objects are opened are marked with the
// generation. Returns CSCAN_UNKNOWN when no stretch fits, so that nothing has changed; CSCAN_BEHIND_VALUE when
// `i` is behind the value of `slot`; CSCAN_AT_VALUE when it is at that value, which is no plain string, or that
// of a key that was noted before. Reads nothing outside the text.
int cscan_follow(cscan_follower *at);

#endif
