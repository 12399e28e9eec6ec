/* Log-linear histogram of durations in nanoseconds (the idea of HdrHistogram).
 *
 * A value below 128 has a bucket of its own; above, every power of two is cut into 128 buckets, so
 * a bucket is never wider than 1/128 of its lower bound. Values from 2^40 ns (18 minutes) on share
 * the last bucket; the exact minimum, maximum and sum are kept beside the buckets.
 */
#ifndef TIDELOG_LOADGEN_HIST_H
#define TIDELOG_LOADGEN_HIST_H

#include <stdint.h>
#include <string.h>

enum {
    LG_HIST_BITS = 7,
    LG_HIST_SUB = 1 << LG_HIST_BITS,
    LG_HIST_TOP = 40, /* values of this many bits and more go to the last bucket */
    LG_HIST_BUCKETS = (LG_HIST_TOP - LG_HIST_BITS + 1) * LG_HIST_SUB
};

typedef struct {
    uint64_t count;
    uint64_t sum;
    uint64_t min;
    uint64_t max;
    uint64_t buckets[LG_HIST_BUCKETS];
} lg_hist;

static inline void lg_hist_clear(lg_hist *h) {
    memset(h, 0, sizeof(*h));
    h->min = UINT64_MAX;
}

static inline uint32_t lg_hist_index(uint64_t value) {
    int shift;
    if (value < LG_HIST_SUB) return (uint32_t)value;
    if (value >> LG_HIST_TOP) return LG_HIST_BUCKETS - 1;
    shift = 63 - __builtin_clzll(value) - LG_HIST_BITS;
    return (uint32_t)(((uint64_t)shift << LG_HIST_BITS) + (value >> shift));
}

/* Lowest value that falls into the bucket. */
static inline uint64_t lg_hist_lower(uint32_t index) {
    uint32_t shift;
    if (index < 2 * LG_HIST_SUB) return index;
    shift = (index >> LG_HIST_BITS) - 1;
    return (uint64_t)(index - (shift << LG_HIST_BITS)) << shift;
}

/* Highest value that falls into the bucket. */
static inline uint64_t lg_hist_upper(uint32_t index) { return lg_hist_lower(index + 1) - 1; }

static inline void lg_hist_record(lg_hist *h, uint64_t value) {
    h->count++;
    h->sum += value;
    if (value < h->min) h->min = value;
    if (value > h->max) h->max = value;
    h->buckets[lg_hist_index(value)]++;
}

static inline void lg_hist_merge(lg_hist *to, const lg_hist *from) {
    uint32_t i;
    to->count += from->count;
    to->sum += from->sum;
    if (from->min < to->min) to->min = from->min;
    if (from->max > to->max) to->max = from->max;
    for (i = 0; i < LG_HIST_BUCKETS; i++) to->buckets[i] += from->buckets[i];
}

/* Smallest bucket bound that at least `fraction` (0..1) of the values do not exceed; 0 when empty. */
static inline uint64_t lg_hist_percentile(const lg_hist *h, double fraction) {
    uint64_t wanted = (uint64_t)(fraction * (double)h->count + 0.5), seen = 0;
    uint32_t i;
    if (h->count == 0) return 0;
    if (wanted < 1) wanted = 1;
    if (wanted >= h->count) return h->max;
    for (i = 0; i < LG_HIST_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= wanted) {
            uint64_t upper = lg_hist_upper(i);
            return upper < h->max ? upper : h->max;
        }
    }
    return h->max;
}

#endif
