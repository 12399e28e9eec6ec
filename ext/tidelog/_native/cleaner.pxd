"""The pass of the log cleaner over one segment after the other (contract).

Runs on a helper thread, without the GIL but where it returns: then the caller does what the step
says (see cleaner.pyi) and calls again. Memory is bounded by one chunk, the largest batch and what
comes out of it.
"""

cimport cython
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from tidelog._native.batch cimport BatchInfo
from tidelog._native.offset_map cimport OffsetMap

cdef enum:
    STEP_END = 0  # the segment is done
    STEP_SLICE = 1  # a slice is done
    STEP_FULL = 2  # index(): the map is full
    STEP_ASK = 3  # a transactional or control batch: decide()
    STEP_OPEN = 4  # a compressed batch: give_payload()
    STEP_PACK = 5  # copy(): records to be compressed: pack()
    STEP_WRITE = 6  # copy(): output to be written: take_output()
    STEP_BAD = 7  # bytes that are no good batch: `problem`
    STEP_IO = 8  # a read failed: `io_errno`
    STEP_MEMORY = 9  # no memory

# What a batch keeps.
cdef struct Kept:
    int32_t count
    bint tombstones
    int64_t first_timestamp
    int64_t max_timestamp

cdef struct LastOfProducer:
    int64_t producer_id
    int64_t last_data_offset  # -1: none, its epoch stands in a marker
    int16_t producer_epoch

cdef struct Growing:
    uint8_t *data
    int64_t size
    int64_t capacity

@cython.final
cdef class CleanerPass:
    cdef readonly OffsetMap map
    cdef readonly int64_t now_ms
    cdef readonly int64_t delete_retention_ms
    cdef readonly int64_t end_of_round  # the batch that ends there stays, if only as a header
    cdef LastOfProducer *producers  # ascending by id
    cdef Py_ssize_t producers_count
    # the segment
    cdef object file  # what keeps fd open
    cdef int fd
    cdef int64_t end
    cdef readonly int64_t position  # of the next batch
    cdef int64_t least_offset  # no batch begins below
    cdef int64_t base_offset
    cdef Growing chunk
    cdef int64_t chunk_start
    cdef int64_t begun  # what the kernel reads, or has read, up to; -1: nothing
    cdef int64_t chunk_bytes
    cdef readonly int64_t slice_bytes
    cdef int64_t slice_left
    # the batch at `position`
    cdef BatchInfo info
    cdef bint loaded
    cdef bint decided
    cdef bint discard
    cdef bint opened
    cdef bytes payload
    cdef const uint8_t *records
    cdef int64_t records_bytes
    cdef Kept kept
    cdef int64_t horizon_ms  # of the batch that comes out; -1: none
    # what comes out
    cdef Growing keeps  # one byte for each record
    cdef Growing packing  # records that are to be compressed
    cdef Growing out
    cdef readonly int64_t write_bytes  # so much is collected before it is to be written
    # counters of everything since it was made
    cdef readonly int64_t records_read
    cdef readonly int64_t records_kept
    cdef readonly int64_t records_indexed
    cdef readonly int64_t keyless_records
    cdef readonly int64_t bytes_read
    cdef readonly int64_t bytes_kept
    cdef readonly int io_errno
    cdef readonly str problem

    cdef int fill(self, int64_t needed) noexcept nogil
    cdef int load(self) noexcept nogil
    cdef const uint8_t *batch(self) noexcept nogil
    cdef int ready(self) noexcept nogil
    cdef void leave(self) noexcept nogil
    cdef int run_index(self, int64_t start_offset) noexcept nogil
    cdef int index_records(self, int64_t start_offset) noexcept nogil
    cdef int run_copy(self) noexcept nogil
    cdef int copy_batch(self) noexcept nogil
    cdef int choose_records(self) noexcept nogil
    cdef bint keeps_last_of_producer(self) noexcept nogil
    cdef int put_empty(self) noexcept nogil
    cdef int rewrite(self) noexcept nogil
    cdef int64_t new_base_timestamp(self) noexcept nogil
    cdef int put_batch(self, const uint8_t *records, int64_t size, int codec) noexcept nogil
