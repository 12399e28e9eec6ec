"""Fetch requests and answers as bytes (API key 1, versions 4-18): parsed and encoded in place.

No look-ups and no waiting: those are the lane's (fetch_lane.pyx). Records are not copied: an answer
is encoded up to their length, and what follows is a file region.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_DECREF
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from tidelog._native.fetch_session cimport FetchSession
from tidelog._native.partition cimport Waiter
from tidelog._native.request cimport RequestHeader
from tidelog._native.wire cimport (
    WIRE_OK,
    wire_array_length,
    wire_cursor,
    wire_int8,
    wire_int32,
    wire_int64,
    wire_put_data,
    wire_put_int8,
    wire_put_int16,
    wire_put_int32,
    wire_put_int64,
    wire_put_uvarint,
    wire_skip,
    wire_skip_tagged_fields,
    wire_string,
    wire_tagged_field,
    wire_uvarint,
)

cdef enum:
    REPLICA_STATE_FROM = 15
    LEADER_HINT_FROM = 16
    DIRECTORY_ID_FROM = 17
    HIGH_WATERMARK_FROM = 18
    CONSUMER_REPLICA_ID = -1
    FINAL_EPOCH = -1

cdef enum:
    # A part takes ten times as much here as in the request: more of them than any client sends are
    # an attack on memory.
    PARTS_MAX = 200_000
    # Room for more parts than this is given back after the request.
    PARTS_KEEP = 1024
    # What a waiting fetch takes beside its parts, and for each of them: the task, its timer, its
    # place among the partition's waiters.
    TASK_BYTES = 1024
    WAITER_BYTES = 64

cdef enum:
    ERROR_UNKNOWN_TOPIC_OR_PARTITION = 3
    ERROR_UNKNOWN_TOPIC_ID = 100


cdef class FetchMessage(Waiter):
    """One Fetch request, and what its answer will say."""

    def __dealloc__(self):
        self.drop_parts(0)
        free(self.parts)
        free(self.keys)

    # -- request ------------------------------------------------------------------------------

    cdef int parse(self, const RequestHeader* header, const uint8_t* end) except -1:
        """Fill the request's fields and parts. Returns 1 when the request is malformed."""
        cdef wire_cursor c
        c.pos = header.body
        c.end = end
        self.api_version = header.api_version
        self.correlation_id = header.correlation_id
        self.replica_id = CONSUMER_REPLICA_ID
        self.replica_epoch = -1
        self.request_session_id = 0
        self.request_session_epoch = FINAL_EPOCH
        self.forgotten = NULL
        if self.api_version < REPLICA_STATE_FROM and wire_int32(&c, &self.replica_id) != WIRE_OK:
            return 1
        if (
            wire_int32(&c, &self.max_wait_ms) != WIRE_OK
            or wire_int32(&c, &self.min_bytes) != WIRE_OK
            or wire_int32(&c, &self.max_bytes) != WIRE_OK
            or wire_int8(&c, &self.isolation_level) != WIRE_OK
        ):
            return 1
        if self.api_version >= FETCH_SESSIONS_FROM:
            if wire_int32(&c, &self.request_session_id) != WIRE_OK:
                return 1
            if wire_int32(&c, &self.request_session_epoch) != WIRE_OK:
                return 1
        if self.parse_topics(&c) != 0 or self.parse_tail(&c) != 0:
            return 1
        # Bytes behind the request are ignored, as Kafka does: some clients send them.
        return 0

    cdef int parse_topics(self, wire_cursor* c) except -1:
        cdef bint flexible = self.api_version >= FETCH_FLEXIBLE_FROM
        cdef int32_t topics, parts, _t, _p, key_size
        cdef const uint8_t* key
        cdef FetchPart* part
        if wire_array_length(
            c, flexible, 6 if not flexible else 3, &topics
        ) != WIRE_OK or topics < 0 or topics > PARTS_MAX:
            return 1
        for _t in range(topics):
            if self.api_version >= FETCH_TOPIC_IDS_FROM:
                key = c.pos
                key_size = 16
                if wire_skip(c, 16) != WIRE_OK:
                    return 1
            elif wire_string(c, flexible, &key, &key_size) != WIRE_OK or key_size < 0:
                return 1
            if wire_array_length(
                c, flexible, 16, &parts
            ) != WIRE_OK or parts < 0 or parts > PARTS_MAX - self.part_count:
                return 1
            for _p in range(parts):
                part = self.add_part()
                part.key = key
                part.key_size = key_size
                if self.parse_partition(c, part) != 0:
                    return 1
            if flexible and wire_skip_tagged_fields(c) != WIRE_OK:
                return 1
        return 0

    cdef int parse_partition(self, wire_cursor* c, FetchPart* part) except -1:
        part.current_leader_epoch = -1
        part.last_fetched_epoch = -1
        part.follower_log_start_offset = -1
        if wire_int32(c, &part.index) != WIRE_OK:
            return 1
        if self.api_version >= 9 and wire_int32(c, &part.current_leader_epoch) != WIRE_OK:
            return 1
        if wire_int64(c, &part.fetch_offset) != WIRE_OK:
            return 1
        if self.api_version >= 12 and wire_int32(c, &part.last_fetched_epoch) != WIRE_OK:
            return 1
        if self.api_version >= 5 and wire_int64(c, &part.follower_log_start_offset) != WIRE_OK:
            return 1
        if wire_int32(c, &part.max_bytes) != WIRE_OK:
            return 1
        return self.parse_partition_tags(c) if self.api_version >= FETCH_FLEXIBLE_FROM else 0

    cdef int parse_partition_tags(self, wire_cursor* c) except -1:
        """replica_directory_id and high_watermark, which only have to be what they should be."""
        cdef uint32_t count, tag, size, _i
        cdef const uint8_t* data
        if wire_uvarint(c, &count) != WIRE_OK:
            return 1
        for _i in range(count):
            if wire_tagged_field(c, &tag, &data, &size) != WIRE_OK:
                return 1
            if tag == 0 and self.api_version >= DIRECTORY_ID_FROM and size != 16:
                return 1
            if tag == 1 and self.api_version >= HIGH_WATERMARK_FROM and size != 8:
                return 1
        return 0

    cdef int parse_tail(self, wire_cursor* c) except -1:
        """forgotten_topics_data (kept by its position), rack_id, tagged fields."""
        cdef bint flexible = self.api_version >= FETCH_FLEXIBLE_FROM
        cdef int32_t topics, indexes, _t, n
        cdef const uint8_t* text
        if self.api_version >= FETCH_SESSIONS_FROM:
            self.forgotten = c.pos
            if wire_array_length(
                c, flexible, 6 if not flexible else 3, &topics
            ) != WIRE_OK or topics < 0:
                return 1
            for _t in range(topics):
                if self.api_version >= FETCH_TOPIC_IDS_FROM:
                    if wire_skip(c, 16) != WIRE_OK:
                        return 1
                elif wire_string(c, flexible, &text, &n) != WIRE_OK or n < 0:
                    return 1
                if wire_array_length(c, flexible, 4, &indexes) != WIRE_OK or indexes < 0:
                    return 1
                if wire_skip(c, 4 * <size_t>indexes) != WIRE_OK:
                    return 1
                if flexible and wire_skip_tagged_fields(c) != WIRE_OK:
                    return 1
        self.rack_size = 0
        if self.api_version >= 11 and (
            wire_string(c, flexible, &self.rack, &self.rack_size) != WIRE_OK or self.rack_size < 0
        ):
            return 1
        return self.parse_request_tags(c) if flexible else 0

    cdef int parse_request_tags(self, wire_cursor* c) except -1:
        cdef uint32_t count, tag, size, _i
        cdef int32_t n
        cdef const uint8_t* data
        cdef const uint8_t* text
        cdef wire_cursor inner
        if wire_uvarint(c, &count) != WIRE_OK:
            return 1
        for _i in range(count):
            if wire_tagged_field(c, &tag, &data, &size) != WIRE_OK:
                return 1
            inner.pos = data
            inner.end = data + size
            if tag == 0:  # cluster_id
                if wire_string(&inner, True, &text, &n) != WIRE_OK:
                    return 1
            elif tag == 1 and self.api_version >= REPLICA_STATE_FROM:
                if (
                    wire_int32(&inner, &self.replica_id) != WIRE_OK
                    or wire_int64(&inner, &self.replica_epoch) != WIRE_OK
                    or wire_skip_tagged_fields(&inner) != WIRE_OK
                ):
                    return 1
            else:
                continue
            if inner.pos != inner.end:
                return 1
        return 0

    cdef FetchPart* add_part(self) except NULL:
        cdef int32_t capacity
        cdef FetchPart* grown
        cdef FetchPart* part
        if self.part_count == self.part_capacity:
            capacity = 2 * self.part_capacity if self.part_capacity else 8
            grown = <FetchPart*>realloc(self.parts, capacity * sizeof(FetchPart))
            if grown == NULL:
                raise MemoryError
            self.parts = grown
            self.part_capacity = capacity
        part = &self.parts[self.part_count]
        memset(part, 0, sizeof(FetchPart))
        self.part_count += 1
        return part

    cdef int detach_keys(self) except -1:
        cdef int32_t i
        cdef size_t total = 1
        cdef uint8_t* p
        cdef const uint8_t* before = NULL
        for i in range(self.part_count):
            if self.parts[i].key != before:
                before = self.parts[i].key
                total += self.parts[i].key_size
        self.keys = <uint8_t*>malloc(total)
        if self.keys == NULL:
            raise MemoryError
        self.keys_size = total
        p = self.keys
        before = NULL
        for i in range(self.part_count):
            # Parts of one topic share its key.
            if self.parts[i].key == before:
                self.parts[i].key = self.parts[i - 1].key
                continue
            before = self.parts[i].key
            memcpy(p, before, self.parts[i].key_size)
            self.parts[i].key = p
            p += self.parts[i].key_size
        return 0

    cdef int64_t held_bytes(self) noexcept:
        return (
            <int64_t>self.keys_size
            + self.part_capacity * <int64_t>(sizeof(FetchPart) + WAITER_BYTES)
            + TASK_BYTES
        )

    cdef int shrink(self) except -1:
        free(self.keys)
        self.keys = NULL
        self.keys_size = 0
        if self.part_capacity > PARTS_KEEP:
            free(self.parts)
            self.parts = NULL
            self.part_capacity = 0
        return 0

    cdef int drop_parts(self, int32_t keep) except -1:
        cdef int32_t i
        for i in range(keep, self.part_count):
            free(self.parts[i].aborted)
            if self.parts[i].file != NULL:
                Py_DECREF(<object>self.parts[i].file)
            if self.parts[i].session_partition != NULL:
                Py_DECREF(<object>self.parts[i].session_partition)
        self.part_count = keep
        return 0

    cdef int drop_files(self) except -1:
        cdef int32_t i
        for i in range(self.part_count):
            if self.parts[i].file != NULL:
                Py_DECREF(<object>self.parts[i].file)
                self.parts[i].file = NULL
            free(self.parts[i].aborted)
            self.parts[i].aborted = NULL
            self.parts[i].aborted_count = 0
            self.parts[i].size = 0
        return 0

    cdef int forget_topics(self, FetchSession session, const uint8_t* end) except -1:
        cdef wire_cursor c
        cdef bint flexible = self.api_version >= FETCH_FLEXIBLE_FROM
        cdef int32_t topics = 0, indexes = 0, _t, _i, index = 0, key_size = 0
        cdef const uint8_t* key = NULL
        # The same bytes were walked by parse_tail: no read here can fail.
        c.pos = self.forgotten
        c.end = end
        wire_array_length(&c, flexible, 3, &topics)
        for _t in range(topics):
            if self.api_version >= FETCH_TOPIC_IDS_FROM:
                key = c.pos
                key_size = 16
                wire_skip(&c, 16)
            else:
                wire_string(&c, flexible, &key, &key_size)
            name = PyBytes_FromStringAndSize(<const char*>key, key_size)
            wire_array_length(&c, flexible, 4, &indexes)
            for _i in range(indexes):
                wire_int32(&c, &index)
                session.remove(name, index)
            if flexible:
                wire_skip_tagged_fields(&c)
        return 0

    cdef int leave_parts_out(self) except -1:
        """The answer names none."""
        cdef int32_t i
        for i in range(self.part_count):
            self.parts[i].included = False
        return self.drop_files()

    # -- answer -------------------------------------------------------------------------------

    cdef size_t bound(self) noexcept:
        """At least the size of the encoded answer without the records."""
        cdef int32_t i
        cdef size_t size = 64
        for i in range(self.part_count):
            size += 112 + self.parts[i].key_size + 17 * self.parts[i].aborted_count
        return size

    cdef uint8_t* encode_head(self, uint8_t* p) noexcept:
        cdef bint flexible = self.api_version >= FETCH_FLEXIBLE_FROM
        cdef int32_t i = 0, topics = 0
        cdef int32_t last
        p = wire_put_int32(p + 4, self.correlation_id)
        if flexible:
            p = wire_put_int8(p, 0)
        p = wire_put_int32(p, self.throttle_time_ms)
        if self.api_version >= FETCH_SESSIONS_FROM:
            p = wire_put_int16(p, self.error_code)
            p = wire_put_int32(p, self.session_id)
        while i < self.part_count:
            if self.parts[i].included:
                self.group_end(i, &last)
                topics += 1
                i = last
            i += 1
        if flexible:
            return wire_put_uvarint(p, <uint32_t>topics + 1)
        return wire_put_int32(p, topics)

    cdef int32_t group_end(self, int32_t first, int32_t* last) noexcept:
        """Included parts of one topic stand together from `first` on: returns their number, *last
        is the last included one.
        """
        cdef int32_t i, count = 0
        cdef FetchPart* a = &self.parts[first]
        cdef FetchPart* b
        for i in range(first, self.part_count):
            b = &self.parts[i]
            if b.key != a.key and (
                b.key_size != a.key_size or memcmp(b.key, a.key, a.key_size) != 0
            ):
                break
            if b.included:
                count += 1
                last[0] = i
        return count

    cdef uint8_t* encode_topic_start(self, uint8_t* p, int32_t first, int32_t* last) noexcept:
        cdef FetchPart* part = &self.parts[first]
        cdef int32_t count = self.group_end(first, last)
        if self.api_version >= FETCH_TOPIC_IDS_FROM:
            p = wire_put_data(p, part.key, 16)
            return wire_put_uvarint(p, <uint32_t>count + 1)
        if self.api_version >= FETCH_FLEXIBLE_FROM:
            p = wire_put_uvarint(p, <uint32_t>part.key_size + 1)
            p = wire_put_data(p, part.key, part.key_size)
            return wire_put_uvarint(p, <uint32_t>count + 1)
        p = wire_put_int16(p, part.key_size)
        p = wire_put_data(p, part.key, part.key_size)
        return wire_put_int32(p, count)

    cdef uint8_t* encode_part(self, uint8_t* p, const FetchPart* part) noexcept:
        """Everything up to and with the length of the records; the records themselves are a
        region.
        """
        cdef bint flexible = self.api_version >= FETCH_FLEXIBLE_FROM
        cdef bint listed
        p = wire_put_int32(p, part.index)
        p = wire_put_int16(p, part.error_code)
        p = wire_put_int64(p, part.high_watermark)
        p = wire_put_int64(p, part.last_stable_offset)
        if self.api_version >= 5:
            p = wire_put_int64(p, part.log_start_offset)
        # aborted_transactions: null unless read_committed, as in Kafka, which has an empty list
        # also for what it does not know.
        if part.error_code == 0:
            listed = self.isolation_level == READ_COMMITTED
        else:
            listed = part.error_code in (
                ERROR_UNKNOWN_TOPIC_OR_PARTITION, ERROR_UNKNOWN_TOPIC_ID
            )
        p = self.encode_aborted(p, part, flexible, listed)
        if self.api_version >= 11:
            p = wire_put_int32(p, part.preferred)
        if flexible:
            return wire_put_uvarint(p, <uint32_t>part.size + 1)
        return wire_put_int32(p, <int32_t>part.size)

    cdef uint8_t* encode_aborted(
        self, uint8_t* p, const FetchPart* part, bint flexible, bint listed
    ) noexcept:
        cdef int32_t i
        if not listed:
            return wire_put_uvarint(p, 0) if flexible else wire_put_int32(p, -1)
        if flexible:
            p = wire_put_uvarint(p, <uint32_t>part.aborted_count + 1)
        else:
            p = wire_put_int32(p, part.aborted_count)
        for i in range(part.aborted_count):
            p = wire_put_int64(p, part.aborted[2 * i])
            p = wire_put_int64(p, part.aborted[2 * i + 1])
            if flexible:
                p = wire_put_int8(p, 0)
        return p

    cdef uint8_t* encode_part_tags(self, uint8_t* p, const FetchPart* part) noexcept:
        cdef bint leader
        if self.api_version < FETCH_FLEXIBLE_FROM:
            return p
        leader = part.leader_id >= 0 and self.api_version >= LEADER_HINT_FROM
        p = wire_put_int8(p, <int8_t>((part.diverging_epoch >= 0) + leader))
        if part.diverging_epoch >= 0:
            p = wire_put_int8(p, 0)
            p = wire_put_int8(p, 13)
            p = wire_put_int32(p, part.diverging_epoch)
            p = wire_put_int64(p, part.diverging_end_offset)
            p = wire_put_int8(p, 0)
        if leader:
            p = wire_put_int8(p, 1)
            p = wire_put_int8(p, 9)
            p = wire_put_int32(p, part.leader_id)
            p = wire_put_int32(p, part.leader_epoch)
            p = wire_put_int8(p, 0)
        return p
