"""Partitions of a Fetch answer, for the follower's end (replica_fetch.pyx): parsed in place."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from tidelog._native.wire cimport (
    WIRE_OK,
    wire_array_length,
    wire_bytes,
    wire_cursor,
    wire_int16,
    wire_int32,
    wire_int64,
    wire_skip,
    wire_skip_tagged_fields,
    wire_tagged_field,
    wire_uvarint,
)


cdef int read_partition(wire_cursor* c, const uint8_t* start, Answer* answer) noexcept:
    """One partition of an answer. Returns 1 when it is malformed."""
    cdef int64_t last_stable_offset
    cdef int32_t aborted, preferred, size, _i
    cdef const uint8_t* records = NULL
    if (
        wire_int32(c, &answer.index) != WIRE_OK
        or wire_int16(c, &answer.error_code) != WIRE_OK
        or wire_int64(c, &answer.high_watermark) != WIRE_OK
        or wire_int64(c, &last_stable_offset) != WIRE_OK
        or wire_int64(c, &answer.log_start_offset) != WIRE_OK
        or wire_array_length(c, True, 17, &aborted) != WIRE_OK
    ):
        return 1
    for _i in range(aborted):
        if wire_skip(c, 16) != WIRE_OK or wire_skip_tagged_fields(c) != WIRE_OK:
            return 1
    if wire_int32(c, &preferred) != WIRE_OK or wire_bytes(c, True, &records, &size) != WIRE_OK:
        return 1
    answer.records_position = records - start if size > 0 else 0
    answer.records_size = max(size, 0)
    return read_partition_tags(c, answer)


cdef int read_partition_tags(wire_cursor* c, Answer* answer) noexcept:
    """diverging_epoch and current_leader; others are passed over."""
    cdef uint32_t count, tag, size, _i
    cdef const uint8_t* data
    cdef wire_cursor inner
    answer.diverging_epoch = answer.leader_id = answer.leader_epoch = -1
    answer.diverging_end_offset = -1
    if wire_uvarint(c, &count) != WIRE_OK:
        return 1
    for _i in range(count):
        if wire_tagged_field(c, &tag, &data, &size) != WIRE_OK:
            return 1
        if tag > 1:
            continue
        inner.pos = data
        inner.end = data + size
        if tag == 0:
            if (
                wire_int32(&inner, &answer.diverging_epoch) != WIRE_OK
                or wire_int64(&inner, &answer.diverging_end_offset) != WIRE_OK
            ):
                return 1
        elif (
            wire_int32(&inner, &answer.leader_id) != WIRE_OK
            or wire_int32(&inner, &answer.leader_epoch) != WIRE_OK
        ):
            return 1
        if wire_skip_tagged_fields(&inner) != WIRE_OK or inner.pos != inner.end:
            return 1
    return 0
