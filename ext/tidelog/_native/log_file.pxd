"""Descriptors of .log files: shared by those who read, closed when nobody needs them (contract).

A process has a limited number of descriptors and may have any number of segments. The active ones
are always open; of all others only those that were read last, `limit` of them in the process. A
holder that lost its file opens it again when it is read.

Whoever works with a descriptor holds the LogFile meanwhile: it closes when the last one lets go, so
neither a removed segment nor one that lost its file takes it away from an answer or from a helper.

Everything here needs the GIL; the list is the process's.
"""

cdef class LogFile:
    cdef readonly int fd

cdef class FileHolder:
    cdef LogFile file  # None: it has to be opened
    cdef readonly int fd  # that of `file`, -1 without one
    cdef readonly bint closed  # for good: it is not opened again
    cdef void *newer
    cdef void *older
    cdef bint listed  # may lose its file

    cdef void hold(self, LogFile file) noexcept
    cdef void let_go(self) noexcept
    # It was read just now. The first time it becomes one of those that may lose their files.
    cdef void touch(self) noexcept
    # It keeps its file from now on.
    cdef void unlist(self) noexcept
    # Opens the file if it is not. Returns 0 or an errno.
    cdef int wake(self) noexcept
