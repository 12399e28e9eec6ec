# One segment: a .log file and its indexes. The loop thread appends and looks up; helper threads create, seal, flush and close.
# Kept alive by every answer that still sends from it: the descriptor closes in __dealloc__ when the last reference goes.
from libc.stdint cimport int32_t, int64_t, uint8_t
from tidelog._native.batch cimport BatchInfo
from tidelog._native.index cimport OffsetIndex, OffsetPosition, TimeIndex

cdef class Segment:
    cdef readonly int64_t base_offset
    cdef readonly str directory
    cdef readonly int fd                          # of the .log, O_RDWR; -1 once closed
    cdef readonly int64_t size                    # bytes of valid batches
    cdef readonly int64_t created_ms
    cdef readonly OffsetIndex offset_index
    cdef readonly TimeIndex time_index
    cdef readonly int64_t index_interval_bytes
    cdef readonly int64_t bytes_since_index_entry
    cdef readonly int64_t rolling_based_timestamp # timestamp of the first batch; -1 when none (segment.ms)
    cdef readonly int64_t max_timestamp           # largest so far, -1 when none
    cdef readonly int64_t offset_of_max_timestamp
    cdef readonly int64_t last_modified_ms
    cdef readonly bint sealed
    cdef readonly object txn_index                # storage.txn_index, lazily (later issue)
    # Writes n bytes at `size` (pwrite until complete), indexes if due. On a short write or error the file is cut back to `size` and OSError raised.
    cdef int append(self, const uint8_t* data, int64_t n, int64_t last_offset, int64_t max_timestamp, int64_t offset_of_max_timestamp) except -1
    # First batch whose last offset >= target: its position and size, scanning forward from `start_position` with pread of headers; position -1 when beyond the end.
    cdef int translate_offset(self, int64_t target, int64_t start_position, int64_t* position, int64_t* batch_size, int64_t* batch_base_offset) except -1
