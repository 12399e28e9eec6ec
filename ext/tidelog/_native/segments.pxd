"""Look-ups over the ordered segments of a log (contract).

Pure look-ups: headers are read, nothing is changed. The list holds Segment, ascending by base
offset. Loop thread, or a helper that has its own list.
"""

from libc.stdint cimport int16_t, int64_t

from tidelog._native.segment cimport Segment

cdef struct ReadResult:
    int16_t error_code  # 0, OFFSET_OUT_OF_RANGE 1, CORRUPT_MESSAGE 2, KAFKA_STORAGE_ERROR 56
    int64_t position  # in the segment's file
    int64_t size  # 0: nothing to read
    int64_t start_offset  # base offset of the first batch in the region

# Slot of the segment with the largest base_offset <= offset, -1 when there is none.
cdef Py_ssize_t last_slot(list segments, int64_t offset) noexcept

# See LogCore.read; the offsets are within the log already. *result was set to "nothing to read".
cdef Segment find_region(list segments, int64_t offset, int64_t max_bytes, int64_t upper_offset,
                         bint min_one_batch, ReadResult *result)

# Bytes of the whole batches from the one that holds `offset` up to `upper_offset`.
cdef int64_t bytes_between(list segments, int64_t offset, int64_t upper_offset) noexcept
