"""WrittenSlot: where one log leaves how far it is written, for a start after a kill (contract).

Loop thread only. The memory belongs to storage.written_positions.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t

@cython.final
cdef class WrittenSlot:
    cdef int64_t *pair  # (base offset of the active segment, its size + 1; 0: not known)
    cdef uint8_t[::1] mapping  # keeps the memory

    # Bytes were written completely, up to `size`.
    cdef void put(self, int64_t size) noexcept
    # Another segment is active.
    cdef void begin(self, int64_t base_offset, int64_t size) noexcept
    # Nothing of the log may be believed.
    cdef void forget(self) noexcept
