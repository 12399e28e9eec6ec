"""Walk over the batches of a .log file (see scan.pxd).

Owned by whoever opens or searches a log, on a helper thread. It reads; it never cuts, repairs or
writes a file, but adds to the indexes that it is given. Memory is bounded by one chunk and one
table of notes, whatever the file says of its batches.
"""

from libc.errno cimport EINTR, errno
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy, memmove

from tidelog._native.batch cimport (
    ATTR_CONTROL,
    BATCH_OVERHEAD,
    MAGIC_V2,
    BatchInfo,
    crc_ok,
    parse_header,
)
from tidelog._native.crc32c cimport crc32c
from tidelog._native.index cimport OffsetIndex, TimeIndex
from tidelog._native.page_cache cimport page_cache_keep_ahead
from tidelog._native.producer_state cimport ProducerStates
from tidelog._native.wire cimport (
    WIRE_OK,
    wire_cursor,
    wire_int8,
    wire_left,
    wire_skip,
    wire_varint,
    wire_varlong,
)

from tidelog.errors import InvariantError, StorageError

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <unistd.h>
    """
    ssize_t pread(int fd, void *data, size_t n, long offset) noexcept nogil

cdef enum:
    CHUNK_BYTES = 1 << 20  # reading at the disk's speed takes large reads
    AHEAD_CHUNKS = 4  # so many are read by the kernel while one is looked at
    HEADER_CHUNK_BYTES = 1 << 16  # without CRCs the records are skipped
    NOTES = 2048
    MAX_MARKER_BYTES = 4096  # a transaction marker has 78
    CRC_START = 21
    MAGIC_AT = 16

REASONS = (
    "end",
    "less than a batch is left",
    "no batch header",
    "wrong checksum",
    "offsets do not ascend",
    "offset out of the segment's range",
    "read error",
)


cdef class SegmentScanner:
    """Reads the batches of `fd` from position 0 up to `end`.

    The file is good up to `valid_bytes`; `reason` says what stands behind (0: nothing, the end was
    reached). Batches that begin before `verify_from` are believed without their checksum. What
    stands below the offset `keep_below` and is bad (a batch with a wrong checksum, bytes that are
    no batch) is kept and named in `damaged`; the scan goes on behind it.
    """

    def __cinit__(self, *args, **kwargs):
        self.noted = NULL
        self.chunk = NULL
        self.heads = NULL

    def __init__(
        self,
        int fd,
        int64_t base_offset,
        int64_t end,
        *,
        int64_t index_interval_bytes=4096,
        int64_t verify_from=0,
        int64_t keep_below=0,
        object file=None,
    ):
        self.fd = fd
        self.file = file
        self.base_offset = base_offset
        self.end = end
        self.index_interval_bytes = index_interval_bytes
        self.verify_from = verify_from
        self.keep_below = keep_below
        self.begun = -1
        self.damaged = []
        self.next_offset = base_offset
        self.aborted = []
        self.first_timestamp = -1
        self.max_timestamp = -1
        self.offset_of_max_timestamp = -1
        self.chunk_capacity = CHUNK_BYTES if verify_from < end else HEADER_CHUNK_BYTES
        self.chunk = <uint8_t *>malloc(<size_t>self.chunk_capacity)
        self.noted = <Noted *>malloc(NOTES * sizeof(Noted))
        if self.chunk == NULL or self.noted == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.chunk)
        free(self.noted)
        free(self.heads)

    cdef int fill(self, int64_t position, int64_t needed) noexcept nogil:
        # Has `needed` bytes from `position` on in the chunk. 0, or a reason.
        cdef ssize_t got
        cdef int64_t kept = 0
        cdef int64_t wanted
        if position >= self.chunk_start and position < self.chunk_start + self.chunk_size:
            kept = self.chunk_start + self.chunk_size - position
            if kept >= needed:
                return SCAN_END
            memmove(self.chunk, self.chunk + (position - self.chunk_start), <size_t>kept)
        self.chunk_start = position
        self.chunk_size = kept
        while self.chunk_size < needed:
            wanted = self.chunk_capacity - self.chunk_size
            if wanted > self.end - position - self.chunk_size:
                wanted = self.end - position - self.chunk_size
            if wanted <= 0:
                return SCAN_SHORT
            self.begun = page_cache_keep_ahead(
                self.fd, self.begun, position + self.chunk_size,
                position + self.chunk_size + wanted, AHEAD_CHUNKS * self.chunk_capacity, self.end
            )
            got = pread(
                self.fd, self.chunk + self.chunk_size, <size_t>wanted, position + self.chunk_size
            )
            if got < 0:
                if errno == EINTR:
                    continue
                self.io_errno = errno
                return SCAN_IO
            if got == 0:
                return SCAN_SHORT
            self.chunk_size += got
        return SCAN_END

    cdef bint check_crc(self, const BatchInfo *info) noexcept nogil:
        # Sets `reason` when it is not even possible to read the batch.
        cdef uint32_t crc = 0
        cdef int64_t done = CRC_START
        cdef int64_t piece
        if info.size <= self.chunk_capacity:
            self.reason = self.fill(self.valid_bytes, info.size)
            if self.reason != SCAN_END:
                return False
            return crc_ok(self.chunk + (self.valid_bytes - self.chunk_start), info)
        while done < info.size:
            piece = info.size - done
            if piece > self.chunk_capacity:
                piece = self.chunk_capacity
            self.reason = self.fill(self.valid_bytes + done, piece)
            if self.reason != SCAN_END:
                return False
            crc = crc32c(
                crc, self.chunk + (self.valid_bytes + done - self.chunk_start), <size_t>piece
            )
            done += piece
        return crc == info.crc

    cdef bint plausible_at(self, int64_t position, int64_t last_offset) noexcept nogil:
        cdef BatchInfo info
        if position == self.end:
            return True
        if self.end - position < BATCH_OVERHEAD or self.fill(position, BATCH_OVERHEAD) != 0:
            return False
        return (
            parse_header(
                self.chunk + (position - self.chunk_start), BATCH_OVERHEAD, &info
            ) == 0
            and info.size <= self.end - position
            and info.base_offset > last_offset
        )

    cdef int read_batch(self, BatchInfo *info, bint *damaged) noexcept nogil:
        # The batch at valid_bytes; 0, or the reason why there is none.
        cdef int64_t left = self.end - self.valid_bytes
        cdef int64_t last_offset
        cdef int status
        damaged[0] = False
        if left <= 0:
            return SCAN_END
        if left < BATCH_OVERHEAD:
            return SCAN_SHORT
        status = self.fill(self.valid_bytes, BATCH_OVERHEAD)
        if status != SCAN_END:
            return status
        if (
            parse_header(
                self.chunk + (self.valid_bytes - self.chunk_start), BATCH_OVERHEAD, info
            ) != 0
            or info.last_offset_delta < 0
        ):
            return SCAN_HEADER
        if info.size > left:
            return SCAN_SHORT
        last_offset = info.base_offset + info.last_offset_delta
        if info.base_offset < self.base_offset or last_offset - self.base_offset > INT32_MAX:
            return SCAN_RANGE
        if info.base_offset < self.next_offset:
            return SCAN_ORDER
        if self.heads != NULL:
            memcpy(
                self.heads + self.noted_count * BATCH_OVERHEAD,
                self.chunk + (self.valid_bytes - self.chunk_start),
                BATCH_OVERHEAD,
            )
        if self.valid_bytes >= self.verify_from and not self.check_crc(info):
            if self.reason != SCAN_END:
                return self.reason
            # A torn write is never below what was synced: such a batch went bad later. What
            # follows it is still good, and its own range is a read error.
            if last_offset < self.keep_below and self.plausible_at(
                self.valid_bytes + info.size, last_offset
            ):
                damaged[0] = True
                return SCAN_END
            return SCAN_CRC
        return SCAN_END

    cdef bint is_batch(self, int64_t position, int64_t *budget) noexcept nogil:
        cdef BatchInfo info
        cdef int64_t last_offset
        if (
            parse_header(
                self.chunk + (position - self.chunk_start), BATCH_OVERHEAD, &info
            ) != 0
            or info.last_offset_delta < 0
            or info.size > self.end - position
        ):
            return False
        last_offset = info.base_offset + info.last_offset_delta
        if info.base_offset < self.next_offset or last_offset >= self.keep_below:
            return False
        if last_offset - self.base_offset > INT32_MAX:
            return False
        budget[0] -= info.size
        self.valid_bytes = position
        return self.check_crc(&info)

    cdef bint resync(self) noexcept nogil:
        cdef int64_t bad = self.valid_bytes
        cdef int reason = self.reason
        cdef int64_t position = bad + 1
        cdef int64_t budget = RESYNC_PASSES * self.end
        cdef int64_t starts
        cdef const uint8_t *first
        cdef const uint8_t *found
        if self.next_offset >= self.keep_below:
            return False
        while budget > 0 and self.end - position >= BATCH_OVERHEAD:
            if self.fill(position, BATCH_OVERHEAD) != SCAN_END:
                break
            first = self.chunk + (position - self.chunk_start) + MAGIC_AT
            starts = self.chunk_start + self.chunk_size - position - BATCH_OVERHEAD + 1
            found = <const uint8_t *>memchr(first, MAGIC_V2, <size_t>starts)
            if found == NULL:
                position += starts
                continue
            position += found - first
            if self.is_batch(position, &budget):
                self.reason = SCAN_END
                return True
            position += 1
        self.valid_bytes = bad
        self.reason = reason
        return False

    cdef void collect(self) noexcept nogil:
        # Notes batches until the table is full, the end is reached or something is wrong.
        cdef Noted *note
        self.noted_count = 0
        while self.noted_count < NOTES and self.valid_bytes < self.end:
            note = &self.noted[self.noted_count]
            note.bad_from = -1
            self.reason = self.read_batch(&note.info, &note.damaged)
            if self.reason != SCAN_END:
                note.bad_from = self.valid_bytes
                note.bad_offset = self.next_offset
                if self.reason == SCAN_IO or not self.resync():
                    return
                self.reason = self.read_batch(&note.info, &note.damaged)
                if self.reason != SCAN_END:
                    return
            note.position = self.valid_bytes
            self.noted_count += 1
            self.valid_bytes += note.info.size
            self.next_offset = note.info.base_offset + note.info.last_offset_delta + 1
            self.batches += 1

    cdef int replay(self, ProducerStates producers, const Noted *note) except -1:
        cdef uint8_t marker[MAX_MARKER_BYTES]
        cdef int64_t first_offset
        cdef bint aborted = False
        if note.info.attributes & ATTR_CONTROL:
            if note.info.size > MAX_MARKER_BYTES:
                raise StorageError(f"control batch of {note.info.size} bytes")
            if pread(self.fd, marker, <size_t>note.info.size, note.position) != note.info.size:
                raise OSError(errno, "control batch cannot be read")
            first_offset = producers.update_batch(
                marker, &note.info, note.info.base_offset, note.info.max_timestamp, &aborted
            )
            if first_offset >= 0 and aborted:
                self.aborted.append(
                    (
                        note.info.producer_id,
                        first_offset,
                        note.info.base_offset,
                        producers.last_stable_offset_after(
                            note.info.producer_id, note.info.base_offset
                        ),
                    )
                )
        elif note.info.producer_id >= 0:
            producers.update(&note.info, note.info.base_offset, note.info.max_timestamp)
        else:
            producers.map_end_offset = note.info.base_offset + note.info.last_offset_delta + 1
        return 0

    def run(
        self,
        OffsetIndex offset_index=None,
        TimeIndex time_index=None,
        ProducerStates producers=None,
        int64_t producers_from=0,
        list epochs=None,
        object on_heads=None,
    ):
        """Scans to the end or to the first bad batch.

        Adds entries to the indexes (which must be empty) by Kafka's rule, the producers' batches
        from `producers_from` on to the state, and (epoch, start offset) to `epochs` wherever a
        batch's epoch is larger than the last one there. on_heads(data) is called with the headers
        (61 bytes each) of all batches that were read, some thousand at a time. Returns self.
        """
        cdef Py_ssize_t i
        cdef Noted *note
        cdef int64_t last_offset
        cdef int32_t epoch = epochs[len(epochs) - 1][0] if epochs else -1
        if on_heads is not None and self.heads == NULL:
            self.heads = <uint8_t *>malloc(NOTES * BATCH_OVERHEAD)
            if self.heads == NULL:
                raise MemoryError
        while True:
            with nogil:
                self.collect()
            if on_heads is not None and self.noted_count:
                on_heads(<bytes>self.heads[:self.noted_count * BATCH_OVERHEAD])
            for i in range(self.noted_count):
                note = &self.noted[i]
                last_offset = note.info.base_offset + note.info.last_offset_delta
                if note.damaged:
                    self.damaged.append((note.position, note.info.base_offset))
                if note.bad_from >= 0:
                    self.damaged.append((note.bad_from, note.bad_offset))
                    # Look-ups come to what stands behind the damage by this entry only.
                    if offset_index is not None and not offset_index.is_full():
                        offset_index.append(note.info.base_offset, <int32_t>note.position)
                        self.bytes_since_index_entry = 0
                if note.position == 0:
                    self.first_timestamp = note.info.max_timestamp
                # A batch that a compaction left without records has no time to be found by.
                if note.info.records_count and note.info.max_timestamp > self.max_timestamp:
                    self.max_timestamp = note.info.max_timestamp
                    self.offset_of_max_timestamp = last_offset
                if self.bytes_since_index_entry > self.index_interval_bytes:
                    if offset_index is not None:
                        offset_index.append(last_offset, <int32_t>note.position)
                    if time_index is not None:
                        time_index.maybe_append(
                            self.max_timestamp, self.offset_of_max_timestamp, False
                        )
                    self.bytes_since_index_entry = 0
                self.bytes_since_index_entry += note.info.size
                if epochs is not None and note.info.partition_leader_epoch > epoch:
                    epoch = note.info.partition_leader_epoch
                    epochs.append((epoch, note.info.base_offset))
                if producers is not None and last_offset >= producers_from:
                    self.replay(producers, note)
            if self.reason != SCAN_END or self.valid_bytes >= self.end:
                return self

    def start_at(self, int64_t position):
        """Begins at the batch that starts there, instead of at the start of the file."""
        if position < 0 or position > self.end:
            raise InvariantError(f"position {position} of {self.end}")
        self.valid_bytes = position

    @property
    def reason_text(self):
        """Why the scan ended, in words."""
        return REASONS[self.reason]


def find_batch_by_timestamp(
    int fd, int64_t position, int64_t end, int64_t base_offset, int64_t timestamp, int64_t offset
):
    """First batch from `position` on with max_timestamp >= timestamp and last offset >= offset.

    Returns (position, size) or None. Raises OSError, and ValueError where there is no batch.
    """
    cdef SegmentScanner scanner = SegmentScanner(fd, base_offset, end, verify_from=end)
    cdef BatchInfo info
    cdef int status = SCAN_END
    cdef bint found = False
    cdef bint damaged = False
    scanner.valid_bytes = position
    with nogil:
        while scanner.valid_bytes < end:
            status = scanner.read_batch(&info, &damaged)
            if status != SCAN_END:
                break
            if (
                info.records_count
                and info.max_timestamp >= timestamp
                and info.base_offset + info.last_offset_delta >= offset
            ):
                found = True
                break
            scanner.next_offset = info.base_offset + info.last_offset_delta + 1
            scanner.valid_bytes += info.size
    if found:
        return scanner.valid_bytes, info.size
    if status == SCAN_END:
        return None
    if status == SCAN_IO:
        raise OSError(scanner.io_errno, "read error in a segment")
    raise ValueError(f"{REASONS[status]} at position {scanner.valid_bytes}")


def find_record(
    const uint8_t[::1] payload not None,
    int64_t base_timestamp,
    int64_t timestamp,
    int64_t offset_delta,
):
    """First record of (decompressed) `payload` with at least that timestamp and offset delta.

    Returns (offset delta, timestamp) or None. Raises ValueError for bytes that are no records.
    """
    cdef wire_cursor cursor
    cdef wire_cursor record
    cdef int32_t length
    cdef signed char attributes
    cdef int64_t timestamp_delta
    cdef int32_t delta
    if payload.shape[0] == 0:
        return None
    cursor.pos = &payload[0]
    cursor.end = cursor.pos + payload.shape[0]
    while wire_left(&cursor) > 0:
        if wire_varint(&cursor, &length) != WIRE_OK or length < 0:
            raise ValueError("no record")
        record = cursor
        if wire_skip(&cursor, <size_t>length) != WIRE_OK:
            raise ValueError("no record")
        record.end = cursor.pos
        if (
            wire_int8(&record, &attributes) != WIRE_OK
            or wire_varlong(&record, &timestamp_delta) != WIRE_OK
            or wire_varint(&record, &delta) != WIRE_OK
        ):
            raise ValueError("no record")
        if delta >= offset_delta and base_timestamp + timestamp_delta >= timestamp:
            return delta, base_timestamp + timestamp_delta
    return None
