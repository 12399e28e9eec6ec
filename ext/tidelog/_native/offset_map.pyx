"""The keys of a log's dirty part and their last offsets (see offset_map.pxd).

Owned by one cleaning, which makes it when it begins and frees it at its end. It never grows: what
does not fit is left to the next cleaning.
"""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free

cdef extern from "xxh3.h" nogil:
    ctypedef struct tl_hash128:
        uint64_t low
        uint64_t high

    tl_hash128 tl_xxh3_128(const uint8_t *p, size_t n) noexcept nogil

cdef extern from *:
    """
    /* Spreads a hash over `slots` places without a division. */
    static inline int64_t tl_place(uint64_t hash, int64_t slots) {
        return (int64_t)(((unsigned __int128)hash * (uint64_t)slots) >> 64);
    }
    """
    int64_t tl_place(uint64_t hash, int64_t slots) noexcept nogil

SLOT_BYTES = sizeof(Slot)


@cython.final
cdef class OffsetMap:
    """`capacity` slots of SLOT_BYTES, of which the share `load_factor` is filled. MemoryError."""

    def __cinit__(self, int64_t capacity, double load_factor=0.9):
        if capacity < 1 or not 0 < load_factor <= 1:
            raise ValueError(f"a map of {capacity} slots filled to {load_factor}")
        self.capacity = capacity + 1  # one is always empty: a search ends there
        self.limit = max(<int64_t>(capacity * load_factor), 1)
        self.size = 0
        self.latest_offset = -1
        self.slots = <Slot *>calloc(<size_t>self.capacity, sizeof(Slot))
        if self.slots == NULL:
            raise MemoryError(f"no memory for a map of {capacity} slots")

    def __dealloc__(self):
        with nogil:  # giving a hundred megabytes back takes milliseconds
            free(self.slots)

    cdef Slot *slot_of(self, uint64_t low, uint64_t high) noexcept nogil:
        cdef int64_t place = tl_place(low, self.capacity)
        cdef Slot *slot
        while True:
            slot = &self.slots[place]
            if slot.next_offset == 0 or (slot.low == low and slot.high == high):
                return slot
            place += 1
            if place == self.capacity:
                place = 0

    cdef bint put(self, const uint8_t *key, int32_t size, int64_t offset) noexcept nogil:
        cdef tl_hash128 hash = tl_xxh3_128(key, <size_t>size)
        cdef Slot *slot = self.slot_of(hash.low, hash.high)
        if slot.next_offset == 0:
            if self.size >= self.limit:
                return False
            slot.low = hash.low
            slot.high = hash.high
            self.size += 1
        if offset >= slot.next_offset:
            slot.next_offset = offset + 1
        self.reach(offset)
        return True

    cdef int64_t get(self, const uint8_t *key, int32_t size) noexcept nogil:
        cdef tl_hash128 hash = tl_xxh3_128(key, <size_t>size)
        return self.slot_of(hash.low, hash.high).next_offset - 1

    cdef void reach(self, int64_t offset) noexcept nogil:
        if offset > self.latest_offset:
            self.latest_offset = offset

    # ---- for Python callers

    def add(self, const uint8_t[::1] key not None, int64_t offset):
        """put(). Returns whether there was room."""
        cdef uint8_t empty = 0
        return self.put(&key[0] if key.shape[0] else &empty, <int32_t>key.shape[0], offset)

    def find(self, const uint8_t[::1] key not None):
        """get()."""
        cdef uint8_t empty = 0
        return self.get(&key[0] if key.shape[0] else &empty, <int32_t>key.shape[0])

    def reach_to(self, int64_t offset):
        """Everything up to `offset` is in the map."""
        self.reach(offset)

    @property
    def utilization(self):
        """Filled share of the slots."""
        return <double>self.size / <double>(self.capacity - 1)


def xxh3_128(const uint8_t[::1] data not None):
    """The hash, as xxhash.xxh3_128_digest has it. For tests."""
    cdef uint8_t empty = 0
    cdef tl_hash128 hash = tl_xxh3_128(
        &data[0] if data.shape[0] else &empty, <size_t>data.shape[0]
    )
    return (<object>hash.high << 64 | <object>hash.low).to_bytes(16, "big")
