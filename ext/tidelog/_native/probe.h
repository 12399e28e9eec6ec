/* What both probes share: the clock, pseudo-random bytes, and how a slice of a loop ends. */
#ifndef TIDELOG_PROBE_H
#define TIDELOG_PROBE_H

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "loadgen_hist.h"

/* A slice ends with one of these, or with minus an errno. */
enum { PB_AGAIN = 0, PB_DONE = 1 };

static inline uint64_t pb_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* xorshift64*: fast, and good enough to choose places and to be incompressible. */
static inline uint64_t pb_random(uint64_t *state) {
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545F4914F6CDD1Du;
}

/* Aligned to 4096, as O_DIRECT wants it, and filled with what no file system can compress. */
static uint8_t *pb_buffer(size_t size, uint64_t seed) {
    void *p = NULL;
    size_t i, whole = (size + 4095) / 4096 * 4096;
    uint64_t state = seed | 1;
    if (posix_memalign(&p, 4096, whole) != 0) return NULL;
    for (i = 0; i < whole; i += 8) {
        uint64_t value = pb_random(&state);
        memcpy((uint8_t *)p + i, &value, 8);
    }
    return (uint8_t *)p;
}

#endif
