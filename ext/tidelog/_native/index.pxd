"""Sparse indexes of a segment, in Kafka's files (contract).

    .index      int32 relative offset, int32 position                8 bytes, big endian
    .timeindex  int64 timestamp, int32 relative offset              12 bytes, big endian

An index is a view of a shared mapping of its file: nothing here opens, cuts or syncs a file but
`reserve`, which asks the file system for the blocks behind the next entry (a store into a hole of
a full disk would be a SIGBUS). storage/segment_files.py opens, sizes and trims.

Threads: entries are added and looked up on the loop thread. `attach` and `detach` belong to a
helper that has the only reference. `trim_map` may run on a helper while the loop looks up: it only
unmaps what lies behind the last entry and never moves the mapping.
"""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t

cdef enum:
    OFFSET_ENTRY_SIZE = 8
    TIME_ENTRY_SIZE = 12

cdef struct OffsetPosition:
    int64_t offset
    int32_t position

cdef struct TimestampOffset:
    int64_t timestamp
    int64_t offset

cdef class MappedIndex:
    cdef readonly str path  # where the file is now; changed by moved_to()
    cdef readonly int64_t base_offset
    cdef readonly int64_t entries
    cdef readonly int64_t max_entries
    cdef readonly int64_t last_offset  # of the last entry, base_offset when empty
    cdef readonly int entry_size
    cdef uint8_t *map  # NULL when nothing is mapped
    cdef size_t map_size
    cdef int64_t backed_bytes  # the file has blocks up to here (INT64_MAX: unknown to the system)

    # Makes sure that `more` entries can be stored. Raises OSError (ENOSPC): nothing was changed.
    cdef int reserve(self, int64_t more) except -1
    cdef int refresh_last(self) except -1

@cython.final
cdef class OffsetIndex(MappedIndex):
    cdef bint is_full(self) noexcept
    # `offset` must be larger than last_offset (InvariantError). A full index ignores the entry:
    # the log rolls before its next batch.
    cdef int append(self, int64_t offset, int32_t position) except -1
    # Largest entry with entry.offset <= target; (base_offset, 0) when there is none.
    cdef OffsetPosition lookup(self, int64_t target) noexcept
    # Slot of that entry, or -1.
    cdef int64_t slot_of(self, int64_t target) noexcept

@cython.final
cdef class TimeIndex(MappedIndex):
    cdef readonly int64_t last_timestamp  # -1 when empty

    # One entry is kept free for the one that is written when the segment is sealed.
    cdef bint is_full(self) noexcept
    # Adds the entry only when `timestamp` is larger than the last one. `sealing` may use the slot
    # that is kept free; without a slot the entry is dropped.
    cdef int maybe_append(self, int64_t timestamp, int64_t offset, bint sealing) except -1
    # Largest entry with entry.timestamp <= target; (-1, base_offset) when there is none.
    cdef TimestampOffset lookup(self, int64_t target) noexcept
    # Slot of that entry, or -1.
    cdef int64_t slot_of(self, int64_t target) noexcept
