# What requests cost and how they end: counters and histograms of one worker, in plain C arrays.
#
# Counts are exact. Times are those of a sample: all requests while there are few, else one of
# `stride`, which then stands for `stride` requests. No call here allocates but the first of an API,
# none raises.
from libc.stdint cimport int16_t, int32_t, int64_t

cdef enum:
    STATS_APIS = 128             # API keys that are counted: 0 to 127
    STATS_VERSIONS = 32
    STATS_BUCKETS = 14           # and one more for what is beyond the last

# Stages of a request, in order; not every request has all of them.
cdef enum:
    STAGE_QUEUE = 0              # received, until its turn
    STAGE_PARSE = 1              # Produce and Fetch
    STAGE_APPEND = 2             # Produce: check, append and index, with a roll or recompression
    STAGE_READ = 3               # Fetch: look-ups of all its partitions
    STAGE_HANDLE = 4             # the others: decode, handler, encode
    STAGE_FLUSH = 5              # Produce: until a flush covers it
    STAGE_WAIT = 6               # until other replicas, data, other members, the controller
    STAGE_SEND = 7               # its answer is ready, until the kernel has taken it
    STAGE_TOTAL = 8              # received, until the kernel has taken the answer
    STATS_STAGES = 9

# The clock of one request; 0 in arrived_ns: it is not timed.
cdef struct Timing:
    int64_t arrived_ns
    int64_t since_ns             # the end of its last stage
    int32_t weight               # of how many requests it tells
    int16_t api_key

cdef struct StageHistogram:
    int64_t counts[STATS_BUCKETS + 1]
    int64_t sum_ns

cdef class RequestStats:
    cdef public bint timing      # False: nothing is timed
    cdef int64_t requests[STATS_APIS * STATS_VERSIONS]
    cdef StageHistogram* stages[STATS_APIS]     # STATS_STAGES of them, made for the first request
    cdef dict errors             # (api_key << 16 | error code) -> count
    cdef Timing current          # of the request that is handled now: for the lanes to copy
    cdef int64_t seen
    cdef int64_t seen_at_tick
    cdef int64_t tick_ms
    cdef int32_t stride
    cdef int32_t left            # requests that are not timed before the next one is
    # Once per receive, with a coarse time: decides how many of the requests are timed. Returns the
    # time as Timing wants it, 0 when nothing is timed.
    cdef int64_t arrive(self, int64_t now_ms) noexcept
    cdef int count(self, int16_t api_key, int16_t api_version) noexcept
    # A request's turn has come: starts `current`, or sets it to "not timed".
    cdef int begin(self, int16_t api_key, int64_t arrived_ns) noexcept
    # A stage has ended. Only for a request that is timed.
    cdef int lap(self, Timing* timing, int stage) noexcept
    cdef int observe(self, const Timing* timing, int stage, int64_t elapsed_ns) noexcept
    # The answer has left: the last stage, and the whole.
    cdef int sent(self, Timing* timing) noexcept
    cdef int count_error(self, int16_t api_key, int16_t error_code) except -1

cdef int64_t now_ns() noexcept nogil
