"""The slot of one log in the mapped file of written positions (see written.pxd for the contract).

Whoever finds the memory after this process was killed at any instruction sees stores in the order
in which they were made, and never half of one: it is not believed while the pair changes. Owned by
a LogCore, on the loop thread. Does no system call.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t

from tidelog.errors import InvariantError

cdef extern from *:
    """
    static inline void store_in_order(int64_t *to, int64_t value)
    {
        __atomic_store_n(to, value, __ATOMIC_RELEASE);
    }
    """
    void store_in_order(int64_t *to, int64_t value) noexcept nogil


@cython.final
cdef class WrittenSlot:
    """The 16 bytes at `at` of a writable mapping; `at` is a multiple of 8."""

    def __init__(self, uint8_t[::1] mapping not None, Py_ssize_t at):
        if at < 0 or at % 8 or at > mapping.shape[0] - 16:
            raise InvariantError(f"no place for a written position at {at}")
        self.mapping = mapping
        self.pair = <int64_t *>&mapping[at]

    cdef void put(self, int64_t size) noexcept:
        store_in_order(self.pair + 1, size + 1)

    cdef void begin(self, int64_t base_offset, int64_t size) noexcept:
        self.forget()
        store_in_order(self.pair, base_offset)
        self.put(size)

    cdef void forget(self) noexcept:
        store_in_order(self.pair + 1, 0)
