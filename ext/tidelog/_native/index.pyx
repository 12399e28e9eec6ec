"""Sparse indexes of a segment over a shared mapping (see index.pxd for layout and threads).

Look-ups search the last 8 KiB of entries first, as Kafka does: nearly every look-up of a consumer
that keeps up lies there, so that its pages stay in memory and older ones need not be.

Everything here holds the GIL.
"""

cimport cython
from libc.errno cimport EINTR, EINVAL, ENOSYS, EOPNOTSUPP, errno
from libc.stdint cimport INT32_MAX, INT64_MAX, int32_t, int64_t, uint8_t

from tidelog._native.wire cimport wire_load32, wire_load64, wire_put_int32, wire_put_int64

import os

from tidelog.errors import InvariantError, StorageError

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <fcntl.h>
    #include <sys/mman.h>
    #include <unistd.h>
    """
    enum:
        MADV_RANDOM
        MAP_SHARED
        O_CLOEXEC
        O_RDWR
        PROT_READ
        PROT_WRITE
    void *map_failed "MAP_FAILED"
    void *mmap(void *addr, size_t size, int prot, int flags, int fd, long offset) noexcept nogil
    int madvise(void *addr, size_t size, int advice) noexcept nogil
    int munmap(void *addr, size_t size) noexcept nogil
    int open_file "open"(const char *path, int flags) noexcept nogil
    int fallocate(int fd, int mode, long offset, long size) noexcept nogil
    int close_file "close"(int fd) noexcept nogil

DEFAULT_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
cdef int64_t PAGE_SIZE = DEFAULT_PAGE_SIZE
cdef int64_t WARM_BYTES = 8192
cdef int64_t RESERVE_MAX_BYTES = 1 << 18  # ahead, at a time


class CorruptIndexError(StorageError):
    """An index file that cannot be an index of its segment; it is rebuilt from the log."""


cdef inline int64_t round_up_to_page(int64_t n) noexcept nogil:
    return (n + PAGE_SIZE - 1) // PAGE_SIZE * PAGE_SIZE


cdef class MappedIndex:
    """What both indexes share: the mapping and the count of its entries.

    Raises OSError from attach() and when blocks cannot be had.
    """

    def __cinit__(self, *args):
        self.map = NULL
        self.map_size = 0
        self.entries = 0
        self.max_entries = 0
        self.backed_bytes = 0

    def __init__(self, str path not None, int64_t base_offset):
        self.path = path
        self.base_offset = base_offset
        self.last_offset = base_offset

    def __dealloc__(self):
        if self.map != NULL:
            munmap(self.map, self.map_size)

    def attach(self, int fd, int64_t map_size, int64_t entries):
        """Maps the first `map_size` bytes of the file, of which `entries` entries are valid.

        The file must be that large already. The descriptor may be closed afterwards.
        """
        cdef void *address
        if map_size < 0 or entries < 0 or entries * self.entry_size > map_size:
            raise InvariantError(f"{entries} entries in an index of {map_size} bytes")
        self.detach()
        if map_size > 0:
            address = mmap(NULL, <size_t>map_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
            if address == map_failed:
                raise OSError(errno, os.strerror(errno), self.path)
            # Without it every first touch reads (mostly holes) far ahead of the entry.
            madvise(address, <size_t>map_size, MADV_RANDOM)
            self.map = <uint8_t *>address
            self.map_size = <size_t>map_size
        self.max_entries = map_size // self.entry_size
        self.entries = entries
        self.backed_bytes = round_up_to_page(entries * self.entry_size)
        self.refresh_last()

    def detach(self):
        """Drops the mapping. Nobody else may hold the index."""
        if self.map != NULL:
            munmap(self.map, self.map_size)
        self.map = NULL
        self.map_size = 0
        self.entries = 0
        self.max_entries = 0
        self.backed_bytes = 0
        self.refresh_last()

    def trim_map(self):
        """Unmaps the pages behind the last entry; the index is full from then on."""
        cdef int64_t keep = self.entries * self.entry_size
        cdef size_t keep_pages = <size_t>round_up_to_page(keep)
        cdef uint8_t *tail
        self.max_entries = self.entries
        if self.map == NULL or keep_pages >= <size_t>round_up_to_page(<int64_t>self.map_size):
            return
        tail = self.map + keep_pages
        munmap(tail, self.map_size - keep_pages)
        self.map_size = keep_pages
        if keep_pages == 0:
            self.map = NULL

    def moved_to(self, str path not None):
        """The file was renamed."""
        self.path = path

    @property
    def size_bytes(self):
        """Bytes of the valid entries: the size of the trimmed file."""
        return self.entries * self.entry_size

    @property
    def mapped_bytes(self):
        return self.map_size

    def truncate_entries(self, int64_t entries):
        """Keeps the first `entries` entries."""
        if entries < 0 or entries > self.entries:
            raise InvariantError(f"{self.path}: cannot cut {self.entries} entries to {entries}")
        self.entries = entries
        self.refresh_last()

    cdef int reserve(self, int64_t more) except -1:
        cdef int64_t needed = (self.entries + more) * self.entry_size
        cdef int64_t target
        cdef int fd
        cdef int status
        cdef int code
        cdef bytes path
        if needed <= self.backed_bytes or needed > <int64_t>self.map_size:
            return 0
        # As much again, so that a long index asks seldom: on the loop it costs a tenth of a
        # millisecond, and more while the file system writes its journal.
        target = round_up_to_page(needed + min(needed, RESERVE_MAX_BYTES))
        if target > <int64_t>self.map_size:
            target = <int64_t>self.map_size
        path = os.fsencode(self.path)
        fd = open_file(path, O_RDWR | O_CLOEXEC)
        if fd < 0:
            raise OSError(errno, os.strerror(errno), self.path)
        while True:
            status = fallocate(fd, 0, self.backed_bytes, target - self.backed_bytes)
            code = errno
            if status == 0 or code != EINTR:
                break
        close_file(fd)
        if status != 0:
            if code not in (EOPNOTSUPP, ENOSYS, EINVAL):
                raise OSError(code, os.strerror(code), self.path)
            self.backed_bytes = INT64_MAX  # this file system cannot reserve; nothing to be gained
        else:
            self.backed_bytes = round_up_to_page(target)
        return 0

    cdef int refresh_last(self) except -1:
        raise NotImplementedError

    def ensure_space(self, int64_t more=1):
        """reserve() for callers in Python."""
        self.reserve(more)

    def _check_last(self, int64_t file_size):
        if file_size % self.entry_size != 0:
            raise CorruptIndexError(
                f"{self.path} has {file_size} bytes, which is no multiple of {self.entry_size}"
            )
        if self.entries and self.last_offset < self.base_offset:
            raise CorruptIndexError(
                f"{self.path} ends with offset {self.last_offset}, below its base offset"
            )


cdef inline int64_t offset_in(OffsetIndex index, int64_t i) noexcept:
    return index.base_offset + <int32_t>wire_load32(index.map + i * OFFSET_ENTRY_SIZE)


cdef inline int32_t position_in(OffsetIndex index, int64_t i) noexcept:
    return <int32_t>wire_load32(index.map + i * OFFSET_ENTRY_SIZE + 4)


cdef inline int64_t timestamp_in(TimeIndex index, int64_t i) noexcept:
    return <int64_t>wire_load64(index.map + i * TIME_ENTRY_SIZE)


cdef inline int64_t time_offset_in(TimeIndex index, int64_t i) noexcept:
    return index.base_offset + <int32_t>wire_load32(index.map + i * TIME_ENTRY_SIZE + 8)


@cython.final
cdef class OffsetIndex(MappedIndex):
    """Relative offset of a batch's last record -> where the batch starts."""

    def __cinit__(self, *args):
        self.entry_size = OFFSET_ENTRY_SIZE

    cdef int refresh_last(self) except -1:
        self.last_offset = offset_in(self, self.entries - 1) if self.entries else self.base_offset
        return 0

    cdef bint is_full(self) noexcept:
        return self.entries >= self.max_entries

    cdef int append(self, int64_t offset, int32_t position) except -1:
        cdef int64_t relative = offset - self.base_offset
        cdef uint8_t *p
        if self.entries >= self.max_entries:
            return 0
        if relative < 0 or relative > INT32_MAX or (self.entries and offset <= self.last_offset):
            raise InvariantError(f"{self.path}: offset {offset} after {self.last_offset}")
        self.reserve(1)
        p = self.map + self.entries * OFFSET_ENTRY_SIZE
        wire_put_int32(wire_put_int32(p, <int32_t>relative), position)
        self.entries += 1
        self.last_offset = offset
        return 0

    cdef OffsetPosition lookup(self, int64_t target) noexcept:
        cdef OffsetPosition found
        cdef int64_t slot = self.slot_of(target)
        if slot < 0:
            found.offset = self.base_offset
            found.position = 0
        else:
            found.offset = offset_in(self, slot)
            found.position = position_in(self, slot)
        return found

    cdef int64_t slot_of(self, int64_t target) noexcept:
        # Largest slot whose offset is <= target, or -1.
        cdef int64_t low = 0
        cdef int64_t high = self.entries - 1
        cdef int64_t warm = self.entries - 1 - WARM_BYTES // OFFSET_ENTRY_SIZE
        cdef int64_t middle
        if self.entries == 0:
            return -1
        if warm > 0:
            if offset_in(self, warm) < target:
                low = warm
            else:
                high = warm
        if offset_in(self, low) > target:
            return -1
        while low < high:
            middle = (low + high + 1) >> 1
            if offset_in(self, middle) <= target:
                low = middle
            else:
                high = middle - 1
        return low

    def add(self, int64_t offset, int32_t position):
        """append() for callers in Python."""
        self.append(offset, position)

    def find(self, int64_t target):
        """(offset, position) of lookup()."""
        cdef OffsetPosition found = self.lookup(target)
        return found.offset, found.position

    def full(self):
        return self.is_full()

    def entry(self, int64_t i):
        """(offset, position) of entry i. Raises IndexError."""
        if i < 0 or i >= self.entries:
            raise IndexError(i)
        return offset_in(self, i), position_in(self, i)

    def truncate_to(self, int64_t offset):
        """Drops every entry for `offset` or a later one."""
        cdef int64_t slot = self.slot_of(offset)
        if slot >= 0 and offset_in(self, slot) == offset:
            slot -= 1
        self.truncate_entries(slot + 1)

    def sanity_check(self, int64_t file_size, int64_t log_size):
        """Raises CorruptIndexError when the file cannot be the index of a log of that size."""
        self._check_last(file_size)
        if not self.entries:
            return
        if position_in(self, self.entries - 1) >= log_size or position_in(self, 0) <= 0:
            raise CorruptIndexError(f"{self.path} points behind the end of the log")
        if self.entries > 1 and (
            offset_in(self, self.entries - 1) <= offset_in(self, 0)
            or position_in(self, self.entries - 1) <= position_in(self, 0)
        ):
            raise CorruptIndexError(f"{self.path} does not ascend")

    def check_ascending(self):
        """Raises CorruptIndexError when two entries are out of order (looks at all of them)."""
        cdef int64_t i
        for i in range(1, self.entries):
            if (
                offset_in(self, i) <= offset_in(self, i - 1)
                or position_in(self, i) <= position_in(self, i - 1)
            ):
                raise CorruptIndexError(f"{self.path} does not ascend at entry {i}")


@cython.final
cdef class TimeIndex(MappedIndex):
    """Largest timestamp so far -> last offset of the batch that brought it."""

    def __cinit__(self, *args):
        self.entry_size = TIME_ENTRY_SIZE
        self.last_timestamp = -1

    cdef int refresh_last(self) except -1:
        if self.entries:
            self.last_timestamp = timestamp_in(self, self.entries - 1)
            self.last_offset = time_offset_in(self, self.entries - 1)
        else:
            self.last_timestamp = -1
            self.last_offset = self.base_offset
        return 0

    cdef bint is_full(self) noexcept:
        return self.entries >= self.max_entries - 1

    cdef int maybe_append(self, int64_t timestamp, int64_t offset, bint sealing) except -1:
        cdef int64_t relative = offset - self.base_offset
        cdef uint8_t *p
        if timestamp <= self.last_timestamp:
            return 0
        if self.entries >= self.max_entries - (0 if sealing else 1):
            return 0
        if relative < 0 or relative > INT32_MAX or (self.entries and offset < self.last_offset):
            raise InvariantError(f"{self.path}: offset {offset} after {self.last_offset}")
        self.reserve(1)
        p = self.map + self.entries * TIME_ENTRY_SIZE
        wire_put_int32(wire_put_int64(p, timestamp), <int32_t>relative)
        self.entries += 1
        self.last_timestamp = timestamp
        self.last_offset = offset
        return 0

    cdef TimestampOffset lookup(self, int64_t target) noexcept:
        cdef TimestampOffset found
        cdef int64_t slot = self.slot_of(target)
        if slot < 0:
            found.timestamp = -1
            found.offset = self.base_offset
        else:
            found.timestamp = timestamp_in(self, slot)
            found.offset = time_offset_in(self, slot)
        return found

    cdef int64_t slot_of(self, int64_t target) noexcept:
        # Largest slot whose timestamp is <= target, or -1.
        cdef int64_t low = 0
        cdef int64_t high = self.entries - 1
        cdef int64_t warm = self.entries - 1 - WARM_BYTES // TIME_ENTRY_SIZE
        cdef int64_t middle
        if self.entries == 0:
            return -1
        if warm > 0:
            if timestamp_in(self, warm) < target:
                low = warm
            else:
                high = warm
        if timestamp_in(self, low) > target:
            return -1
        while low < high:
            middle = (low + high + 1) >> 1
            if timestamp_in(self, middle) <= target:
                low = middle
            else:
                high = middle - 1
        return low

    def add(self, int64_t timestamp, int64_t offset, bint sealing=False):
        """maybe_append() for callers in Python."""
        self.maybe_append(timestamp, offset, sealing)

    def find(self, int64_t target):
        """(timestamp, offset) of lookup()."""
        cdef TimestampOffset found = self.lookup(target)
        return found.timestamp, found.offset

    def full(self):
        return self.is_full()

    def entry(self, int64_t i):
        """(timestamp, offset) of entry i. Raises IndexError."""
        if i < 0 or i >= self.entries:
            raise IndexError(i)
        return timestamp_in(self, i), time_offset_in(self, i)

    def truncate_to(self, int64_t offset):
        """Drops every entry for `offset` or a later one."""
        cdef int64_t keep = self.entries
        while keep and time_offset_in(self, keep - 1) >= offset:
            keep -= 1
        self.truncate_entries(keep)

    def sanity_check(self, int64_t file_size):
        """Raises CorruptIndexError when the file cannot be a time index of its segment."""
        self._check_last(file_size)
        # A file that was not trimmed ends with zeros.
        if self.entries > 1 and self.last_timestamp <= timestamp_in(self, 0):
            raise CorruptIndexError(f"{self.path} ends with no newer timestamp than its first")

    def check_ascending(self):
        """Raises CorruptIndexError when two entries are out of order (looks at all of them)."""
        cdef int64_t i
        for i in range(1, self.entries):
            if (
                timestamp_in(self, i) <= timestamp_in(self, i - 1)
                or time_offset_in(self, i) < time_offset_in(self, i - 1)
            ):
                raise CorruptIndexError(f"{self.path} does not ascend at entry {i}")
