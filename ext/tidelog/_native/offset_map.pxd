"""The keys of a log's dirty part, each with the offset of its last record (contract).

A table of fixed size with open addressing, keyed by the XXH3-128 of the key: two keys with the same
hash would be taken for one. One cleaning has it and frees it; any thread, one at a time.
"""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

cdef struct Slot:
    uint64_t low
    uint64_t high
    int64_t next_offset  # one behind the key's last record; 0: the slot is empty

@cython.final
cdef class OffsetMap:
    cdef Slot *slots
    cdef readonly int64_t capacity
    cdef readonly int64_t limit  # so many keys it takes
    cdef readonly int64_t size
    cdef readonly int64_t latest_offset  # everything up to here is in it; -1

    cdef Slot *slot_of(self, uint64_t low, uint64_t high) noexcept nogil
    # False when the map is full; then nothing was changed. The later offset of a key stays.
    cdef bint put(self, const uint8_t *key, int32_t size, int64_t offset) noexcept nogil
    # The offset of the key's last record, -1 when it has none here.
    cdef int64_t get(self, const uint8_t *key, int32_t size) noexcept nogil
    cdef void reach(self, int64_t offset) noexcept nogil
