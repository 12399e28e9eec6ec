"""Descriptors of .log files (see log_file.pxd): who has one, who loses it when there are many."""

from libc.errno cimport EBADF, EMFILE, ENFILE, ENOMEM, errno

import os

from tidelog._native.page_cache cimport page_cache_read_no_further

cdef extern from "fcntl.h" nogil:
    int open_file "open"(const char *path, int flags) noexcept
    int O_RDWR
    int O_CLOEXEC

cdef extern from "unistd.h" nogil:
    int close_file "close"(int fd) noexcept

cdef enum:
    DEFAULT_LIMIT = 512

# Borrowed pointers: a holder takes itself out before it goes.
cdef void *_newest = NULL
cdef void *_oldest = NULL
cdef int _count = 0
cdef int _limit = DEFAULT_LIMIT
cdef long _opened = 0


cdef class LogFile:
    """Owns the descriptor `fd`."""

    def __cinit__(self):
        self.fd = -1

    def __init__(self, int fd):
        self.fd = fd
        page_cache_read_no_further(fd)

    def __dealloc__(self):
        cdef int fd = self.fd
        if fd >= 0:
            with nogil:  # the last one of a removed file: the system gives its pages back
                close_file(fd)

    def __repr__(self):
        return f"LogFile({self.fd})"


cdef class FileHolder:
    """Base of what has a .log file: `log_path` names it."""

    def __cinit__(self, *args, **kwargs):
        self.fd = -1
        self.newer = self.older = NULL

    def __dealloc__(self):
        self.unlist()

    cdef void hold(self, LogFile file) noexcept:
        self.file = file
        self.fd = file.fd

    cdef void let_go(self) noexcept:
        self.fd = -1
        self.file = None

    cdef void touch(self) noexcept:
        global _newest, _count
        if <void *>self == _newest:
            return
        self.unlist()
        self.older = _newest
        if _newest != NULL:
            (<FileHolder>_newest).newer = <void *>self
        else:
            _set_oldest(<void *>self)
        _newest = <void *>self
        self.listed = True
        _count += 1
        while _count > _limit and _oldest != <void *>self:
            _close_oldest()

    cdef void unlist(self) noexcept:
        global _newest, _count
        if not self.listed:
            return
        if self.newer != NULL:
            (<FileHolder>self.newer).older = self.older
        else:
            _newest = self.older
        if self.older != NULL:
            (<FileHolder>self.older).newer = self.newer
        else:
            _set_oldest(self.newer)
        self.newer = self.older = NULL
        self.listed = False
        _count -= 1

    cdef int wake(self) noexcept:
        global _opened
        cdef int fd
        cdef bytes path
        if self.fd >= 0:
            return 0
        if self.closed:
            return EBADF
        try:
            path = os.fsencode(self.log_path)
            for _ in range(2):
                fd = open_file(path, O_RDWR | O_CLOEXEC)
                if fd >= 0:
                    self.hold(LogFile(fd))
                    self.touch()
                    _opened += 1
                    return 0
                if errno not in (EMFILE, ENFILE) or _oldest == NULL:
                    return errno
                _close_half()
            return errno
        except MemoryError:
            return ENOMEM

    def take_file(self):
        """The open file; it stays open for as long as the caller holds it. Raises OSError."""
        cdef int code = self.wake()
        if code:
            raise OSError(code, os.strerror(code), self.log_path)
        if self.listed:
            self.touch()
        return self.file

    def close(self):
        """Gives the file up for good; it closes when nobody sends from it any more."""
        self.closed = True
        self.unlist()
        self.let_go()


cdef void _set_oldest(void *holder) noexcept:
    global _oldest
    _oldest = holder


cdef void _close_oldest() noexcept:
    cdef FileHolder holder = <FileHolder>_oldest
    holder.unlist()
    holder.let_go()


cdef void _close_half() noexcept:
    cdef int kept = _count // 2
    while _count > kept:
        _close_oldest()


def set_limit(int limit):
    """How many files of segments that take no appends stay open in this process."""
    global _limit
    if limit < 1:
        raise ValueError("at least one file has to be open to be read")
    _limit = limit
    while _count > _limit:
        _close_oldest()


def stats():
    """(files that may be closed, the limit, how often one was opened again)."""
    return _count, _limit, _opened
