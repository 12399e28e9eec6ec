"""Writing a record batch anew with some of its records (see rewrite.pxd).

Owned by nobody: bytes in, bytes out. It decides nothing about records.
"""

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint64_t

from tidelog._native.batch cimport (
    ATTR_LOG_APPEND_TIME,
    BATCH_OVERHEAD,
    LOG_OVERHEAD,
    MAGIC_V2,
    BatchInfo,
)
from tidelog._native.crc32c cimport crc32c
from tidelog._native.wire cimport (
    WIRE_OK,
    wire_cursor,
    wire_int8,
    wire_left,
    wire_put_data,
    wire_put_int8,
    wire_put_int16,
    wire_put_int32,
    wire_put_int64,
    wire_put_uvarlong,
    wire_put_varint,
    wire_varint,
    wire_varlong,
)

cdef extern from "batch.h" nogil:
    ctypedef struct tl_record:
        int64_t timestamp_delta

    int tl_next_record(wire_cursor *c, tl_record *r) noexcept
    int64_t tl_wrapping_add(int64_t a, int64_t b) noexcept
    int64_t tl_wrapping_sub(int64_t a, int64_t b) noexcept

cdef enum:
    CRC_START = 21
    CRC_AT = 17


cdef int64_t put_kept(
    const uint8_t *records,
    int64_t size,
    const BatchInfo *info,
    const uint8_t *keeps,
    int64_t base_timestamp,
    uint8_t *target,
) noexcept nogil:
    cdef wire_cursor c
    cdef tl_record r
    cdef const uint8_t *start
    cdef uint8_t *at = target
    cdef int32_t i
    cdef int64_t delta
    cdef bint append_time = (info.attributes & ATTR_LOG_APPEND_TIME) != 0
    c.pos = records
    c.end = records + size
    for i in range(info.records_count):
        start = c.pos
        if tl_next_record(&c, &r) != WIRE_OK:
            break
        if not keeps[i]:
            continue
        if append_time:
            delta = tl_wrapping_sub(info.max_timestamp, base_timestamp)
        else:
            delta = tl_wrapping_sub(
                tl_wrapping_add(info.base_timestamp, r.timestamp_delta), base_timestamp
            )
        if delta == r.timestamp_delta:
            at = wire_put_data(at, start, <size_t>(c.pos - start))
        else:
            at = put_moved(at, start, c.pos, delta)
    return at - target


cdef uint8_t *put_moved(
    uint8_t *at, const uint8_t *start, const uint8_t *end, int64_t delta
) noexcept nogil:
    # One record with another timestamp delta.
    cdef wire_cursor c
    cdef uint8_t varlong[10]
    cdef int32_t length = 0
    cdef int8_t attributes = 0
    cdef int64_t old_delta = 0
    cdef Py_ssize_t delta_size, rest
    c.pos = start
    c.end = end
    wire_varint(&c, &length)
    wire_int8(&c, &attributes)
    wire_varlong(&c, &old_delta)
    rest = wire_left(&c)
    delta_size = wire_put_uvarlong(
        varlong, (<uint64_t>delta << 1) ^ <uint64_t>(delta >> 63)
    ) - varlong
    at = wire_put_varint(at, <int32_t>(1 + delta_size + rest))
    at = wire_put_int8(at, attributes)
    at = wire_put_data(at, varlong, <size_t>delta_size)
    return wire_put_data(at, c.pos, <size_t>rest)


cdef void put_header(
    uint8_t *target,
    const BatchInfo *info,
    int16_t attributes,
    int64_t base_timestamp,
    int64_t max_timestamp,
    int32_t count,
    int64_t size,
) noexcept nogil:
    cdef uint8_t *at = target
    at = wire_put_int64(at, info.base_offset)
    at = wire_put_int32(at, <int32_t>(BATCH_OVERHEAD - LOG_OVERHEAD + size))
    at = wire_put_int32(at, info.partition_leader_epoch)
    at = wire_put_int8(at, MAGIC_V2)
    at = wire_put_int32(at, 0)
    at = wire_put_int16(at, attributes)
    at = wire_put_int32(at, info.last_offset_delta)
    at = wire_put_int64(at, base_timestamp)
    at = wire_put_int64(at, max_timestamp)
    at = wire_put_int64(at, info.producer_id)
    at = wire_put_int16(at, info.producer_epoch)
    at = wire_put_int32(at, info.base_sequence)
    wire_put_int32(at, count)
    wire_put_int32(
        target + CRC_AT,
        <int32_t>crc32c(0, target + CRC_START, <size_t>(BATCH_OVERHEAD + size - CRC_START)),
    )
