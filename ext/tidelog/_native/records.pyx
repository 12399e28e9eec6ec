"""Records as Python objects: decoding and encoding them, writing and stamping a batch's header.

For those who look into batches or build them: replay of internal topics, coordinators, compaction,
tools, tests. The hot lane never comes here. Owned by nobody: it keeps no state and does no I/O.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport INT32_MAX, int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from tidelog._native.batch cimport (
    BATCH_OVERHEAD,
    LOG_OVERHEAD,
    MAGIC_V2,
    REASON_KEY_MISSING,
    REASON_NONE,
    REASON_TIMESTAMP_RANGE,
    REASON_TIMESTAMP_TYPE,
    BatchHeader,
    BatchInfo,
    CheckLimits,
    control_type,
    limits_of,
    parse_header,
    stamp,
    stamp_checked,
    stamp_log_append_time,
    stamp_timestamp_type,
)
from tidelog._native.wire cimport (
    WIRE_OK,
    wire_cursor,
    wire_put_int16,
    wire_put_int32,
    wire_put_int64,
    wire_put_varint,
    wire_put_varlong,
)

from tidelog.errors import InvariantError


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
    int tl_next_header(
        wire_cursor *c,
        const uint8_t **key,
        int32_t *key_size,
        const uint8_t **value,
        int32_t *value_size,
    ) noexcept
    int64_t tl_wrapping_add(int64_t a, int64_t b) noexcept
    bint tl_timestamp_out_of_range(
        int64_t timestamp, int64_t now_ms, int64_t before_max_ms, int64_t after_max_ms
    ) noexcept


@cython.final
@cython.freelist(64)
cdef class Record:
    """One record as it stands in a log. Headers are (key, value or None) in their order."""

    def __init__(self, int64_t offset, int64_t timestamp, bytes key, bytes value, tuple headers=()):
        self.offset = offset
        self.timestamp = timestamp
        self.key = key
        self.value = value
        self.headers = headers

    def __eq__(self, other):
        cdef Record that
        if type(other) is not Record:
            return NotImplemented
        that = <Record>other
        return (
            self.offset == that.offset
            and self.timestamp == that.timestamp
            and self.key == that.key
            and self.value == that.value
            and self.headers == that.headers
        )

    def __hash__(self):
        return hash((self.offset, self.timestamp, self.key, self.value, self.headers))

    def __repr__(self):
        return (
            f"Record(offset={self.offset}, timestamp={self.timestamp}, key={self.key!r}, "
            f"value={self.value!r}, headers={self.headers!r})"
        )


cdef bytes nullable_bytes(const uint8_t* data, int32_t size):
    if size < 0:
        return None
    return PyBytes_FromStringAndSize(<const char*>data, size)


cdef tuple headers_of(const tl_record* record, const uint8_t* end):
    cdef wire_cursor cursor
    cdef const uint8_t* key
    cdef const uint8_t* value
    cdef int32_t key_size, value_size, _i
    cdef list headers = []
    cursor.pos = record.headers
    cursor.end = end
    for _i in range(record.headers_count):
        if tl_next_header(&cursor, &key, &key_size, &value, &value_size) != WIRE_OK:
            raise InvariantError("a header that was read once cannot be read again")
        headers.append((nullable_bytes(key, key_size), nullable_bytes(value, value_size)))
    return tuple(headers)


def decode_records(payload, BatchHeader header not None):
    """The records of a batch (uncompressed, or decompressed) as a list of Record.

    Offsets need not be without gaps: a cleaned log has batches with records taken out.
    Raises ValueError when the payload is not exactly `records_count` well-formed records.
    """
    cdef Py_buffer view
    cdef wire_cursor cursor
    cdef tl_record raw
    cdef Record record
    cdef bint fixed = header.is_log_append_time
    cdef int32_t i
    cdef list records = []
    if header.info.records_count < 0:
        raise ValueError(f"the batch counts {header.info.records_count} records")
    PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
    try:
        cursor.pos = <const uint8_t*>view.buf
        cursor.end = cursor.pos + view.len
        for i in range(header.info.records_count):
            if tl_next_record(&cursor, &raw) != WIRE_OK:
                raise ValueError(f"record {i} of the batch is malformed")
            record = Record.__new__(Record)
            record.offset = tl_wrapping_add(header.info.base_offset, raw.offset_delta)
            record.timestamp = header.info.max_timestamp if fixed else tl_wrapping_add(
                header.info.base_timestamp, raw.timestamp_delta
            )
            record.key = nullable_bytes(raw.key, raw.key_size)
            record.value = nullable_bytes(raw.value, raw.value_size)
            record.headers = headers_of(&raw, cursor.pos) if raw.headers_count else ()
            records.append(record)
        if cursor.pos != cursor.end:
            raise ValueError(f"{cursor.end - cursor.pos} bytes follow the batch's last record")
    finally:
        PyBuffer_Release(&view)
    return records


cdef inline Py_ssize_t varint_size(int32_t value) noexcept:
    cdef uint32_t raw = (<uint32_t>value << 1) ^ <uint32_t>(value >> 31)
    cdef Py_ssize_t size = 1
    while raw >= 0x80:
        raw >>= 7
        size += 1
    return size


cdef inline Py_ssize_t varlong_size(int64_t value) noexcept:
    cdef uint64_t raw = (<uint64_t>value << 1) ^ <uint64_t>(value >> 63)
    cdef Py_ssize_t size = 1
    while raw >= 0x80:
        raw >>= 7
        size += 1
    return size


cdef Py_ssize_t data_size(bytes data) except -1:
    cdef Py_ssize_t size = 0 if data is None else PyBytes_GET_SIZE(data)
    if size > INT32_MAX:
        raise ValueError("a key, value or header is longer than 2 GiB")
    return size + varint_size(-1 if data is None else <int32_t>size)


cdef uint8_t* put_data(uint8_t* at, bytes data) noexcept:
    if data is None:
        return wire_put_varint(at, -1)
    at = wire_put_varint(at, <int32_t>PyBytes_GET_SIZE(data))
    memcpy(at, PyBytes_AS_STRING(data), <size_t>PyBytes_GET_SIZE(data))
    return at + PyBytes_GET_SIZE(data)


def encode_records(records not None, int64_t base_timestamp, Py_ssize_t room=0):
    """Records in their wire form, offset deltas 0, 1, ..., behind `room` zero bytes (for a header).

    records: tuples (timestamp, key or None, value or None, headers), headers a sequence of (key,
    value or None); all data are bytes. Returns a bytearray.
    """
    cdef Py_ssize_t total = room
    cdef Py_ssize_t body
    cdef list bodies = []
    cdef int64_t delta
    cdef int32_t i = 0
    cdef uint8_t* at
    cdef bytearray out
    for timestamp, key, value, headers in records:
        delta = <int64_t>timestamp - base_timestamp
        body = 1 + varlong_size(delta) + varint_size(i) + data_size(key) + data_size(value)
        body += varint_size(<int32_t>len(headers))
        for header_key, header_value in headers:
            if header_key is None:
                raise ValueError("the key of a header may not be None")
            body += data_size(header_key) + data_size(header_value)
        if body > INT32_MAX:
            raise ValueError("a record is longer than 2 GiB")
        bodies.append(body)
        total += body + varint_size(<int32_t>body)
        i += 1
    out = PyByteArray_FromStringAndSize(NULL, total)
    at = <uint8_t*>PyByteArray_AS_STRING(out)
    memset(at, 0, <size_t>room)
    at += room
    i = 0
    for timestamp, key, value, headers in records:
        at = wire_put_varint(at, <int32_t><Py_ssize_t>bodies[i])
        at[0] = 0
        at = wire_put_varlong(at + 1, <int64_t>timestamp - base_timestamp)
        at = wire_put_varint(at, i)
        at = put_data(at, key)
        at = put_data(at, value)
        at = wire_put_varint(at, <int32_t>len(headers))
        for header_key, header_value in headers:
            at = put_data(at, header_key)
            at = put_data(at, header_value)
        i += 1
    if at - <uint8_t*>PyByteArray_AS_STRING(out) != total:
        raise InvariantError("the records changed while they were encoded")
    return out


def put_header(
    bytearray batch not None,
    int64_t base_offset,
    int32_t partition_leader_epoch,
    int16_t attributes,
    int32_t last_offset_delta,
    int64_t base_timestamp,
    int64_t max_timestamp,
    int64_t producer_id,
    int16_t producer_epoch,
    int32_t base_sequence,
    int32_t records_count,
):
    """Writes the header, CRC included, over the first 61 bytes of a batch that is otherwise
    complete."""
    cdef Py_ssize_t size = len(batch)
    cdef uint8_t* at
    if size < BATCH_OVERHEAD or size - LOG_OVERHEAD > INT32_MAX:
        raise ValueError(f"{size} bytes cannot be a batch")
    at = <uint8_t*>PyByteArray_AS_STRING(batch)
    stamp(at, base_offset, partition_leader_epoch)
    wire_put_int32(at + 8, <int32_t>(size - LOG_OVERHEAD))
    at[16] = MAGIC_V2
    wire_put_int32(at + 23, last_offset_delta)
    wire_put_int64(at + 27, base_timestamp)
    wire_put_int64(at + 43, producer_id)
    wire_put_int16(at + 51, producer_epoch)
    wire_put_int32(at + 53, base_sequence)
    wire_put_int32(at + 57, records_count)
    stamp_timestamp_type(at, <size_t>size, attributes, max_timestamp)


def record_errors(
    payload, BatchHeader header not None, int64_t now_ms, tuple limits, Py_ssize_t at_most
):
    """What is wrong with single records, for the record_errors of a produce answer: a list of
    (index, reason, timestamp), at most `at_most` long. Framing errors are not in it."""
    cdef Py_buffer view
    cdef CheckLimits native = limits_of(limits)
    cdef wire_cursor cursor
    cdef tl_record record
    cdef int64_t timestamp
    cdef bint fixed = header.is_log_append_time
    cdef int32_t i
    cdef int reason
    cdef list errors = []
    PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
    try:
        cursor.pos = <const uint8_t*>view.buf
        cursor.end = cursor.pos + view.len
        for i in range(header.info.records_count):
            if len(errors) >= at_most or tl_next_record(&cursor, &record) != WIRE_OK:
                break
            timestamp = header.info.max_timestamp if fixed else tl_wrapping_add(
                header.info.base_timestamp, record.timestamp_delta
            )
            reason = REASON_NONE
            if native.compacted and record.key_size < 0:
                reason = REASON_KEY_MISSING
            elif not native.log_append_time and timestamp != -1:
                if tl_timestamp_out_of_range(
                    timestamp,
                    now_ms,
                    native.timestamp_before_max_ms,
                    native.timestamp_after_max_ms,
                ):
                    reason = REASON_TIMESTAMP_RANGE
            elif fixed:
                reason = REASON_TIMESTAMP_TYPE
            if reason != REASON_NONE:
                errors.append((i, reason, timestamp))
    finally:
        PyBuffer_Release(&view)
    return errors


def stamp_batch(batch, BatchHeader header, int64_t base_offset, int32_t partition_leader_epoch):
    """stamp_checked() on a writable buffer, with the header that a check returned; without one
    (None) only the base offset and the leader epoch are written."""
    cdef Py_buffer view
    PyObject_GetBuffer(batch, &view, PyBUF_WRITABLE)
    try:
        if view.len < BATCH_OVERHEAD or (header is not None and view.len < header.info.size):
            raise ValueError("the buffer is shorter than the batch")
        if header is None:
            stamp(<uint8_t*>view.buf, base_offset, partition_leader_epoch)
        else:
            stamp_checked(
                <uint8_t*>view.buf, &header.info, base_offset, partition_leader_epoch
            )
    finally:
        PyBuffer_Release(&view)


def stamp_append_time(batch, int64_t now_ms):
    """stamp_log_append_time() on a writable buffer that is exactly one batch."""
    cdef Py_buffer view
    PyObject_GetBuffer(batch, &view, PyBUF_WRITABLE)
    try:
        if view.len < BATCH_OVERHEAD:
            raise ValueError("the buffer is shorter than a batch")
        stamp_log_append_time(<uint8_t*>view.buf, <size_t>view.len, now_ms)
    finally:
        PyBuffer_Release(&view)


def control_type_of(batch):
    """(type, coordinator epoch) of a whole control batch; (-1, -1) when it has no such record."""
    cdef Py_buffer view
    cdef BatchInfo info
    cdef int32_t epoch = -1
    cdef int kind = -1
    PyObject_GetBuffer(batch, &view, PyBUF_SIMPLE)
    try:
        if (
            parse_header(<const uint8_t*>view.buf, <size_t>view.len, &info) == 0
            and info.size <= view.len
        ):
            kind = control_type(<const uint8_t*>view.buf, &info, &epoch)
    finally:
        PyBuffer_Release(&view)
    return kind, epoch
