"""CRC-32C, the checksum of record batches and snapshots.

Owned by nobody: a pure function. Never holds state but the implementation that was chosen when the
module was imported (tests may switch it).
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint32_t


cdef extern from "crc32c.h" nogil:
    ctypedef uint32_t (*tl_crc32c_fn)(uint32_t seed, const uint8_t *p, size_t n) noexcept nogil
    tl_crc32c_fn tl_crc32c_active
    void tl_crc32c_init() noexcept
    int tl_crc32c_has_hardware() noexcept
    int tl_crc32c_use_hardware(int wanted) noexcept


cdef uint32_t crc32c(uint32_t seed, const void* data, size_t n) noexcept nogil:
    return tl_crc32c_active(seed, <const uint8_t*>data, n)


def crc32c_of(data, uint32_t seed=0):
    """CRC-32C of a contiguous bytes-like object; `seed`: the CRC of what stands before it."""
    cdef Py_buffer view
    cdef uint32_t result
    if type(data) is bytes:  # the buffer protocol costs more than a short checksum
        return tl_crc32c_active(seed, <const uint8_t*><char*>(<bytes>data), len(<bytes>data))
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        result = tl_crc32c_active(seed, <const uint8_t*>view.buf, <size_t>view.len)
    finally:
        PyBuffer_Release(&view)
    return result


def has_hardware():
    """Whether this CPU has the instructions of the fast implementation."""
    return bool(tl_crc32c_has_hardware())


def use_hardware(bint wanted):
    """Switches the implementation for the whole process (tests only). Returns what is used now."""
    return bool(tl_crc32c_use_hardware(wanted))


tl_crc32c_init()
# Python sees the function under the name that the C function has here.
globals()["crc32c"] = crc32c_of
