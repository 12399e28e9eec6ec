"""One segment of a log (see segment.pxd for the contract and the threads).

Owned by the LogCore of a partition. Never makes, renames or syncs a file: storage/segment_files.py
does. Writes of 64 KiB and more release the GIL, so that helper threads go on meanwhile.
"""

cimport cython
from libc.errno cimport EINTR, EIO, errno
from libc.stdint cimport INT32_MAX, INT64_MAX, int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc

from tidelog._native.batch cimport BATCH_OVERHEAD, BatchInfo, parse_header
from tidelog._native.index cimport OffsetIndex, OffsetPosition, TimeIndex
from tidelog._native.log_file cimport FileHolder, LogFile
from tidelog._native.wire cimport wire_load64

import os

from tidelog.errors import InvariantError, StorageError

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <fcntl.h>
    #include <unistd.h>
    """
    ssize_t pread(int fd, void *data, size_t n, long offset) noexcept nogil
    ssize_t pwrite(int fd, const void *data, size_t n, long offset) noexcept nogil
    int ftruncate(int fd, long size) noexcept nogil

cdef enum:
    RELEASE_GIL_BYTES = 65536
    SCAN_CHUNK = 8192
    MAX_READ = 1 << 30


class CorruptSegmentError(StorageError):
    """Bytes in the middle of a .log that are no batch."""


cdef int scan_forward(
    int fd,
    int64_t position,
    int64_t end,
    int64_t target,
    int64_t first_offset_max,
    BatchLocation *location,
) noexcept nogil:
    cdef uint8_t chunk[SCAN_CHUNK]
    cdef int64_t chunk_start = position
    cdef int64_t chunk_size = 0
    cdef int64_t wanted
    cdef ssize_t got
    cdef BatchInfo info
    if position < 0 or (position > 0 and position >= end):
        return LOCATE_CORRUPT
    while position < end:
        if end - position < BATCH_OVERHEAD:
            return LOCATE_CORRUPT
        if position < chunk_start or position + BATCH_OVERHEAD > chunk_start + chunk_size:
            wanted = end - position if end - position < SCAN_CHUNK else SCAN_CHUNK
            while True:
                got = pread(fd, chunk, <size_t>wanted, position)
                if got >= 0 or errno != EINTR:
                    break
            if got < 0:
                location.io_errno = errno
                return LOCATE_IO
            if got < BATCH_OVERHEAD:
                return LOCATE_CORRUPT
            chunk_start = position
            chunk_size = got
        if (
            parse_header(chunk + (position - chunk_start), BATCH_OVERHEAD, &info) != 0
            or info.last_offset_delta < 0
            or info.size > end - position
            or info.base_offset > first_offset_max
        ):
            return LOCATE_CORRUPT
        first_offset_max = INT64_MAX
        if info.base_offset + info.last_offset_delta >= target:
            location.position = position
            location.size = info.size
            location.base_offset = info.base_offset
            location.last_offset = info.base_offset + info.last_offset_delta
            return LOCATE_FOUND
        position += info.size
    return LOCATE_BEYOND


@cython.final
cdef class Segment(FileHolder):
    """A .log file with its indexes. Takes over the descriptor `fd`."""

    def __cinit__(self, *args, **kwargs):
        self.recent = NULL
        self.recent_count = 0

    def __init__(
        self,
        str directory not None,
        int64_t base_offset,
        int fd,
        OffsetIndex offset_index not None,
        TimeIndex time_index not None,
        *,
        int64_t size=0,
        int64_t next_offset=-1,
        int64_t created_ms,
        int64_t index_interval_bytes,
        bint sealed=False,
    ):
        self.directory = directory
        self.base_offset = base_offset
        self.hold(LogFile(fd))
        self.offset_index = offset_index
        self.time_index = time_index
        self.size = size
        self.next_offset = base_offset if next_offset < 0 else next_offset
        self.created_ms = created_ms
        self.last_modified_ms = created_ms
        self.index_interval_bytes = index_interval_bytes
        self.rolling_based_timestamp = -1
        self.max_timestamp = time_index.last_timestamp
        self.offset_of_max_timestamp = time_index.last_offset if time_index.entries else -1
        self.sealed = sealed
        self.trimmed = False

    def __dealloc__(self):
        self.unlist()  # before anything of it is gone: neighbours in the list look at it
        free(self.recent)

    cdef int reserve_index(self, int64_t batches) except -1:
        self.offset_index.reserve(batches)
        self.time_index.reserve(batches)
        return 0

    cdef int write(self, const uint8_t *data, int64_t n) except -1:
        cdef int64_t done = 0
        cdef ssize_t put
        cdef int code = 0
        cdef int fd = self.fd
        if self.sealed or fd < 0:
            raise InvariantError(f"segment {self.base_offset} of {self.directory} is sealed")
        if self.write_hook is not None:
            try:
                while done < n:
                    put = self.write_hook.pwrite(fd, <bytes>data[done:n], self.size + done)
                    done += put
            except OSError:
                self.cut_back()
                raise
            return 0
        while done < n:
            if n - done >= RELEASE_GIL_BYTES:
                with nogil:
                    put = pwrite(fd, data + done, <size_t>(n - done), self.size + done)
                    code = errno
            else:
                put = pwrite(fd, data + done, <size_t>(n - done), self.size + done)
                code = errno
            if put > 0:
                done += put
            elif put == 0 or code != EINTR:
                code = EIO if put == 0 else code
                self.cut_back()
                raise OSError(code, os.strerror(code), self.log_path)
        return 0

    cdef int cut_back(self) except -1:
        # A torn append must not be taken for a batch by a later recovery. When even this fails,
        # the log is fenced and recovery cuts the tail by its CRC.
        if self.write_hook is None:
            self.torn = True
            while self.torn:
                self.torn = ftruncate(self.fd, self.size) != 0
                if errno != EINTR:
                    break
            return 0
        self.torn = True
        self.write_hook.truncate(self.fd, self.size)
        self.torn = False
        return 0

    cdef int64_t damage_from(self, int64_t position) except -1:
        cdef int64_t bad
        if self.damaged is not None:
            for bad in self.damaged:
                if bad >= position:
                    return bad
        return INT64_MAX

    cdef int note_batch(
        self,
        int64_t base_offset,
        int64_t n,
        int64_t last_offset,
        int64_t max_timestamp,
        int64_t offset_of_max_timestamp,
    ) except -1:
        cdef RecentBatch *slot
        cdef int64_t position = self.size
        if position == 0:
            self.rolling_based_timestamp = max_timestamp
        if max_timestamp > self.max_timestamp:
            self.max_timestamp = max_timestamp
            self.offset_of_max_timestamp = offset_of_max_timestamp
        if self.bytes_since_index_entry > self.index_interval_bytes:
            self.offset_index.append(last_offset, <int32_t>position)
            self.time_index.maybe_append(self.max_timestamp, self.offset_of_max_timestamp, False)
            self.bytes_since_index_entry = 0
        self.bytes_since_index_entry += n
        if self.recent == NULL:
            self.recent = <RecentBatch *>malloc(RECENT_BATCHES * sizeof(RecentBatch))
        if self.recent != NULL:
            slot = &self.recent[self.recent_count & (RECENT_BATCHES - 1)]
            slot.base_offset = base_offset
            slot.last_offset = last_offset
            slot.position = position
            self.recent_count += 1
        self.size = position + n
        self.next_offset = last_offset + 1
        return 0

    cdef int append(
        self,
        const uint8_t *data,
        int64_t n,
        int64_t last_offset,
        int64_t max_timestamp,
        int64_t offset_of_max_timestamp,
        int64_t now_ms,
    ) except -1:
        if last_offset < self.next_offset or last_offset - self.base_offset > INT32_MAX:
            raise InvariantError(
                f"{self.log_path}: offset {last_offset} cannot follow {self.next_offset - 1}"
            )
        if self.bytes_since_index_entry > self.index_interval_bytes:
            self.reserve_index(1)
        self.write(data, n)
        self.last_modified_ms = now_ms
        return self.note_batch(
            <int64_t>wire_load64(data), n, last_offset, max_timestamp, offset_of_max_timestamp
        )

    cdef int64_t records_in(
        self, int64_t offset, int64_t size, int64_t upper, bint cut
    ) noexcept:
        cdef int64_t all_of_them = min(upper, self.next_offset) - offset
        cdef int64_t average
        if not cut or self.size <= 0:
            return max(all_of_them, 0)
        average = <int64_t>(<double>size * (self.next_offset - self.base_offset) / self.size)
        return max(min(all_of_them, average), 0)

    cdef int locate(self, int64_t target, BatchLocation *location) noexcept:
        cdef int64_t low
        cdef int64_t high
        cdef int64_t middle
        cdef RecentBatch *found
        cdef OffsetPosition start
        cdef int status, code
        if target >= self.next_offset:
            return LOCATE_BEYOND
        if self.recent_count > 0:
            high = self.recent_count - 1
            low = self.recent_count - RECENT_BATCHES
            if low < 0:
                low = 0
            if target >= self.recent[low & (RECENT_BATCHES - 1)].base_offset:
                # smallest noted batch whose last offset is >= target
                while low < high:
                    middle = (low + high) >> 1
                    if self.recent[middle & (RECENT_BATCHES - 1)].last_offset >= target:
                        high = middle
                    else:
                        low = middle + 1
                found = &self.recent[low & (RECENT_BATCHES - 1)]
                location.position = found.position
                location.base_offset = found.base_offset
                location.last_offset = found.last_offset
                if low == self.recent_count - 1:
                    location.size = self.size - found.position
                else:
                    location.size = (
                        self.recent[(low + 1) & (RECENT_BATCHES - 1)].position - found.position
                    )
                return LOCATE_FOUND
        code = self.wake()
        if code:
            location.io_errno = code
            return LOCATE_IO
        start = self.offset_index.lookup(target)
        status = self.scan_from(start, target, location)
        if status == LOCATE_CORRUPT and start.position != 0:
            # The entry may be what is wrong, and not the batch: once more from the one before it.
            status = self.scan_from(self.offset_index.lookup(start.offset - 1), target, location)
        if status == LOCATE_FOUND and location.last_offset >= self.next_offset:
            # A base offset has no checksum: nobody may be sent to where the segment does not reach.
            return LOCATE_CORRUPT
        return status

    cdef int scan_from(
        self, OffsetPosition start, int64_t target, BatchLocation *location
    ) noexcept:
        # An entry names the last offset of its batch, or of several that were appended together:
        # where a later batch stands, it would lead past those in between.
        cdef int64_t first_offset_max = start.offset if start.position else INT64_MAX
        return scan_forward(
            self.fd, start.position, self.size, target, first_offset_max, location
        )

    # ---- for storage/ and tests

    @property
    def log_path(self):
        return f"{self.directory}/{self.base_offset:020d}.log"

    def restore(
        self,
        *,
        int64_t rolling_based_timestamp,
        int64_t max_timestamp,
        int64_t offset_of_max_timestamp,
        int64_t last_modified_ms,
        int64_t bytes_since_index_entry=0,
    ):
        """Sets what a loader found in the files."""
        self.rolling_based_timestamp = rolling_based_timestamp
        self.max_timestamp = max_timestamp
        self.offset_of_max_timestamp = offset_of_max_timestamp
        self.last_modified_ms = last_modified_ms
        self.bytes_since_index_entry = bytes_since_index_entry

    def resize(self, int64_t size, int64_t next_offset):
        """The file was cut to `size`, behind which `next_offset` follows. Before it is in use."""
        if size > self.size or next_offset > self.next_offset or self.recent_count:
            raise InvariantError(f"{self!r} cannot be cut to {size}")
        self.size = size
        self.next_offset = next_offset

    def seal(self):
        """Ends the appends: the final entry of the time index is written, the files not yet cut."""
        self.time_index.maybe_append(self.max_timestamp, self.offset_of_max_timestamp, True)
        self.sealed = True

    def unseal(self):
        """Takes appends again; the caller has given the indexes room."""
        self.sealed = False

    def set_index_interval_bytes(self, int64_t index_interval_bytes):
        self.index_interval_bytes = index_interval_bytes

    def set_trimmed(self, bint trimmed):
        """Whether the files are trimmed and synced. Raises OSError: not to be opened again."""
        if trimmed:
            self.touch()
        else:
            self.take_file()
            self.unlist()
        self.trimmed = trimmed

    def set_damaged(self, positions):
        """Where reading is an error: positions of bad batches; `size` when the end is lost."""
        self.damaged = tuple(sorted(set(positions))) or None

    def set_allocated_bytes(self, int64_t allocated_bytes):
        """The file system holds blocks ready up to this position."""
        self.allocated_bytes = allocated_bytes

    def moved_to(self, str directory not None):
        """The folder was renamed."""
        self.directory = directory
        for index in (self.offset_index, self.time_index):
            index.moved_to(os.path.join(directory, os.path.basename(index.path)))
        if self.txn_index is not None:
            self.txn_index.moved_to(
                os.path.join(directory, os.path.basename(self.txn_index.path))
            )

    def append_batch(
        self, const uint8_t[::1] data not None, int64_t last_offset, int64_t max_timestamp,
        int64_t now_ms=0,
    ):
        """append() of one batch whose base offset is stamped. For tests and tools."""
        if data.shape[0] < BATCH_OVERHEAD:
            raise ValueError("not a batch")
        self.append(&data[0], data.shape[0], last_offset, max_timestamp, last_offset, now_ms)

    def offset_behind(self, int64_t position):
        """An offset that all batches before `position` lie below, by the index: at most an interval
        of it too large."""
        cdef int64_t low = 0
        cdef int64_t high = self.offset_index.entries
        cdef int64_t middle
        while low < high:
            middle = (low + high) >> 1
            if self.offset_index.entry(middle)[1] < position:
                low = middle + 1
            else:
                high = middle
        if low == self.offset_index.entries:
            return self.next_offset
        return self.offset_index.entry(low)[0] + 1

    def find(self, int64_t target):
        """(position, size, base_offset) of the batch that holds `target` or the next one, or None.

        Raises CorruptSegmentError and OSError.
        """
        cdef BatchLocation location
        cdef int status = self.locate(target, &location)
        if status == LOCATE_FOUND:
            return location.position, location.size, location.base_offset
        if status == LOCATE_BEYOND:
            return None
        if status == LOCATE_CORRUPT:
            raise CorruptSegmentError(f"{self.log_path} holds no batch where {target} should be")
        raise OSError(location.io_errno, os.strerror(location.io_errno), self.log_path)

    def scan(self, int64_t target, int64_t position):
        """find() by reading headers from `position` on, without indexes."""
        cdef BatchLocation location
        cdef int status
        cdef LogFile file = self.take_file()
        cdef int fd = file.fd
        cdef int64_t end = self.size
        with nogil:
            status = scan_forward(fd, position, end, target, INT64_MAX, &location)
        if status == LOCATE_FOUND:
            return location.position, location.size, location.base_offset
        if status == LOCATE_BEYOND:
            return None
        if status == LOCATE_CORRUPT:
            raise CorruptSegmentError(f"{self.log_path} holds no batch where {target} should be")
        raise OSError(location.io_errno, os.strerror(location.io_errno), self.log_path)

    def read_at(self, int64_t position, int64_t n):
        """Up to n bytes at `position`, never behind `size`."""
        if position < 0 or n < 0:
            raise ValueError("negative position or size")
        if n > self.size - position:
            n = self.size - position
        if n <= 0:
            return b""
        if n > MAX_READ:
            n = MAX_READ
        cdef LogFile file = self.take_file()
        return os.pread(file.fd, n, position)

    def __repr__(self):
        return f"Segment({self.log_path}, size={self.size}, next_offset={self.next_offset})"
