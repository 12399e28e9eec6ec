# Declarations of page_cache.h. There is no page_cache.pyx.
from libc.stddef cimport size_t
from libc.stdint cimport int64_t
from posix.types cimport off_t

cdef extern from "page_cache.h" nogil:
    # Can n bytes be sent, and `beyond` more be read, without waiting for the disk? 1 if nobody can
    # tell.
    int page_cache_is_warm(int fd, off_t at, size_t n, size_t beyond) noexcept
    # Is a page of the range, as far as the file goes, missing in the cache? 0 too if nobody can
    # tell.
    int page_cache_misses(int fd, off_t at, size_t n) noexcept
    # Of this descriptor the kernel reads what is asked for and no more.
    void page_cache_read_no_further(int fd) noexcept
    # For who reads on and on: begins what comes next. Returns up to where it is begun now (-1 for
    # `begun`: nothing yet).
    int64_t page_cache_keep_ahead(
        int fd, int64_t begun, int64_t start, int64_t to, int64_t ahead, int64_t end
    ) noexcept
