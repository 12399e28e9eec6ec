# Declarations of page_cache.h. There is no page_cache.pyx.
from libc.stddef cimport size_t
from posix.types cimport off_t

cdef extern from "page_cache.h" nogil:
    # Can n bytes be sent, and `beyond` more be read, without waiting for the disk? 1 if nobody can tell.
    int page_cache_is_warm(int fd, off_t at, size_t n, size_t beyond) noexcept
