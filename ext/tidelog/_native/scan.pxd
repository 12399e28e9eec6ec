"""Walk over the batches of a .log file, for recovery and for searches by time (contract).

Runs on helper threads: reading and checking release the GIL, since a whole segment (up to 2 GiB)
may be read; producer state and index entries are taken over with the GIL held, between chunks.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t

from tidelog._native.batch cimport BatchInfo
from tidelog._native.producer_state cimport ProducerStates

# Why a scan ended. Everything but SCAN_END is a place where the log is cut or a read fails.
cdef enum:
    SCAN_END = 0
    SCAN_SHORT = 1  # less than a batch is left
    SCAN_HEADER = 2  # bytes that are no batch header
    SCAN_CRC = 3
    SCAN_ORDER = 4  # an offset that does not ascend
    SCAN_RANGE = 5  # an offset that is not within 31 bits of the segment's base
    SCAN_IO = 6

# CRC work of one resync() at most, in sizes of the file: candidates are rare but for malice.
cdef enum:
    RESYNC_PASSES = 4

# What is kept of a batch until the GIL is held again.
cdef struct Noted:
    BatchInfo info
    int64_t position
    bint damaged
    int64_t bad_from  # unreadable bytes stand between this position and the batch; -1: none
    int64_t bad_offset  # the offset that should have stood there

cdef class SegmentScanner:
    cdef readonly int fd
    cdef readonly object file  # what keeps fd open, if somebody else might close it
    cdef readonly int64_t base_offset
    cdef readonly int64_t end  # of the file, or where to stop
    cdef readonly int64_t verify_from  # CRCs are checked from this position on
    cdef readonly int64_t keep_below  # offset: what is bad below is kept, and told
    cdef readonly int64_t index_interval_bytes
    cdef readonly int64_t valid_bytes  # position behind the last good batch
    cdef readonly int64_t batches
    cdef readonly int64_t next_offset
    cdef readonly int64_t first_timestamp  # max_timestamp of the first batch; -1
    cdef readonly int64_t max_timestamp
    cdef readonly int64_t offset_of_max_timestamp
    cdef readonly int64_t bytes_since_index_entry
    # (producer id, first offset, marker's offset, last stable offset then) that replay() met
    cdef readonly list aborted
    cdef readonly list damaged  # (position, offset) of what is bad and was kept
    cdef readonly int reason
    cdef readonly int io_errno
    cdef Noted *noted
    cdef Py_ssize_t noted_count
    cdef uint8_t *heads  # the raw headers of the noted batches; NULL: nobody wants them
    cdef uint8_t *chunk
    cdef int64_t chunk_capacity
    cdef int64_t chunk_start
    cdef int64_t begun  # what the kernel reads, or has read, up to; -1: nothing
    cdef int64_t chunk_size

    cdef int fill(self, int64_t position, int64_t needed) noexcept nogil
    cdef int read_batch(self, BatchInfo *info, bint *damaged) noexcept nogil
    # Whether what stands at `position` can be the batch that follows `last_offset`.
    cdef bint plausible_at(self, int64_t position, int64_t last_offset) noexcept nogil
    cdef bint check_crc(self, const BatchInfo *info) noexcept nogil
    # Goes on at the next batch with a good checksum behind valid_bytes, if that stands below
    # keep_below: one damaged header must not cost what was synced behind it.
    cdef bint resync(self) noexcept nogil
    cdef bint is_batch(self, int64_t position, int64_t *budget) noexcept nogil
    cdef void collect(self) noexcept nogil
    cdef int replay(self, ProducerStates producers, const Noted *note) except -1
