"""Counters of requests by API and version, errors by code, and histograms of the stages of a
request (see request_stats.pxd). One per worker, on the loop thread.

A clock is read a few times per timed request (20 ns each); how many are timed is decided anew in
every tick of the coarse clock (1 to 4 ms), so that the cost has a limit whatever the load.
"""

from libc.stdint cimport int16_t, int32_t, int64_t
from libc.stdlib cimport calloc, free
from posix.time cimport clock_gettime, timespec

cdef extern from "time.h" nogil:
    enum:
        CLOCK_MONOTONIC

cdef enum:
    # Requests that are timed in a millisecond, about.
    TIMED_PER_MS = 4

# Upper bounds of the buckets in ns: half decades from 10 us to 30 s.
cdef int64_t[STATS_BUCKETS] BOUNDS_NS = [
    10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000, 100_000_000,
    300_000_000, 1_000_000_000, 3_000_000_000, 10_000_000_000, 30_000_000_000,
]

#: The same in seconds, for the exposition.
BUCKETS_S = tuple(bound / 1e9 for bound in BOUNDS_NS)
STAGES = ("queue", "parse", "append", "read", "handle", "flush", "wait", "send", "total")


cdef int64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef class RequestStats:
    """All counters at 0; times are taken once `timing` is set."""

    def __init__(self):
        self.errors = {}
        self.stride = 1

    def __dealloc__(self):
        cdef int api
        for api in range(STATS_APIS):
            free(self.stages[api])

    cdef int64_t arrive(self, int64_t now_ms) noexcept:
        if not self.timing:
            return 0
        cdef int64_t elapsed_ms = now_ms - self.tick_ms
        if elapsed_ms != 0:
            self.tick_ms = now_ms
            self.stride = <int32_t>(
                1 + (self.seen - self.seen_at_tick) // (TIMED_PER_MS * elapsed_ms)
            )
            self.seen_at_tick = self.seen
            self.left = min(self.left, self.stride)
        return now_ns()

    cdef int count(self, int16_t api_key, int16_t api_version) noexcept:
        if 0 <= api_key < STATS_APIS and 0 <= api_version < STATS_VERSIONS:
            self.requests[api_key * STATS_VERSIONS + api_version] += 1
        return 0

    cdef int begin(self, int16_t api_key, int64_t arrived_ns) noexcept:
        cdef Timing* timing = &self.current
        timing.arrived_ns = 0
        self.seen += 1
        if arrived_ns == 0 or not 0 <= api_key < STATS_APIS:
            return 0
        self.left -= 1
        if self.left > 0:
            return 0
        self.left = self.stride
        timing.arrived_ns = timing.since_ns = arrived_ns
        timing.weight = self.stride
        timing.api_key = api_key
        return self.lap(timing, STAGE_QUEUE)

    cdef int lap(self, Timing* timing, int stage) noexcept:
        cdef int64_t now = now_ns()
        self.observe(timing, stage, now - timing.since_ns)
        timing.since_ns = now
        return 0

    cdef int observe(self, const Timing* timing, int stage, int64_t elapsed_ns) noexcept:
        cdef StageHistogram* of_api = self.stages[timing.api_key]
        cdef StageHistogram* histogram
        cdef int bucket = 0
        if of_api == NULL:
            of_api = <StageHistogram*>calloc(STATS_STAGES, sizeof(StageHistogram))
            if of_api == NULL:
                return 0
            self.stages[timing.api_key] = of_api
        histogram = of_api + stage
        while bucket < STATS_BUCKETS and elapsed_ns > BOUNDS_NS[bucket]:
            bucket += 1
        histogram.counts[bucket] += timing.weight
        histogram.sum_ns += elapsed_ns * timing.weight
        return 0

    cdef int sent(self, Timing* timing) noexcept:
        self.lap(timing, STAGE_SEND)
        self.observe(timing, STAGE_TOTAL, timing.since_ns - timing.arrived_ns)
        timing.arrived_ns = 0
        return 0

    cdef int count_error(self, int16_t api_key, int16_t error_code) except -1:
        key = <int>api_key << 16 | (<int>error_code & 0xFFFF)
        self.errors[key] = self.errors.get(key, 0) + 1
        return 0

    # -- for whoever shows them -----------------------------------------------------------------

    def request_counts(self):
        """(api_key, version, count) of what was asked at least once."""
        cdef int i
        return [
            (i // STATS_VERSIONS, i % STATS_VERSIONS, self.requests[i])
            for i in range(STATS_APIS * STATS_VERSIONS)
            if self.requests[i]
        ]

    def error_counts(self):
        """(api_key, error code, count)."""
        found = []
        for key, count in self.errors.items():
            code = key & 0xFFFF
            found.append((key >> 16, code - 0x10000 if code & 0x8000 else code, count))
        return found

    def stage_histograms(self):
        """(api_key, index in STAGES, counts of each bucket and beyond, sum in ns), where there is
        anything.
        """
        cdef int api, stage, i
        cdef StageHistogram* histogram
        found = []
        for api in range(STATS_APIS):
            if self.stages[api] == NULL:
                continue
            for stage in range(STATS_STAGES):
                histogram = self.stages[api] + stage
                counts = [histogram.counts[i] for i in range(STATS_BUCKETS + 1)]
                if any(counts):
                    found.append((api, stage, counts, histogram.sum_ns))
        return found
