"""Request headers and gates of the native lanes. Pure but for the wall clock."""

from libc.stdint cimport int16_t, int64_t, uint8_t
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

cdef extern from "time.h" nogil:
    enum:
        CLOCK_MONOTONIC_COARSE

from tidelog._native.request_stats cimport RequestStats
from tidelog._native.wire cimport (
    WIRE_OK,
    wire_cursor,
    wire_int16,
    wire_int32,
    wire_skip_tagged_fields,
    wire_string,
)


cdef int parse_header(
    const uint8_t* frame, size_t n, int16_t flexible_from, RequestHeader* header
) noexcept nogil:
    cdef wire_cursor c
    c.pos = frame
    c.end = frame + n
    if wire_int16(&c, &header.api_key) != WIRE_OK or wire_int16(&c, &header.api_version) != WIRE_OK:
        return -1
    if wire_int32(&c, &header.correlation_id) != WIRE_OK:
        return -1
    # The client id keeps its old form in header v2, so that every broker can read it.
    if wire_string(&c, False, &header.client_id, &header.client_id_size) != WIRE_OK:
        return -1
    if header.api_version >= flexible_from and wire_skip_tagged_fields(&c) != WIRE_OK:
        return -1
    header.body = c.pos
    return 0


cdef int64_t wall_ms() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <int64_t>now.tv_sec * 1000 + now.tv_nsec // 1000000


cdef int64_t monotonic_ms() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now)
    return <int64_t>now.tv_sec * 1000 + now.tv_nsec // 1000000


cdef class Gates:
    """The hooks, all open until something is plugged in."""

    def __init__(self):
        self.stats = RequestStats()
