"""The pass of the log cleaner over segments (see cleaner.pxd for the contract, cleaner.pyi for how
it is driven).

Owned by one cleaning. It reads files that others opened, decides about records as Kafka's cleaner
does, and collects what stays; it never opens, writes, renames or removes a file, and never decides
about transactions: those it asks for. A batch of which everything stays is copied byte for byte.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EINTR, errno
from libc.stdint cimport INT32_MAX, int16_t, int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove

from tidelog._native.batch cimport (
    ATTR_CODEC_MASK,
    ATTR_CONTROL,
    ATTR_DELETE_HORIZON,
    ATTR_LOG_APPEND_TIME,
    ATTR_TRANSACTIONAL,
    BATCH_OVERHEAD,
    CODEC_NONE,
    LOG_OVERHEAD,
    crc_ok,
    parse_header,
)
from tidelog._native.log_file cimport LogFile
from tidelog._native.offset_map cimport OffsetMap
from tidelog._native.page_cache cimport page_cache_keep_ahead
from tidelog._native.rewrite cimport MAX_RECORD_GROWTH, put_header, put_kept
from tidelog._native.wire cimport WIRE_OK, wire_cursor

from tidelog.errors import InvariantError

cdef extern from "slices.h" nogil:
    void slices_ask_for(uint64_t ns) noexcept
    uint64_t SLICES_LONGEST_NS

cdef extern from "batch.h" nogil:
    ctypedef struct tl_record:
        int64_t timestamp_delta
        const uint8_t *key
        const uint8_t *value
        const uint8_t *headers
        int32_t offset_delta
        int32_t key_size
        int32_t value_size
        int32_t headers_count

    int tl_next_record(wire_cursor *c, tl_record *r) noexcept
    int64_t tl_wrapping_add(int64_t a, int64_t b) noexcept

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <unistd.h>
    """
    ssize_t pread(int fd, void *data, size_t n, long offset) noexcept nogil

cdef enum:
    MIN_RECORD_BYTES = 7
    NO_TIMESTAMP = -1
    AHEAD_CHUNKS = 4  # are read by the kernel while one is looked at

END = STEP_END
SLICE = STEP_SLICE
FULL = STEP_FULL
ASK = STEP_ASK
OPEN = STEP_OPEN
PACK = STEP_PACK
WRITE = STEP_WRITE
BAD = STEP_BAD
IO = STEP_IO
MEMORY = STEP_MEMORY


cdef bint make_room(Growing *buffer, int64_t more) noexcept nogil:
    cdef int64_t wanted = buffer.size + more
    cdef uint8_t *data
    if wanted <= buffer.capacity:
        return True
    if wanted < buffer.capacity + buffer.capacity // 2:
        wanted = buffer.capacity + buffer.capacity // 2
    data = <uint8_t *>realloc(buffer.data, <size_t>wanted)
    if data == NULL:
        return False
    buffer.data = data
    buffer.capacity = wanted
    return True


@cython.final
cdef class CleanerPass:
    """One cleaning's pass, with the limits and the state that hold for all its segments.

    `producers`: (producer id, last data offset or -1, epoch) of the active ones. `chunk_bytes`:
    what is read at a time; `slice_bytes`, `write_bytes`: after how much it comes back, and how much
    it collects to be written (at least a chunk).
    """

    def __cinit__(self, *args, **kwargs):
        self.fd = -1
        self.producers = NULL

    def __init__(
        self,
        OffsetMap map not None,
        *,
        int64_t chunk_bytes,
        int64_t slice_bytes=0,
        int64_t write_bytes=0,
        int64_t now_ms=0,
        int64_t delete_retention_ms=0,
        int64_t end_of_round=-1,
        producers=(),
    ):
        self.map = map
        self.now_ms = now_ms
        self.delete_retention_ms = delete_retention_ms
        self.end_of_round = end_of_round
        self.chunk_bytes = max(chunk_bytes, BATCH_OVERHEAD)
        self.slice_bytes = max(slice_bytes, self.chunk_bytes)
        self.write_bytes = max(write_bytes, self.chunk_bytes)
        self.problem = ""
        self.set_producers(producers)
        if not make_room(&self.chunk, self.chunk_bytes):
            raise MemoryError

    def __dealloc__(self):
        free(self.producers)
        free(self.chunk.data)
        free(self.keeps.data)
        free(self.packing.data)
        free(self.out.data)

    def set_producers(self, producers):
        """(producer id, last data offset or -1, epoch) of those that are active now."""
        cdef Py_ssize_t i
        rows = sorted(producers)
        free(self.producers)
        self.producers_count = 0
        self.producers = <LastOfProducer *>malloc((len(rows) + 1) * sizeof(LastOfProducer))
        if self.producers == NULL:
            raise MemoryError
        for i in range(len(rows)):
            producer_id, last_data_offset, epoch = rows[i]
            self.producers[i] = LastOfProducer(producer_id, last_data_offset, epoch)
        self.producers_count = len(rows)

    def begin(self, LogFile file not None, int64_t base_offset, int64_t size, int64_t position=0):
        """Goes to another segment: its batches from `position` up to `size`."""
        self.file = file
        self.fd = file.fd
        self.base_offset = self.least_offset = base_offset
        self.end = size
        self.position = position
        self.chunk_start = position
        self.chunk.size = 0
        self.begun = -1
        self.slice_left = self.slice_bytes
        self.loaded = self.decided = self.opened = False

    # ---- reading

    cdef int fill(self, int64_t needed) noexcept nogil:
        # Has `needed` bytes from `position` on in the chunk; the caller knows that the file has
        # them.
        cdef int64_t kept = self.chunk_start + self.chunk.size - self.position
        cdef int64_t wanted, at
        cdef ssize_t got
        if self.position >= self.chunk_start and kept >= needed:
            return STEP_END
        if self.position < self.chunk_start or kept < 0:
            kept = 0
        if kept > 0:
            memmove(self.chunk.data, self.batch(), <size_t>kept)
        self.chunk_start = self.position
        self.chunk.size = kept
        if not make_room(&self.chunk, needed - kept):
            return STEP_MEMORY
        while self.chunk.size < needed:
            at = self.position + self.chunk.size
            wanted = min(max(needed, self.chunk_bytes) - self.chunk.size, self.end - at)
            self.begun = page_cache_keep_ahead(
                self.fd, self.begun, at, at + wanted, AHEAD_CHUNKS * self.chunk_bytes, self.end
            )
            got = pread(self.fd, self.chunk.data + self.chunk.size, <size_t>wanted, at)
            if got < 0 and errno == EINTR:
                continue
            if got < 0:
                self.io_errno = errno
                return STEP_IO
            if got == 0:
                return STEP_BAD
            self.chunk.size += got
        return STEP_END

    cdef const uint8_t *batch(self) noexcept nogil:
        return self.chunk.data + (self.position - self.chunk_start)

    cdef int load(self) noexcept nogil:
        # The batch at `position`: whole, with a good checksum, behind the one before.
        cdef int64_t left = self.end - self.position
        cdef int status
        if left < BATCH_OVERHEAD:
            return STEP_BAD
        status = self.fill(BATCH_OVERHEAD)
        if status != STEP_END:
            return status
        if parse_header(self.batch(), BATCH_OVERHEAD, &self.info) != 0:
            return STEP_BAD
        if (
            self.info.last_offset_delta < 0
            or self.info.records_count < 0
            or self.info.size > left
            or self.info.base_offset < self.least_offset
            or self.info.base_offset + self.info.last_offset_delta - self.base_offset > INT32_MAX
        ):
            return STEP_BAD
        status = self.fill(self.info.size)
        if status != STEP_END:
            return status
        if not crc_ok(self.batch(), &self.info):
            return STEP_BAD
        self.loaded = True
        self.decided = not self.info.attributes & (ATTR_TRANSACTIONAL | ATTR_CONTROL)
        self.discard = False
        self.opened = (
            self.info.attributes & ATTR_CODEC_MASK == CODEC_NONE or self.info.records_count == 0
        )
        self.records = self.batch() + BATCH_OVERHEAD
        self.records_bytes = self.info.size - BATCH_OVERHEAD
        return STEP_END

    cdef int ready(self) noexcept nogil:
        # STEP_END when the batch at `position` is loaded and nothing has to be asked about it.
        cdef int status
        if not self.loaded:
            if self.slice_left <= 0:
                self.slice_left = self.slice_bytes
                return STEP_SLICE
            status = self.load()
            if status != STEP_END:
                return status
        if not self.decided:
            return STEP_ASK
        return STEP_END

    cdef void leave(self) noexcept nogil:
        self.loaded = False
        self.position += self.info.size
        self.slice_left -= self.info.size
        self.least_offset = self.info.base_offset + self.info.last_offset_delta + 1

    # ---- the map

    cdef int run_index(self, int64_t start_offset) noexcept nogil:
        cdef int status
        cdef int64_t last_offset
        while self.position < self.end:
            status = self.ready()
            if status != STEP_END:
                return status
            last_offset = self.info.base_offset + self.info.last_offset_delta
            if last_offset >= start_offset:
                if self.info.attributes & ATTR_CONTROL or self.discard:
                    self.records_indexed += self.info.records_count
                else:
                    if not self.opened:
                        return STEP_OPEN
                    status = self.index_records(start_offset)
                    if status != STEP_END:
                        return status
                self.map.reach(last_offset)
            self.bytes_read += self.info.size
            self.leave()
        return STEP_END

    cdef int index_records(self, int64_t start_offset) noexcept nogil:
        cdef wire_cursor c
        cdef tl_record r
        cdef int32_t _
        cdef int32_t last_delta = -1
        cdef int64_t offset
        c.pos = self.records
        c.end = self.records + self.records_bytes
        for _ in range(self.info.records_count):
            if tl_next_record(&c, &r) != WIRE_OK:
                return STEP_BAD
            if r.offset_delta <= last_delta or r.offset_delta > self.info.last_offset_delta:
                return STEP_BAD
            last_delta = r.offset_delta
            offset = self.info.base_offset + r.offset_delta
            if r.key_size >= 0 and offset >= start_offset:
                if not self.map.put(r.key, r.key_size, offset):
                    return STEP_FULL
            self.records_indexed += 1
        return STEP_END if c.pos == c.end else STEP_BAD

    # ---- the copy

    cdef int run_copy(self) noexcept nogil:
        cdef int status
        while self.position < self.end:
            if self.out.size >= self.write_bytes:
                return STEP_WRITE
            status = self.ready()
            if status != STEP_END:
                return status
            status = self.copy_batch()
            if status != STEP_END:
                return status
            self.bytes_read += self.info.size
            self.records_read += self.info.records_count
            self.leave()
        return STEP_WRITE if self.out.size else STEP_END

    cdef int copy_batch(self) noexcept nogil:
        # The batch that comes out of the one at `position`, if any.
        cdef bint is_control = (self.info.attributes & ATTR_CONTROL) != 0
        cdef bint has_horizon = (self.info.attributes & ATTR_DELETE_HORIZON) != 0
        cdef bint removed = self.discard
        cdef int64_t before = self.out.size
        cdef int status
        if is_control and removed:
            # The marker of a transaction without data goes once its own horizon is behind.
            removed = has_horizon and self.info.base_timestamp <= self.now_ms
        if removed or self.info.records_count == 0:
            self.kept.count = 0
        else:
            if not self.opened:
                return STEP_OPEN
            status = self.choose_records()
            if status != STEP_END:
                return status
        if self.kept.count == 0:
            if self.keeps_last_of_producer() or (
                self.info.base_offset + self.info.last_offset_delta + 1 == self.end_of_round
            ):
                return self.put_empty()
            return STEP_END
        if has_horizon:
            self.horizon_ms = self.info.base_timestamp
        elif self.kept.tombstones or (is_control and self.discard):
            self.horizon_ms = tl_wrapping_add(self.now_ms, self.delete_retention_ms)
            has_horizon = True
            return self.rewrite()
        else:
            self.horizon_ms = NO_TIMESTAMP
        if self.kept.count < self.info.records_count:
            return self.rewrite()
        if not make_room(&self.out, self.info.size):
            return STEP_MEMORY
        memcpy(self.out.data + before, self.batch(), <size_t>self.info.size)
        self.out.size += self.info.size
        self.records_kept += self.kept.count
        self.bytes_kept += self.info.size
        return STEP_END

    cdef int choose_records(self) noexcept nogil:
        # Which records stay; the batch is neither discarded nor empty.
        cdef wire_cursor c
        cdef tl_record r
        cdef int32_t i
        cdef int32_t last_delta = -1
        cdef int64_t offset, timestamp
        cdef bint is_control = (self.info.attributes & ATTR_CONTROL) != 0
        cdef bint append_time = (self.info.attributes & ATTR_LOG_APPEND_TIME) != 0
        cdef bint tombstones_go = (
            self.info.attributes & ATTR_DELETE_HORIZON and self.now_ms >= self.info.base_timestamp
        )
        cdef bint stays
        self.kept = Kept(0, False, NO_TIMESTAMP, NO_TIMESTAMP)
        if self.info.records_count > self.records_bytes // MIN_RECORD_BYTES:
            return STEP_BAD
        self.keeps.size = 0
        if not make_room(&self.keeps, self.info.records_count):
            return STEP_MEMORY
        c.pos = self.records
        c.end = self.records + self.records_bytes
        for i in range(self.info.records_count):
            if tl_next_record(&c, &r) != WIRE_OK:
                return STEP_BAD
            if r.offset_delta <= last_delta or r.offset_delta > self.info.last_offset_delta:
                return STEP_BAD
            last_delta = r.offset_delta
            offset = self.info.base_offset + r.offset_delta
            if is_control or offset > self.map.latest_offset:
                stays = True
            elif r.key_size < 0:
                self.keyless_records += 1
                stays = False
            else:
                stays = not (tombstones_go and r.value_size < 0) and (
                    offset >= self.map.get(r.key, r.key_size)
                )
            self.keeps.data[i] = stays
            if not stays:
                continue
            if append_time:
                timestamp = self.info.max_timestamp
            else:
                timestamp = tl_wrapping_add(self.info.base_timestamp, r.timestamp_delta)
            if self.kept.count == 0:
                self.kept.first_timestamp = timestamp
            if timestamp > self.kept.max_timestamp:
                self.kept.max_timestamp = timestamp
            self.kept.count += 1
            if r.value_size < 0:
                self.kept.tombstones = True
        return STEP_END if c.pos == c.end else STEP_BAD

    cdef bint keeps_last_of_producer(self) noexcept nogil:
        # Whether the state of an active producer stands in this batch and nowhere behind it.
        cdef Py_ssize_t low = 0
        cdef Py_ssize_t high = self.producers_count
        cdef Py_ssize_t middle
        cdef LastOfProducer *found
        if self.info.producer_id < 0:
            return False
        while low < high:
            middle = (low + high) >> 1
            if self.producers[middle].producer_id < self.info.producer_id:
                low = middle + 1
            else:
                high = middle
        if low == self.producers_count:
            return False
        found = &self.producers[low]
        if found.producer_id != self.info.producer_id:
            return False
        if found.last_data_offset >= 0:
            return found.last_data_offset == self.info.base_offset + self.info.last_offset_delta
        return (self.info.attributes & ATTR_CONTROL) != 0 and (
            found.producer_epoch == self.info.producer_epoch
        )

    # ---- batches that become others

    cdef int put_empty(self) noexcept nogil:
        # Offsets, producer, sequence and epoch without a record.
        self.horizon_ms = NO_TIMESTAMP
        self.kept = Kept(0, False, NO_TIMESTAMP, self.info.max_timestamp)
        return self.put_batch(NULL, 0, CODEC_NONE)

    cdef int64_t new_base_timestamp(self) noexcept nogil:
        return self.kept.first_timestamp if self.horizon_ms < 0 else self.horizon_ms

    cdef int rewrite(self) noexcept nogil:
        cdef int codec = self.info.attributes & ATTR_CODEC_MASK
        cdef int64_t most = self.records_bytes + <int64_t>MAX_RECORD_GROWTH * self.kept.count
        cdef int64_t base_timestamp = self.new_base_timestamp()
        cdef int64_t start = self.out.size
        cdef int64_t size
        if self.info.attributes & ATTR_LOG_APPEND_TIME:
            self.kept.max_timestamp = self.info.max_timestamp
        if codec == CODEC_NONE:
            if not make_room(&self.out, BATCH_OVERHEAD + most):
                return STEP_MEMORY
            size = put_kept(
                self.records, self.records_bytes, &self.info, self.keeps.data, base_timestamp,
                self.out.data + start + BATCH_OVERHEAD,
            )
            return self.put_batch(self.out.data + start + BATCH_OVERHEAD, size, codec)
        self.packing.size = 0
        if not make_room(&self.packing, most):
            return STEP_MEMORY
        self.packing.size = put_kept(
            self.records, self.records_bytes, &self.info, self.keeps.data, base_timestamp,
            self.packing.data,
        )
        return STEP_PACK

    cdef int put_batch(self, const uint8_t *records, int64_t size, int codec) noexcept nogil:
        # A header and `size` bytes of records, which may stand in their place already.
        cdef uint8_t *start
        cdef int16_t attributes = self.info.attributes & (
            ATTR_LOG_APPEND_TIME | ATTR_TRANSACTIONAL | ATTR_CONTROL
        )
        cdef int64_t base_timestamp = NO_TIMESTAMP
        if LOG_OVERHEAD + size > INT32_MAX - BATCH_OVERHEAD:
            return STEP_BAD
        if not make_room(&self.out, BATCH_OVERHEAD + size):
            return STEP_MEMORY
        attributes |= codec
        if self.kept.count:
            base_timestamp = self.new_base_timestamp()
        if self.horizon_ms >= 0:
            attributes |= ATTR_DELETE_HORIZON
        start = self.out.data + self.out.size
        if size and records != start + BATCH_OVERHEAD:
            memcpy(start + BATCH_OVERHEAD, records, <size_t>size)
        put_header(
            start, &self.info, attributes, base_timestamp, self.kept.max_timestamp,
            self.kept.count, size,
        )
        size += BATCH_OVERHEAD
        self.out.size += size
        self.records_kept += self.kept.count
        self.bytes_kept += size
        return STEP_END

    # ---- steps, for storage.cleaner_pass

    def index(self, int64_t start_offset):
        """Puts the keys of the segment's records from `start_offset` on into the map."""
        cdef int step
        with nogil:
            slices_ask_for(SLICES_LONGEST_NS)
            step = self.run_index(start_offset)
            slices_ask_for(0)
        return self.told(step)

    def copy(self):
        """Collects what stays of the segment."""
        cdef int step
        with nogil:
            slices_ask_for(SLICES_LONGEST_NS)
            step = self.run_copy()
            slices_ask_for(0)
        return self.told(step)

    def told(self, int step):
        """Says what is wrong before a step is handed out."""
        if step == STEP_BAD:
            self.problem = f"no good batch at position {self.position}"
        elif step == STEP_MEMORY:
            raise MemoryError
        return step

    @property
    def codec(self):
        """Of the batch that the last step was about; as the other properties."""
        return self.info.attributes & ATTR_CODEC_MASK

    @property
    def batch_bytes(self):
        """A copy of the batch."""
        return PyBytes_FromStringAndSize(<const char *>self.batch(), self.info.size)

    @property
    def batch_size(self):
        return self.info.size

    @property
    def producer_id(self):
        return self.info.producer_id

    @property
    def last_offset(self):
        return self.info.base_offset + self.info.last_offset_delta

    @property
    def is_control(self):
        return (self.info.attributes & ATTR_CONTROL) != 0

    def decide(self, bint discard):
        """After ASK: whether the batch may go, for what is known of its transaction."""
        self.decided = True
        self.discard = discard

    def payload_bytes(self):
        """After OPEN: the records, as they are stored."""
        return PyBytes_FromStringAndSize(
            <const char *>self.batch() + BATCH_OVERHEAD, self.info.size - BATCH_OVERHEAD
        )

    def give_payload(self, bytes payload not None):
        """After OPEN: the same, decompressed."""
        self.payload = payload
        self.records = <const uint8_t *>PyBytes_AS_STRING(payload)
        self.records_bytes = PyBytes_GET_SIZE(payload)
        self.opened = True

    def packing_bytes(self):
        """After PACK: the records that stay."""
        return PyBytes_FromStringAndSize(<const char *>self.packing.data, self.packing.size)

    def pack(self, bytes records not None):
        """After PACK: the same, compressed. The batch is done with that."""
        if not self.loaded or not self.packing.size:
            raise InvariantError("there is nothing to pack")
        self.told(
            self.put_batch(
                <const uint8_t *>PyBytes_AS_STRING(records), PyBytes_GET_SIZE(records), self.codec
            )
        )
        self.bytes_read += self.info.size
        self.records_read += self.info.records_count
        self.packing.size = 0
        self.leave()

    def take_output(self):
        """What was collected since the last call."""
        data = PyBytes_FromStringAndSize(<const char *>self.out.data, self.out.size)
        self.out.size = 0
        return data
