"""Produce requests and answers as bytes (API key 0, versions 3-13): parsed and encoded in place.

No look-ups and no waiting: those are the lane's (produce_lane.pyx). Batches stay where they were
received.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from tidelog._native.batch cimport ATTR_TRANSACTIONAL, BATCH_OVERHEAD, MAGIC_V2
from tidelog._native.partition cimport Partition, Waiter
from tidelog._native.request cimport RequestHeader
from tidelog._native.wire cimport (
    WIRE_OK,
    wire_array_length,
    wire_bytes,
    wire_cursor,
    wire_int16,
    wire_int32,
    wire_load16,
    wire_load32,
    wire_load64,
    wire_put_data,
    wire_put_int8,
    wire_put_int16,
    wire_put_int32,
    wire_put_int64,
    wire_put_uvarint,
    wire_skip,
    wire_skip_tagged_fields,
    wire_string,
)

from tidelog.errors import InvariantError

cdef enum:
    LEADER_HINT_FROM = 10
    ERROR_NONE = 0

cdef enum:
    # A part is six bytes of a request, but a hundred here: more of them than any client sends are
    # an attack on memory.
    PARTS_MAX = 200_000
    # Room for more parts than this is given back after the request.
    PARTS_KEEP = 1024
    # What a waiting request takes beside its parts and bytes: the task, its timer.
    TASK_BYTES = 1024
    # Where a batch has its magic byte and its attributes.
    MAGIC_AT = 16
    ATTRIBUTES_AT = 21
    # More of an error message than this is cut off.
    MESSAGE_MAX = 1000


cdef bytes ADMIN_CLIENT_ID = b"__admin_client"


cdef class ReasonTexts:
    """Texts of CheckFailure.reason as C strings. `reasons`: by number; "" = none."""

    def __init__(self, reasons):
        cdef Py_ssize_t i
        self.kept = [text.encode() for text in reasons]
        self.count = <int>len(self.kept)
        self.texts = <const uint8_t**>malloc((self.count + 1) * sizeof(void*))
        self.sizes = <int32_t*>malloc((self.count + 1) * sizeof(int32_t))
        if self.texts == NULL or self.sizes == NULL:
            raise MemoryError
        for i in range(self.count):
            self.texts[i] = <const uint8_t*>PyBytes_AS_STRING(<bytes>self.kept[i])
            self.sizes[i] = <int32_t>len(self.kept[i])

    def __dealloc__(self):
        free(self.texts)
        free(self.sizes)


cdef class ProduceMessage(Waiter):
    """One Produce request, and what its answer will say."""

    def __dealloc__(self):
        self.drop_parts()
        free(self.topics)
        free(self.parts)
        free(self.frame)

    # -- request ------------------------------------------------------------------------------

    cdef int parse(self, const RequestHeader* header, const uint8_t* end) except -1:
        """Fill topics and parts. Returns 1 when the request is malformed."""
        cdef const uint8_t* text
        cdef int32_t n
        cdef bint flexible = header.api_version >= PRODUCE_FLEXIBLE_FROM
        cdef wire_cursor c
        self.api_version = header.api_version
        self.correlation_id = header.correlation_id
        self.admin_client = (
            header.client_id_size == PyBytes_GET_SIZE(ADMIN_CLIENT_ID)
            and memcmp(
                header.client_id, PyBytes_AS_STRING(ADMIN_CLIENT_ID), header.client_id_size
            ) == 0
        )
        c.pos = header.body
        c.end = end
        if wire_string(&c, flexible, &text, &n) != WIRE_OK:
            return 1
        self.transactional = False
        if wire_int16(&c, &self.acks) != WIRE_OK or wire_int32(&c, &self.timeout_ms) != WIRE_OK:
            return 1
        if self.parse_topics(c.pos, end) != 0:
            return 1
        if self.transactional:
            self.transactional_id = (
                None if n < 0 else PyBytes_FromStringAndSize(<const char*>text, n)
            )
        return 0

    cdef int parse_topics(self, const uint8_t* body, const uint8_t* end) except -1:
        cdef wire_cursor c
        cdef ProduceTopic* topic
        cdef ProducePart* part
        cdef int32_t topics, parts, t, _p
        cdef const uint8_t* data
        cdef bint flexible = self.api_version >= PRODUCE_FLEXIBLE_FROM
        cdef bint by_id = self.api_version >= PRODUCE_TOPIC_IDS_FROM
        c.pos = body
        c.end = end
        if wire_array_length(
            &c, flexible, 6 if not flexible else 3, &topics
        ) != WIRE_OK or topics < 0 or topics > PARTS_MAX:
            return 1
        for t in range(topics):
            topic = self.add_topic()
            if by_id:
                topic.key = c.pos
                topic.key_size = 16
                if wire_skip(&c, 16) != WIRE_OK:
                    return 1
            elif wire_string(
                &c, flexible, &topic.key, &topic.key_size
            ) != WIRE_OK or topic.key_size < 0:
                return 1
            if wire_array_length(
                &c, flexible, 8 if not flexible else 6, &parts
            ) != WIRE_OK or parts < 0 or parts > PARTS_MAX - self.part_count:
                return 1
            topic.first_part = self.part_count
            topic.part_count = parts
            for _p in range(parts):
                part = self.add_part()
                part.topic = t
                if wire_int32(&c, &part.index) != WIRE_OK:
                    return 1
                if wire_bytes(&c, flexible, &data, &part.records_size) != WIRE_OK:
                    return 1
                self.take_records(part, data)
                if flexible and wire_skip_tagged_fields(&c) != WIRE_OK:
                    return 1
            if flexible and wire_skip_tagged_fields(&c) != WIRE_OK:
                return 1
        # What follows the message is ignored, as Kafka does.
        return 1 if flexible and wire_skip_tagged_fields(&c) != WIRE_OK else 0

    cdef int take_records(self, ProducePart* part, const uint8_t* data) except -1:
        # The lane modifies them: they lie in a buffer that is its own while it works.
        part.records = <uint8_t*>data
        if (
            part.records_size >= BATCH_OVERHEAD
            and data[MAGIC_AT] == MAGIC_V2
            and wire_load16(data + ATTRIBUTES_AT) & ATTR_TRANSACTIONAL
        ):
            self.transactional = True
        return 0

    cdef ProduceTopic* add_topic(self) except NULL:
        cdef int32_t capacity
        cdef ProduceTopic* grown
        if self.topic_count == self.topic_capacity:
            capacity = 2 * self.topic_capacity if self.topic_capacity else 4
            grown = <ProduceTopic*>realloc(self.topics, capacity * sizeof(ProduceTopic))
            if grown == NULL:
                raise MemoryError
            self.topics = grown
            self.topic_capacity = capacity
        self.topic_count += 1
        return &self.topics[self.topic_count - 1]

    cdef ProducePart* add_part(self) except NULL:
        cdef int32_t capacity
        cdef ProducePart* grown
        cdef ProducePart* part
        if self.part_count == self.part_capacity:
            capacity = 2 * self.part_capacity if self.part_capacity else 8
            grown = <ProducePart*>realloc(self.parts, capacity * sizeof(ProducePart))
            if grown == NULL:
                raise MemoryError
            self.parts = grown
            self.part_capacity = capacity
        part = &self.parts[self.part_count]
        memset(part, 0, sizeof(ProducePart))
        part.base_offset = part.last_offset = part.log_append_time = part.log_start_offset = -1
        part.failure.record_index = -1
        part.leader_id = -1
        self.part_count += 1
        return part

    cdef int detach_frame(self, const uint8_t* frame, size_t n) except -1:
        """Copy the frame: the connection's buffer goes on to other requests."""
        cdef int32_t i
        cdef uint8_t* copy = <uint8_t*>malloc(n if n else 1)
        if copy == NULL:
            raise MemoryError
        if self.frame != NULL:
            free(copy)
            raise InvariantError("a request is detached once")
        memcpy(copy, frame, n)
        for i in range(self.topic_count):
            self.topics[i].key = copy + (self.topics[i].key - frame)
        for i in range(self.part_count):
            if self.parts[i].records_size > 0:
                self.parts[i].records = copy + (self.parts[i].records - frame)
        self.frame = copy
        self.frame_size = n
        return 0

    cdef int64_t held_bytes(self) noexcept:
        return (
            <int64_t>self.frame_size
            + self.part_capacity * <int64_t>sizeof(ProducePart)
            + self.topic_capacity * <int64_t>sizeof(ProduceTopic)
            + TASK_BYTES
        )

    cdef int detach_keys(self) except -1:
        """Copy only the topic names: all that an answer needs of the frame."""
        cdef int32_t i
        cdef size_t total = 1
        cdef uint8_t* p
        for i in range(self.topic_count):
            total += self.topics[i].key_size
        self.frame = <uint8_t*>malloc(total)
        if self.frame == NULL:
            raise MemoryError
        self.frame_size = total
        p = self.frame
        for i in range(self.topic_count):
            memcpy(p, self.topics[i].key, self.topics[i].key_size)
            self.topics[i].key = p
            p += self.topics[i].key_size
        return 0

    cdef int drop_parts(self) except -1:
        cdef int32_t i
        for i in range(self.part_count):
            if self.parts[i].partition != NULL:
                Py_DECREF(<object>self.parts[i].partition)
                self.parts[i].partition = NULL
            if self.parts[i].refusal != NULL:
                Py_DECREF(<object>self.parts[i].refusal)
                self.parts[i].refusal = NULL
        self.part_count = 0
        self.topic_count = 0
        return 0

    cdef int shrink(self) except -1:
        free(self.frame)
        self.frame = NULL
        self.frame_size = 0
        if self.part_capacity > PARTS_KEEP:
            free(self.parts)
            self.parts = NULL
            self.part_capacity = 0
        if self.topic_capacity > PARTS_KEEP:
            free(self.topics)
            self.topics = NULL
            self.topic_capacity = 0
        return 0

    cdef int explain_part(self, ProducePart* part, record_errors, message) except -1:
        cdef bytes encoded
        cdef bint flexible = self.api_version >= PRODUCE_FLEXIBLE_FROM
        if self.api_version < PRODUCE_RECORD_ERRORS_FROM:
            return 0
        if message is None and part.failure.reason > 0 and part.failure.reason < self.texts.count:
            message = (<bytes>self.texts.kept[part.failure.reason]).decode()
        encoded = encode_explanation(record_errors, message, flexible)
        if part.refusal != NULL:
            Py_DECREF(<object>part.refusal)
        Py_INCREF(encoded)
        part.refusal = <void*>encoded
        return 0

    # -- answer -------------------------------------------------------------------------------

    cdef bint any_error(self) noexcept:
        cdef int32_t i
        for i in range(self.part_count):
            if self.parts[i].error_code != ERROR_NONE:
                return True
        return False

    cdef size_t bound(self) noexcept:
        """At least the size of the encoded answer."""
        cdef int32_t i
        cdef size_t size = 32
        for i in range(self.topic_count):
            size += 16 + self.topics[i].key_size
        for i in range(self.part_count):
            size += 64
            if self.parts[i].error_code != ERROR_NONE:
                size += self.bound_of_part(&self.parts[i])
        return size

    cdef size_t bound_of_part(self, const ProducePart* part) noexcept:
        if part.refusal != NULL:
            return PyBytes_GET_SIZE(<bytes>part.refusal)
        if 0 <= part.failure.reason < self.texts.count:
            return self.texts.sizes[part.failure.reason]
        return 0

    cdef uint8_t* encode(self, uint8_t* p) noexcept:
        cdef uint8_t* start = p
        cdef ProduceTopic* topic
        cdef int32_t t, i
        cdef bint flexible = self.api_version >= PRODUCE_FLEXIBLE_FROM
        p = wire_put_int32(p + 4, self.correlation_id)
        if flexible:
            p = wire_put_int8(p, 0)
            p = wire_put_uvarint(p, <uint32_t>self.topic_count + 1)
        else:
            p = wire_put_int32(p, self.topic_count)
        for t in range(self.topic_count):
            topic = &self.topics[t]
            if self.api_version >= PRODUCE_TOPIC_IDS_FROM:
                p = wire_put_data(p, topic.key, 16)
            elif flexible:
                p = wire_put_uvarint(p, <uint32_t>topic.key_size + 1)
                p = wire_put_data(p, topic.key, topic.key_size)
            else:
                p = wire_put_int16(p, topic.key_size)
                p = wire_put_data(p, topic.key, topic.key_size)
            if flexible:
                p = wire_put_uvarint(p, <uint32_t>topic.part_count + 1)
            else:
                p = wire_put_int32(p, topic.part_count)
            for i in range(topic.first_part, topic.first_part + topic.part_count):
                p = self.encode_part(p, &self.parts[i])
            if flexible:
                p = wire_put_int8(p, 0)
        p = wire_put_int32(p, self.throttle_time_ms)
        if flexible:
            p = wire_put_int8(p, 0)
        wire_put_int32(start, <int32_t>(p - start - 4))
        return p

    cdef uint8_t* encode_part(self, uint8_t* p, const ProducePart* part) noexcept:
        cdef bint flexible = self.api_version >= PRODUCE_FLEXIBLE_FROM
        p = wire_put_int32(p, part.index)
        p = wire_put_int16(p, part.error_code)
        p = wire_put_int64(p, part.base_offset)
        p = wire_put_int64(p, part.log_append_time)
        if self.api_version >= 5:
            p = wire_put_int64(p, part.log_start_offset)
        if self.api_version >= PRODUCE_RECORD_ERRORS_FROM:
            if part.error_code != ERROR_NONE:
                p = self.encode_refusal(p, part)
            else:
                p = put_length(p, flexible, 0)
                p = put_text(p, flexible, NULL, -1)
        if flexible:
            p = self.encode_leader(p, part)
        return p

    cdef uint8_t* encode_refusal(self, uint8_t* p, const ProducePart* part) noexcept:
        """record_errors and error_message of a part that has an error."""
        cdef bint flexible = self.api_version >= PRODUCE_FLEXIBLE_FROM
        cdef const uint8_t* text = NULL
        cdef int32_t text_size = -1
        if part.refusal != NULL:
            return wire_put_data(
                p, PyBytes_AS_STRING(<bytes>part.refusal), PyBytes_GET_SIZE(<bytes>part.refusal)
            )
        if 0 <= part.failure.reason < self.texts.count:
            text = self.texts.texts[part.failure.reason]
            text_size = self.texts.sizes[part.failure.reason]
            if text_size == 0:
                text_size = -1
        p = put_length(p, flexible, 0)
        return put_text(p, flexible, text, text_size)

    cdef uint8_t* encode_leader(self, uint8_t* p, const ProducePart* part) noexcept:
        """Tagged fields: the current leader, when the client asked the wrong node (KIP-951)."""
        if part.leader_id < 0 or self.api_version < LEADER_HINT_FROM:
            return wire_put_int8(p, 0)
        p = wire_put_int8(p, 1)
        p = wire_put_int8(p, 0)
        p = wire_put_int8(p, 9)
        p = wire_put_int32(p, part.leader_id)
        p = wire_put_int32(p, part.leader_epoch)
        return wire_put_int8(p, 0)


cdef uint8_t* put_length(uint8_t* p, bint flexible, int32_t n) noexcept nogil:
    if flexible:
        return wire_put_uvarint(p, <uint32_t>(n + 1))
    return wire_put_int32(p, n)


cdef uint8_t* put_text(uint8_t* p, bint flexible, const uint8_t* text, int32_t n) noexcept nogil:
    """A nullable string; n = -1 is null."""
    if flexible:
        p = wire_put_uvarint(p, <uint32_t>(n + 1))
    else:
        p = wire_put_int16(p, n)
    if n > 0:
        p = wire_put_data(p, text, n)
    return p


cdef bytes encode_explanation(record_errors, message, bint flexible):
    """record_errors, pairs (index, message), and error_message (None: null) in a Produce answer.

    Off the hot path: Python objects throughout.
    """
    cdef uint8_t head[16]
    cdef list pieces = []
    cdef uint8_t* p = put_length(head, flexible, <int32_t>len(record_errors))
    pieces.append((<char*>head)[:p - head])
    for index, text in record_errors:
        p = wire_put_int32(head, index)
        pieces.append((<char*>head)[:p - head])
        pieces.append(encode_text(text, flexible))
        if flexible:
            pieces.append(b"\0")
    pieces.append(encode_text(message, flexible))
    return b"".join(pieces)


cdef bytes encode_text(text, bint flexible):
    cdef uint8_t head[16]
    cdef uint8_t* p
    cdef bytes data
    if text is None:
        p = put_text(head, flexible, NULL, -1)
        return (<char*>head)[:p - head]
    # Cut by characters: a cut in the middle of one would be no UTF-8.
    data = text[:MESSAGE_MAX].encode()
    if flexible:
        p = wire_put_uvarint(head, <uint32_t>(len(data) + 1))
    else:
        p = wire_put_int16(head, len(data))
    return (<char*>head)[:p - head] + data


cdef bint is_transactional(const ProducePart* part) noexcept nogil:
    return (
        part.records_size >= BATCH_OVERHEAD
        and wire_load16(part.records + ATTRIBUTES_AT) & ATTR_TRANSACTIONAL != 0
    )


cdef tuple writer_of(const ProducePart* part, Partition partition):
    """Of a batch: what the transaction gate is asked with."""
    cdef int64_t producer_id = <int64_t>wire_load64(part.records + 43)
    cdef int16_t producer_epoch = <int16_t>wire_load16(part.records + 51)
    cdef int32_t base_sequence = <int32_t>wire_load32(part.records + 53)
    return partition, producer_id, producer_epoch, base_sequence
