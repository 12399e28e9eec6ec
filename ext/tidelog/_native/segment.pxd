"""One segment: a .log file and its two indexes (contract).

The loop thread appends and looks up; helper threads create, flush, trim and unlink the files. Every
answer that still sends from a segment holds its LogFile: the descriptor closes when the last one
goes, so a segment that retention has deleted stays readable for them.
"""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t

from tidelog._native.index cimport OffsetIndex, OffsetPosition, TimeIndex
from tidelog._native.log_file cimport FileHolder

cdef enum:
    RECENT_BATCHES = 64  # power of two

# What locate() and scan_forward() answer.
cdef enum:
    LOCATE_FOUND = 0
    LOCATE_BEYOND = 1  # no batch with such an offset in this segment
    LOCATE_CORRUPT = 2  # a header that cannot be one stands in the way
    LOCATE_IO = 3  # errno is in BatchLocation.io_errno

cdef struct BatchLocation:
    int64_t position
    int64_t size
    int64_t base_offset
    int64_t last_offset
    int io_errno

cdef struct RecentBatch:
    int64_t base_offset
    int64_t last_offset
    int64_t position

@cython.final
cdef class Segment(FileHolder):  # the file: the .log, O_RDWR
    cdef readonly int64_t base_offset
    cdef readonly str directory
    cdef readonly int64_t size  # bytes of valid batches
    cdef readonly int64_t next_offset  # behind the last batch, base_offset when empty
    cdef readonly int64_t created_ms
    cdef readonly OffsetIndex offset_index
    cdef readonly TimeIndex time_index
    cdef readonly int64_t index_interval_bytes
    cdef readonly int64_t bytes_since_index_entry
    cdef readonly int64_t rolling_based_timestamp  # largest of the first batch; -1 when none
    cdef readonly int64_t max_timestamp  # largest so far, -1 when none
    cdef readonly int64_t offset_of_max_timestamp  # last offset of the batch that brought it
    cdef readonly int64_t last_modified_ms
    cdef readonly bint sealed  # no further appends; the indexes may be trimmed
    # Files trimmed and synced: recovery need not look at this segment, and it may lose its file.
    cdef readonly bint trimmed
    cdef public object txn_index  # storage.txn_index; None until the first aborted transaction
    cdef public object write_hook  # None, or what appends go through (WriteHook): fault tests
    cdef readonly bint torn  # bytes of a failed append may stand behind `size`
    cdef readonly int64_t allocated_bytes  # reserved by fallocate up to here (preallocate)
    # Positions of what is known to be bad, ascending; `size`: the end of the file is lost. Or None.
    cdef readonly tuple damaged
    cdef RecentBatch *recent  # ring of the last batches appended; NULL until the first one
    cdef int64_t recent_count  # noted in all

    # Writes n bytes at `size` (all of them), then indexes if due. When that fails the file is cut
    # back to `size`, nothing here has changed, and OSError is raised.
    # `offset_of_max_timestamp` is the last offset of the batch, as in Kafka's time index.
    cdef int append(self, const uint8_t *data, int64_t n, int64_t last_offset,
                    int64_t max_timestamp, int64_t offset_of_max_timestamp,
                    int64_t now_ms) except -1
    # The first damaged position from `position` on; INT64_MAX: none.
    cdef int64_t damage_from(self, int64_t position) except -1
    # The two halves of append, for regions of several batches: write all, then note each batch.
    # reserve_index must have been called before (it can fail, note_batch cannot for lack of space).
    cdef int reserve_index(self, int64_t batches) except -1
    cdef int write(self, const uint8_t *data, int64_t n) except -1
    cdef int cut_back(self) except -1
    cdef int note_batch(self, int64_t base_offset, int64_t n, int64_t last_offset,
                        int64_t max_timestamp, int64_t offset_of_max_timestamp) except -1

    # How many offsets a region of `size` bytes from `offset` on, below `upper`, holds; of one that
    # was cut somewhere, as many as this segment has in so many bytes on the average.
    cdef int64_t records_in(
        self, int64_t offset, int64_t size, int64_t upper, bint cut
    ) noexcept

    # First batch whose last offset is >= target. Recent batches are found without any I/O, others
    # by the index and preads of headers. LOCATE_*.
    cdef int locate(self, int64_t target, BatchLocation *location) noexcept
    cdef int scan_from(self, OffsetPosition start, int64_t target,
                       BatchLocation *location) noexcept

# The same by preads alone, from `position` (the start of a batch) up to `end`; LOCATE_CORRUPT, too,
# when no batch can start there, or the first one's base offset is above `first_offset_max`.
cdef int scan_forward(int fd, int64_t position, int64_t end, int64_t target,
                      int64_t first_offset_max, BatchLocation *location) noexcept nogil
