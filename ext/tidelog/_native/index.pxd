# Sparse indexes of a segment, Kafka's files: `.index` = (int32 relative offset, int32 position), `.timeindex` = (int64 timestamp, int32 relative offset), big endian.
# Memory-mapped and preallocated while the segment is active (max_index_size), trimmed to their true size when sealed or closed; sealed ones are mapped read-only.
# `open`/`resize`/`flush`/`close` do I/O and run on helper threads; `append`/`lookup` only touch the mapping.
from libc.stdint cimport int32_t, int64_t, uint8_t

cdef struct OffsetPosition:
    int64_t offset
    int32_t position

cdef struct TimestampOffset:
    int64_t timestamp
    int64_t offset

cdef class OffsetIndex:
    cdef readonly str path
    cdef readonly int64_t base_offset
    cdef readonly int64_t entries
    cdef readonly int64_t max_entries
    cdef readonly int64_t last_offset             # offset of the last entry, base_offset when empty
    cdef uint8_t* map
    cdef size_t map_size
    cdef bint is_full(self) noexcept
    # offset must be greater than last_offset (InvariantError). A full index ignores the append and returns 0: the log rolls before the next batch.
    cdef int append(self, int64_t offset, int32_t position) except -1
    # Largest entry with entry.offset <= target; (base_offset, 0) when there is none. Warm-section binary search.
    cdef OffsetPosition lookup(self, int64_t target) noexcept

cdef class TimeIndex:
    cdef readonly str path
    cdef readonly int64_t base_offset
    cdef readonly int64_t entries
    cdef readonly int64_t max_entries
    cdef readonly int64_t last_timestamp          # -1 when empty
    cdef readonly int64_t last_offset
    cdef uint8_t* map
    cdef size_t map_size
    cdef bint is_full(self) noexcept
    # Appends only when timestamp > last_timestamp (Kafka's maybeAppend).
    cdef int maybe_append(self, int64_t timestamp, int64_t offset, bint skip_full_check) except -1
    # Largest entry with entry.timestamp <= target; (-1, base_offset) when there is none.
    cdef TimestampOffset lookup(self, int64_t target) noexcept
# def on both: sanity_check() (raises CorruptIndexError), truncate_to(offset), reset(), resize(size), flush(), close(), trim_to_valid_size(), entry(i), delete...
