// The bodies of `cscan_index` and `cscan_follow`, compiled once for each form. Who includes this defines
//
//   FORM(name)               the name with the form's ending
//   FIND(p)                  the masks of the 64 bytes at `p`
//   FIND_PAIRS(p)            the pairs of the 64 bytes at `p`
//   MATCH(p, i, n, stretch)  whether the stretch's pattern stands at `p + i`; `n` bytes at `p` are readable

// The end of a block's work. `cut` tells whether the block before ended with the first of two bytes; then the same for
// the next.
CSCAN_INLINE uint64_t finish(cscan_masks found, cscan_pairs two, uint64_t *cut, uint64_t *words, size_t w) {
    const uint64_t expected = two.lead << 1 | *cut;
    if ((two.lead | two.trail) != found.non_ascii || two.trail != expected) {
        found.stops |= found.non_ascii;
        // The character that the block before began may be what is wrong.
        if (*cut && w > 0) words[w - 1] |= 1ull << 63;
    }
    *cut = two.lead >> 63;
    return found.stops;
}

CSCAN_INLINE size_t index_text(const uint8_t *text, size_t count, size_t from, uint64_t *words, size_t most) {
    uint64_t cut = from > 0 && text[from - 1] >= 0xC2 && text[from - 1] <= 0xDF;
    size_t w = 0;
    const uint8_t *p = text + from;
    for (; w < most && (size_t)(text + count - p) >= CSCAN_BLOCK; w++, p += CSCAN_BLOCK) {
        const cscan_masks found = FIND(p);
        if ((found.non_ascii | cut) == 0) words[w] = found.stops;
        else words[w] = finish(found, FIND_PAIRS(p), &cut, words, w);
    }
    const size_t tail = (size_t)(text + count - p);
    if (w < most && tail > 0) {
        // The text's last 64 bytes again, shifted; of a shorter text a copy.
        uint8_t copy[CSCAN_BLOCK] = {0};
        const uint8_t *block = copy;
        size_t shift = 0;
        if (count >= CSCAN_BLOCK) {
            block = text + count - CSCAN_BLOCK;
            shift = CSCAN_BLOCK - tail;
        } else {
            memcpy(copy, p, tail);
        }
        cscan_masks found = FIND(block);
        found.stops = found.stops >> shift | ~0ull << tail;
        found.non_ascii >>= shift;
        if ((found.non_ascii | cut) == 0) {
            words[w] = found.stops;
        } else {
            cscan_pairs two = FIND_PAIRS(block);
            two.lead >>= shift;
            two.trail >>= shift;
            words[w] = finish(found, two, &cut, words, w);
        }
        w++;
    }
    words[w] = ~0ull;
    return w;
}

size_t FORM(cscan_index)(const uint8_t *text, size_t count, size_t from, uint64_t *words, size_t most) {
    return index_text(text, count, from, words, most);
}

// Some fifty instructions for a key and its string, at nearly five a cycle: each one less shows. So all positions
// share one limit, and what is rare hides behind one byte of the stretch.
int FORM(cscan_follow)(cscan_follower *const at) {
    const uint8_t *const p = at->text;
    const size_t n = at->count;
    cscan_field *const fields = at->fields;
    const uint32_t generation = at->generation;
    const uint64_t note = CSCAN_KIND_STRING | (uint64_t)generation << 32;
    // Where the word of the text's first byte would lie.
    const uint8_t *words = (const uint8_t *)at->index - at->indexed_from / 8;
    // The end of what is text and indexed.
    size_t limit = at->indexed_end < n ? at->indexed_end : n;
    size_t i = at->i;
    uint16_t slot = at->slot;
    cscan_stretch *const known = at->stretches;
    // Number 0 is none, so what is written there is not read.
    cscan_stretch *before = known;
    cscan_stretch *guess = known;

    for (;;) {
        if (__builtin_expect(guess->from != slot || !MATCH(p, i, n, guess), 0)) {
            if (n - i < CSCAN_STRETCH_LEAST) break;
            guess = known + at->first[cscan_bucket(slot, p + i)];
            while (guess != known && (guess->from != slot || !MATCH(p, i, n, guess))) guess = known + guess->sibling;
            if (guess == known) break;
            before->next = (uint16_t)(guess - known);
        }
        const size_t start = i + guess->length;
        if (__builtin_expect(guess->acts != 0, 0)) {
            const unsigned opens = guess->acts & ~(unsigned)CSCAN_TO_OTHER;
            if (opens > 0) {
                // A key that stands again is for the walk: it counts it, and forgets what was noted within.
                if (fields[guess->opened[0]].generation == generation) break;
                if (opens > 1 && fields[guess->opened[1]].generation == generation) break;
                if (opens > 2 && fields[guess->opened[2]].generation == generation) break;
                fields[guess->opened[0]].generation = generation;
                if (opens > 1) fields[guess->opened[1]].generation = generation;
                if (opens > 2) fields[guess->opened[2]].generation = generation;
            }
            if (guess->acts & CSCAN_TO_OTHER) {
                at->i = start;
                at->slot = guess->target;
                return CSCAN_AT_VALUE;
            }
        }
        slot = guess->target;

        // The string's end: the first bit of the index from `start` on.
        if (__builtin_expect(start >= limit, 0)) {
            at->indexed_from = start & ~(size_t)63;
            const size_t done = index_text(p, n, at->indexed_from, at->index, at->index_words);
            words = (const uint8_t *)at->index - at->indexed_from / 8;
            at->indexed_end = at->indexed_from + done * 64;
            limit = at->indexed_end < n ? at->indexed_end : n;
        }
        uint64_t stops = cscan_load8(words + start / 8) >> (start % 8);
        size_t end = start;
        if (__builtin_expect(stops == 0, 0)) {
            // 57 bits or more were looked at; the word behind the index ends it.
            end &= ~(size_t)7;
            do {
                end += 64;
                stops = cscan_load8(words + end / 8);
            } while (stops == 0);
        }
        end += (size_t)__builtin_ctzll(stops);
        const long field = guess->field;
        if (__builtin_expect(end >= limit || p[end] != '"', 0)
            || (field >= 0 && __builtin_expect(fields[field].generation == generation, 0))) {
            at->i = start - 1;
            at->slot = slot;
            return CSCAN_AT_VALUE;
        }
        if (field >= 0) {
            cscan_field *const noted = &fields[field];
            noted->offset = (uint32_t)start;
            noted->count = (uint32_t)(end - start);
            memcpy((uint8_t *)noted + 8, &note, 8);
        }
        i = end + 1;
        before = guess;
        guess = known + guess->next;
    }
    const int state = i != at->i ? CSCAN_BEHIND_VALUE : CSCAN_UNKNOWN;
    at->i = i;
    at->slot = slot;
    return state;
}
