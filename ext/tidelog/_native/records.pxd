# Records as Python objects, for replay, builders and tools (not for the hot lane). The functions
# are def ones: see records.pyi.
from libc.stdint cimport int64_t

cdef class Record:
    cdef readonly int64_t offset
    cdef readonly int64_t timestamp
    cdef readonly bytes key
    cdef readonly bytes value
    cdef readonly tuple headers          # of (bytes, bytes or None)
