"""Record batch v2: header, the leader's checks, record walk, stamps.

The cdef functions are the hot lane's: bytes in, codes out. The def functions are the same for
Python callers (view, recompression, tools, tests). Owned by nobody: it keeps no state, does no I/O
and asks no clock. Records as Python objects, and stamps for Python callers, stand in `records`.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport INT64_MAX, int8_t, int16_t, int32_t, int64_t, uint8_t

from tidelog._native.crc32c cimport crc32c
from tidelog._native.wire cimport (
    WIRE_OK,
    wire_cursor,
    wire_load16,
    wire_load32,
    wire_load64,
    wire_put_int16,
    wire_put_int32,
    wire_put_int64,
)


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

    enum:
        TL_WALK_OK
        TL_WALK_FRAMING
        TL_WALK_OFFSET_DELTA
        TL_WALK_LEFT_OVER
        TL_WALK_RECORDS

    ctypedef struct tl_walk:
        int64_t base_timestamp
        int64_t fixed_timestamp
        int64_t now_ms
        int64_t before_max_ms
        int64_t after_max_ms
        int32_t count
        int use_fixed
        int check_timestamps
        int check_keys
        int64_t max_timestamp
        int64_t offset_of_max_timestamp
        int32_t index
        int32_t first_key_missing
        int32_t first_bad_timestamp

    int tl_next_record(wire_cursor *c, tl_record *r) noexcept
    int tl_walk_records(const uint8_t *records, size_t n, tl_walk *w) noexcept
    int64_t tl_wrapping_add(int64_t a, int64_t b) noexcept
    bint tl_timestamp_out_of_range(
        int64_t timestamp, int64_t now_ms, int64_t before_max_ms, int64_t after_max_ms
    ) noexcept


cdef enum:
    HEADER_UP_TO_MAGIC = 17
    MIN_BATCH_LENGTH = 49  # BATCH_OVERHEAD - LOG_OVERHEAD
    # Below this the size field of no message format was ever right: Kafka calls the bytes corrupt.
    MIN_SIZE_FIELD = 14
    CRC_START = 21


# ---- header ---------------------------------------------------------------------------------

cdef void load_header(const uint8_t* data, BatchInfo* info) noexcept nogil:
    info.base_offset = <int64_t>wire_load64(data)
    info.size = <int64_t>LOG_OVERHEAD + <int32_t>wire_load32(data + 8)
    info.partition_leader_epoch = <int32_t>wire_load32(data + 12)
    info.magic = <int8_t>data[16]
    info.crc = wire_load32(data + 17)
    info.attributes = <int16_t>wire_load16(data + 21)
    info.last_offset_delta = <int32_t>wire_load32(data + 23)
    info.base_timestamp = <int64_t>wire_load64(data + 27)
    info.max_timestamp = <int64_t>wire_load64(data + 35)
    info.producer_id = <int64_t>wire_load64(data + 43)
    info.producer_epoch = <int16_t>wire_load16(data + 51)
    info.base_sequence = <int32_t>wire_load32(data + 53)
    info.records_count = <int32_t>wire_load32(data + 57)
    info.offset_of_max_timestamp = -1
    info.restamp = False


cdef int parse_header(const uint8_t* data, size_t n, BatchInfo* info) noexcept nogil:
    if n < BATCH_OVERHEAD or <int8_t>data[16] != MAGIC_V2:
        return ERROR_CORRUPT_MESSAGE
    load_header(data, info)
    if info.size < BATCH_OVERHEAD:
        return ERROR_CORRUPT_MESSAGE
    return 0


cdef bint crc_ok(const uint8_t* data, const BatchInfo* info) noexcept nogil:
    return crc32c(0, data + CRC_START, <size_t>(info.size - CRC_START)) == info.crc


# ---- the leader's checks ----------------------------------------------------------------------

cdef int refuse(CheckFailure* failure, int16_t error_code, int16_t reason) noexcept nogil:
    failure.error_code = error_code
    failure.reason = reason
    failure.record_index = -1
    return error_code


# Finds the first batch as Kafka's stream of batches does: a batch that is not complete is no batch.
# Returns 0 with its size (0: none), or CORRUPT_MESSAGE.
cdef int next_batch_size(
    const uint8_t* data, size_t n, int64_t* size, CheckFailure* failure
) noexcept nogil:
    cdef int32_t length
    size[0] = 0
    if n < LOG_OVERHEAD:
        return 0
    length = <int32_t>wire_load32(data + 8)
    if length < MIN_SIZE_FIELD:
        return refuse(failure, ERROR_CORRUPT_MESSAGE, REASON_SIZE_FIELD)
    if n < HEADER_UP_TO_MAGIC:
        return 0
    if data[16] > MAGIC_V2:
        return refuse(failure, ERROR_CORRUPT_MESSAGE, REASON_MAGIC_UNKNOWN)
    if <size_t>length + LOG_OVERHEAD <= n:
        size[0] = <int64_t>length + LOG_OVERHEAD
    return 0


# Exactly one batch of magic 2 whose codec the version of the request knows.
cdef int check_request(
    const uint8_t* data, size_t n, int16_t api_version, int64_t* size, CheckFailure* failure
) noexcept nogil:
    cdef int64_t second
    cdef int error = next_batch_size(data, n, size, failure)
    if error != 0:
        return error
    if size[0] == 0:
        return refuse(failure, ERROR_INVALID_RECORD, REASON_NO_BATCH)
    if data[16] != MAGIC_V2:
        return refuse(failure, ERROR_INVALID_RECORD, REASON_MAGIC_OLD)
    if (
        api_version < 7
        and size[0] > CRC_START + 2
        and wire_load16(data + CRC_START) & ATTR_CODEC_MASK == CODEC_ZSTD
    ):
        return refuse(failure, ERROR_UNSUPPORTED_COMPRESSION_TYPE, REASON_ZSTD_VERSION)
    if <size_t>size[0] == n:
        return 0
    error = next_batch_size(data + size[0], n - <size_t>size[0], &second, failure)
    if error != 0:
        return error
    if second != 0:
        return refuse(failure, ERROR_INVALID_RECORD, REASON_SEVERAL_BATCHES)
    return 0


cdef int check_header(const BatchInfo* info, CheckFailure* failure) noexcept nogil:
    if info.attributes & ATTR_CODEC_MASK > CODEC_ZSTD:
        return refuse(failure, ERROR_UNKNOWN_SERVER, REASON_CODEC_UNKNOWN)
    if info.last_offset_delta < 0:
        return refuse(failure, ERROR_INVALID_RECORD, REASON_OFFSET_RANGE)
    if info.records_count <= 0:
        return refuse(failure, ERROR_INVALID_RECORD, REASON_COUNT)
    if info.records_count != <int64_t>info.last_offset_delta + 1:
        return refuse(failure, ERROR_INVALID_RECORD, REASON_COUNT_MISMATCH)
    if info.attributes & ATTR_CONTROL:
        return refuse(failure, ERROR_INVALID_RECORD, REASON_CONTROL)
    if info.producer_id > -1 and info.base_sequence < 0:
        return refuse(failure, ERROR_INVALID_RECORD, REASON_SEQUENCE)
    return 0


# A compressed batch is judged by its header. Whatever the header cannot settle is left to the slow
# lane, which opens the batch; so the codes stay Kafka's, and a batch in order costs nothing.
cdef int check_compressed(
    BatchInfo* info, int64_t now_ms, const CheckLimits* limits
) noexcept nogil:
    if limits.compacted:
        return CHECK_RECOMPRESS
    if limits.log_append_time:
        if info.attributes & ATTR_LOG_APPEND_TIME:
            return CHECK_RECOMPRESS
    elif (
        info.attributes & ATTR_LOG_APPEND_TIME
        # The header has the highest timestamp but not the lowest.
        or limits.timestamp_before_max_ms != INT64_MAX
        or tl_timestamp_out_of_range(
            info.max_timestamp,
            now_ms,
            limits.timestamp_before_max_ms,
            limits.timestamp_after_max_ms,
        )
    ):
        return CHECK_RECOMPRESS
    if limits.target_codec >= 0 and limits.target_codec != info.attributes & ATTR_CODEC_MASK:
        return CHECK_RECOMPRESS
    return CHECK_OK


cdef int check_produce_batch(
    const uint8_t* data,
    size_t n,
    int16_t api_version,
    int64_t now_ms,
    const CheckLimits* limits,
    BatchInfo* info,
    CheckFailure* failure,
) noexcept nogil:
    cdef int64_t size
    cdef int error = check_request(data, n, api_version, &size, failure)
    if error != 0:
        return error
    if <int64_t>wire_load64(data) != 0:
        return refuse(failure, ERROR_INVALID_RECORD, REASON_BASE_OFFSET)
    if size > limits.max_message_bytes:
        return refuse(failure, ERROR_MESSAGE_TOO_LARGE, REASON_TOO_LARGE)
    if size < BATCH_OVERHEAD:
        return refuse(failure, ERROR_CORRUPT_MESSAGE, REASON_SIZE_FIELD)
    load_header(data, info)
    if not crc_ok(data, info):
        return refuse(failure, ERROR_CORRUPT_MESSAGE, REASON_CRC)
    error = check_header(info, failure)
    if error != 0:
        return error
    if info.attributes & ATTR_CODEC_MASK == CODEC_NONE:
        error = walk_records(data, info, limits, now_ms, failure)
        if error != 0:
            return error
        if limits.target_codec > CODEC_NONE:
            return CHECK_RECOMPRESS
    else:
        error = check_compressed(info, now_ms, limits)
        if error != CHECK_OK:
            return error
    if limits.log_append_time:
        info.attributes |= ATTR_LOG_APPEND_TIME
        info.max_timestamp = now_ms
        info.offset_of_max_timestamp = info.last_offset_delta
        info.restamp = True
    return CHECK_OK


# ---- records ----------------------------------------------------------------------------------

cdef void prepare_walk(
    tl_walk* walk, const BatchInfo* info, const CheckLimits* limits, int64_t now_ms
) noexcept nogil:
    walk.base_timestamp = info.base_timestamp
    walk.fixed_timestamp = info.max_timestamp
    walk.use_fixed = (info.attributes & ATTR_LOG_APPEND_TIME) != 0
    walk.now_ms = now_ms
    walk.before_max_ms = limits.timestamp_before_max_ms
    walk.after_max_ms = limits.timestamp_after_max_ms
    walk.count = info.records_count
    walk.check_keys = limits.compacted
    walk.check_timestamps = not limits.log_append_time


cdef int walk_failed(
    int status, const tl_walk* walk, CheckFailure* failure
) noexcept nogil:
    cdef int32_t key = walk.first_key_missing
    cdef int32_t timestamp = walk.first_bad_timestamp
    failure.error_code = ERROR_INVALID_RECORD
    failure.record_index = walk.index
    if status == TL_WALK_FRAMING:
        failure.reason = REASON_RECORD_FRAMING
    elif status == TL_WALK_OFFSET_DELTA:
        failure.reason = REASON_OFFSET_DELTA
    elif status == TL_WALK_LEFT_OVER:
        failure.reason = REASON_RECORDS_LEFT
        failure.record_index = -1
    elif timestamp >= 0:
        # One bad timestamp anywhere decides the code of the whole batch.
        failure.error_code = ERROR_INVALID_TIMESTAMP
        failure.reason = REASON_TIMESTAMP_RANGE
        failure.record_index = timestamp
    else:
        failure.reason = REASON_KEY_MISSING
        failure.record_index = key
    return failure.error_code


cdef int walk_payload(
    const uint8_t* records,
    size_t n,
    BatchInfo* info,
    const CheckLimits* limits,
    int64_t now_ms,
    CheckFailure* failure,
) noexcept nogil:
    cdef tl_walk walk
    cdef int status
    prepare_walk(&walk, info, limits, now_ms)
    status = tl_walk_records(records, n, &walk)
    if status != TL_WALK_OK:
        return walk_failed(status, &walk, failure)
    if walk.use_fixed and (limits.log_append_time or walk.fixed_timestamp == -1):
        failure.error_code = ERROR_INVALID_TIMESTAMP
        failure.reason = REASON_TIMESTAMP_TYPE
        failure.record_index = 0
        return failure.error_code
    info.offset_of_max_timestamp = walk.offset_of_max_timestamp
    if not limits.log_append_time and (walk.use_fixed or walk.max_timestamp != info.max_timestamp):
        info.attributes &= ~ATTR_LOG_APPEND_TIME
        info.max_timestamp = walk.max_timestamp
        info.restamp = True
    return 0


cdef int walk_records(
    const uint8_t* data,
    BatchInfo* info,
    const CheckLimits* limits,
    int64_t now_ms,
    CheckFailure* failure,
) noexcept nogil:
    return walk_payload(
        data + BATCH_OVERHEAD,
        <size_t>(info.size - BATCH_OVERHEAD),
        info,
        limits,
        now_ms,
        failure,
    )


cdef int control_type(
    const uint8_t* data, const BatchInfo* info, int32_t* coordinator_epoch
) noexcept nogil:
    cdef wire_cursor cursor
    cdef tl_record record
    coordinator_epoch[0] = -1
    if info.records_count < 1 or info.attributes & ATTR_CODEC_MASK != CODEC_NONE:
        return -1
    cursor.pos = data + BATCH_OVERHEAD
    cursor.end = data + info.size
    # Key: int16 version, int16 type. Value of end markers: int16 version, int32 coordinator epoch.
    if tl_next_record(&cursor, &record) != WIRE_OK or record.key_size < 4:
        return -1
    if record.value_size >= 6:
        coordinator_epoch[0] = <int32_t>wire_load32(record.value + 2)
    return <int16_t>wire_load16(record.key + 2)


# ---- stamps -----------------------------------------------------------------------------------

cdef void stamp(uint8_t* data, int64_t base_offset, int32_t partition_leader_epoch) noexcept nogil:
    wire_put_int64(data, base_offset)
    wire_put_int32(data + 12, partition_leader_epoch)


cdef void stamp_timestamp_type(
    uint8_t* data, size_t n, int16_t attributes, int64_t max_timestamp
) noexcept nogil:
    wire_put_int16(data + 21, attributes)
    wire_put_int64(data + 35, max_timestamp)
    wire_put_int32(data + 17, <int32_t>crc32c(0, data + CRC_START, n - CRC_START))


cdef void stamp_checked(
    uint8_t* data, const BatchInfo* info, int64_t base_offset, int32_t partition_leader_epoch
) noexcept nogil:
    stamp(data, base_offset, partition_leader_epoch)
    if info.restamp:
        stamp_timestamp_type(data, <size_t>info.size, info.attributes, info.max_timestamp)


cdef void stamp_log_append_time(uint8_t* data, size_t n, int64_t now_ms) noexcept nogil:
    stamp_timestamp_type(data, n, <int16_t>(wire_load16(data + 21) | ATTR_LOG_APPEND_TIME), now_ms)


# ---- for Python callers -------------------------------------------------------------------------

@cython.final
cdef class BatchHeader:
    """The header of one batch, read-only. Sizes in bytes, timestamps in ms since the epoch."""

    @property
    def base_offset(self):
        return self.info.base_offset

    @property
    def last_offset(self):
        return tl_wrapping_add(self.info.base_offset, self.info.last_offset_delta)

    @property
    def size(self):
        return self.info.size

    @property
    def partition_leader_epoch(self):
        return self.info.partition_leader_epoch

    @property
    def crc(self):
        return self.info.crc

    @property
    def attributes(self):
        return self.info.attributes

    @property
    def codec(self):
        return self.info.attributes & ATTR_CODEC_MASK

    @property
    def is_log_append_time(self):
        return self.info.attributes & ATTR_LOG_APPEND_TIME != 0

    @property
    def is_transactional(self):
        return self.info.attributes & ATTR_TRANSACTIONAL != 0

    @property
    def is_control(self):
        return self.info.attributes & ATTR_CONTROL != 0

    @property
    def delete_horizon_ms(self):
        """When tombstones and markers of this cleaned batch may go; None if it was not set."""
        if self.info.attributes & ATTR_DELETE_HORIZON:
            return self.info.base_timestamp
        return None

    @property
    def last_offset_delta(self):
        return self.info.last_offset_delta

    @property
    def base_timestamp(self):
        return self.info.base_timestamp

    @property
    def max_timestamp(self):
        return self.info.max_timestamp

    @property
    def producer_id(self):
        return self.info.producer_id

    @property
    def producer_epoch(self):
        return self.info.producer_epoch

    @property
    def base_sequence(self):
        return self.info.base_sequence

    @property
    def records_count(self):
        return self.info.records_count

    @property
    def offset_of_max_timestamp(self):
        """Delta of the first record with max_timestamp; -1 unless a check walked the records."""
        return self.info.offset_of_max_timestamp

    @property
    def restamp(self):
        """Whether a check found that attributes or max_timestamp must be written anew."""
        return bool(self.info.restamp)

    def __repr__(self):
        return (
            f"BatchHeader(base_offset={self.base_offset}, last_offset={self.last_offset}, "
            f"size={self.size}, records_count={self.records_count}, "
            f"attributes={self.attributes:#x}, producer_id={self.producer_id})"
        )


def parse(data, Py_ssize_t offset=0):
    """Header of the batch at `offset` of a bytes-like object. None unless magic, size field and the
    61 bytes are in order; the CRC is not looked at, and the batch may be longer than the data."""
    cdef Py_buffer view
    cdef BatchHeader header = BatchHeader.__new__(BatchHeader)
    cdef int error
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if offset < 0 or offset > view.len:
            raise ValueError(f"offset {offset} is not within {view.len} bytes")
        error = parse_header(
            <const uint8_t*>view.buf + offset, <size_t>(view.len - offset), &header.info
        )
    finally:
        PyBuffer_Release(&view)
    return header if error == 0 else None


def is_crc_ok(data, Py_ssize_t offset=0):
    """Whether a whole batch stands at `offset` and its CRC is right."""
    cdef Py_buffer view
    cdef BatchInfo info
    cdef const uint8_t* at
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if offset < 0 or offset > view.len:
            raise ValueError(f"offset {offset} is not within {view.len} bytes")
        at = <const uint8_t*>view.buf + offset
        return (
            parse_header(at, <size_t>(view.len - offset), &info) == 0
            and info.size <= view.len - offset
            and crc_ok(at, &info)
        )
    finally:
        PyBuffer_Release(&view)


cdef CheckLimits limits_of(tuple limits) except *:
    cdef CheckLimits out
    (
        out.max_message_bytes,
        out.timestamp_before_max_ms,
        out.timestamp_after_max_ms,
        out.log_append_time,
        out.compacted,
        out.target_codec,
    ) = limits
    return out


def check(data, int16_t api_version, int64_t now_ms, tuple limits):
    """check_produce_batch. `limits`: the fields of CheckLimits in their order.

    Returns (status, header, reason, record_index): status is CHECK_OK, CHECK_RECOMPRESS or an error
    code; header is None when the check ended before it was read.
    """
    cdef Py_buffer view
    cdef CheckLimits native = limits_of(limits)
    cdef CheckFailure failure = CheckFailure(0, 0, -1)
    cdef BatchHeader header = BatchHeader.__new__(BatchHeader)
    cdef int status
    header.info.size = 0
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        status = check_produce_batch(
            <const uint8_t*>view.buf,
            <size_t>view.len,
            api_version,
            now_ms,
            &native,
            &header.info,
            &failure,
        )
    finally:
        PyBuffer_Release(&view)
    return status, header if header.info.size else None, failure.reason, failure.record_index


def check_payload(payload, BatchHeader header not None, int64_t now_ms, tuple limits):
    """walk_payload over the decompressed records of a batch. Returns (error_code, header, reason,
    record_index); the header is a copy with what the walk found out."""
    cdef Py_buffer view
    cdef CheckLimits native = limits_of(limits)
    cdef CheckFailure failure = CheckFailure(0, 0, -1)
    cdef BatchHeader walked = BatchHeader.__new__(BatchHeader)
    cdef int status
    walked.info = header.info
    PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
    try:
        # Millions of records may be in it: the loop goes on meanwhile.
        with nogil:
            status = walk_payload(
                <const uint8_t*>view.buf, <size_t>view.len, &walked.info, &native, now_ms, &failure
            )
    finally:
        PyBuffer_Release(&view)
    return status, walked, failure.reason, failure.record_index
