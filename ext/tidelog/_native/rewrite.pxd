"""Writing a record batch anew with some of its records (contract).

Pure C: no allocation, no I/O.
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from tidelog._native.batch cimport BatchInfo

cdef enum:
    # Another timestamp delta (10 bytes for 1) and a length that follows it.
    MAX_RECORD_GROWTH = 13

# Those of the batch's records (uncompressed, `size` bytes, walked before) for which `keeps` is not
# 0, their times relative to `base_timestamp`. `target` has room for them all, each grown by
# MAX_RECORD_GROWTH. Returns the bytes written.
cdef int64_t put_kept(
    const uint8_t *records,
    int64_t size,
    const BatchInfo *info,
    const uint8_t *keeps,
    int64_t base_timestamp,
    uint8_t *target,
) noexcept nogil
# The header of a batch whose `size` bytes of records stand behind it already: offsets, leader epoch
# and producer are those of `info`.
cdef void put_header(
    uint8_t *target,
    const BatchInfo *info,
    int16_t attributes,
    int64_t base_timestamp,
    int64_t max_timestamp,
    int32_t count,
    int64_t size,
) noexcept nogil
