/* Coverage of the native modules for libFuzzer, from what GCC can instrument.
 *
 * libFuzzer wants Clang's counters, one for each edge, in arrays that it is told of. GCC calls a
 * function at each edge instead: here it counts in one array, at a place that follows from the
 * caller's address. Two edges may share a counter; that costs a little guidance and nothing else.
 *
 * Preloaded before everything (tests/fuzz/campaign.py), because AddressSanitizer's runtime has
 * functions of these names that do nothing. What libFuzzer can use as it is, is handed on to it:
 * atheris has it in the library that TIDELOG_LIBFUZZER names.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>

enum { EDGES_BITS = 16, EDGES = 1 << EDGES_BITS };

static uint8_t edges[EDGES];

/* What libFuzzer wants to know of each counter: an address, and whether a function starts there. */
static struct { uintptr_t address, flags; } addresses[EDGES];

static void *libfuzzer(const char *name) {
    static void *library;
    const char *path = getenv("TIDELOG_LIBFUZZER");
    if (library == NULL && path != NULL) library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    return library == NULL ? NULL : dlsym(library, name);
}

void __sanitizer_cov_8bit_counters_init(uint8_t *start, uint8_t *stop) {
    void (*init)(uint8_t *, uint8_t *) = libfuzzer("__sanitizer_cov_8bit_counters_init");
    if (init != NULL) init(start, stop);
}

void __sanitizer_cov_pcs_init(const uintptr_t *start, const uintptr_t *stop) {
    void (*init)(const uintptr_t *, const uintptr_t *) = libfuzzer("__sanitizer_cov_pcs_init");
    if (init != NULL) init(start, stop);
}

void __sanitizer_cov_trace_pc(void) {
    uintptr_t caller = (uintptr_t)__builtin_return_address(0);
    uint8_t *edge = &edges[(caller * 0x9E3779B97F4A7C15u) >> (64 - EDGES_BITS)];
    if (*edge != 255) ++*edge;
}

/* Comparisons: libFuzzer looks at the return address, so these end in a jump and not in a call. */
#define HAND_ON(name, a, b)                                     \
    static void ignore_##name(a x, b y) { (void)x; (void)y; }   \
    static void (*go_##name)(a, b) = ignore_##name;             \
    void name(a x, b y) { go_##name(x, y); }

HAND_ON(__sanitizer_cov_trace_cmp1, uint8_t, uint8_t)
HAND_ON(__sanitizer_cov_trace_cmp2, uint16_t, uint16_t)
HAND_ON(__sanitizer_cov_trace_cmp4, uint32_t, uint32_t)
HAND_ON(__sanitizer_cov_trace_cmp8, uint64_t, uint64_t)
HAND_ON(__sanitizer_cov_trace_const_cmp1, uint8_t, uint8_t)
HAND_ON(__sanitizer_cov_trace_const_cmp2, uint16_t, uint16_t)
HAND_ON(__sanitizer_cov_trace_const_cmp4, uint32_t, uint32_t)
HAND_ON(__sanitizer_cov_trace_const_cmp8, uint64_t, uint64_t)
HAND_ON(__sanitizer_cov_trace_switch, uint64_t, uint64_t *)
/* libFuzzer has no use for floats. */
HAND_ON(__sanitizer_cov_trace_cmpf, float, float)
HAND_ON(__sanitizer_cov_trace_cmpd, double, double)

#define FIND(name)                                  \
    do {                                            \
        void *found = libfuzzer(#name);             \
        if (found != NULL) go_##name = found;       \
    } while (0)

/* Called once by tests/fuzz/fuzzer.py, before the modules are loaded. */
void tidelog_watch_native_code(void) {
    for (uintptr_t i = 0; i < EDGES; i++) addresses[i].address = i + 1;
    __sanitizer_cov_8bit_counters_init(edges, edges + EDGES);
    __sanitizer_cov_pcs_init((uintptr_t *)addresses, (uintptr_t *)(addresses + EDGES));
    FIND(__sanitizer_cov_trace_cmp1);
    FIND(__sanitizer_cov_trace_cmp2);
    FIND(__sanitizer_cov_trace_cmp4);
    FIND(__sanitizer_cov_trace_cmp8);
    FIND(__sanitizer_cov_trace_const_cmp1);
    FIND(__sanitizer_cov_trace_const_cmp2);
    FIND(__sanitizer_cov_trace_const_cmp4);
    FIND(__sanitizer_cov_trace_const_cmp8);
    FIND(__sanitizer_cov_trace_switch);
}
