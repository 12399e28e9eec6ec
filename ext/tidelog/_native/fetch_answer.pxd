# What a Fetch answer (versions 15 to 18) says about one partition.
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from tidelog._native.wire cimport wire_cursor

cdef struct Answer:
    int32_t index
    int16_t error_code
    int64_t high_watermark
    int64_t log_start_offset
    int32_t diverging_epoch
    int64_t diverging_end_offset
    int32_t leader_id
    int32_t leader_epoch
    int64_t records_position
    int64_t records_size

# Reads one partition; positions count from `start`. Returns 1 when it is malformed.
cdef int read_partition(wire_cursor* c, const uint8_t* start, Answer* answer) noexcept
