"""Produce (API key 0, versions 3-13), native from frame to file.

A request is parsed whole before anything is appended (a malformed one appends nothing), then
appended partition by partition in
request order. It leaves the fast path only when it must: a log has to roll or a batch to be
rebuilt (the peer is blocked meanwhile, so
that nothing overtakes), or the answer waits for other replicas or an fdatasync (the peer goes on;
the answer keeps its place).

Loop thread only. Never touches a file but through LogCore.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int16_t, int32_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from tidelog._native.batch cimport ATTR_TRANSACTIONAL, BATCH_OVERHEAD
from tidelog._native.log cimport (
    APPENDED,
    DUPLICATE,
    NEEDS_RECOMPRESS,
    NEEDS_ROLL,
    AppendResult,
    AppendStatus,
)
from tidelog._native.partition cimport Partition, PartitionTable, TopicEntry, Waiter
from tidelog._native.request cimport Gates, RequestHeader, wall_ms
from tidelog._native.response cimport Peer
from tidelog._native.wire cimport (
    WIRE_OK,
    wire_array_length,
    wire_bytes,
    wire_cursor,
    wire_int16,
    wire_int32,
    wire_load16,
    wire_put_data,
    wire_put_int16,
    wire_put_int32,
    wire_put_int64,
    wire_put_int8,
    wire_put_uvarint,
    wire_reserve,
    wire_skip,
    wire_skip_tagged_fields,
    wire_string,
)

from tidelog.errors import KafkaError, StorageError

cdef enum:
    FLEXIBLE_FROM = 9
    TOPIC_IDS_FROM = 13
    # A batch is tried again after a roll; a log that asks for more rolls than this in a row is
    # broken.
    ROLLS_PER_BATCH_MAX = 3

cdef enum:
    ERROR_NONE = 0
    ERROR_UNKNOWN_SERVER_ERROR = -1
    ERROR_UNKNOWN_TOPIC_OR_PARTITION = 3
    ERROR_NOT_LEADER_OR_FOLLOWER = 6
    ERROR_REQUEST_TIMED_OUT = 7
    ERROR_MESSAGE_TOO_LARGE = 10
    ERROR_INVALID_TOPIC_EXCEPTION = 17
    ERROR_NOT_ENOUGH_REPLICAS = 19
    ERROR_INVALID_REQUIRED_ACKS = 21
    ERROR_TOPIC_AUTHORIZATION_FAILED = 29
    ERROR_CORRUPT_MESSAGE = 2
    ERROR_INVALID_TXN_STATE = 48
    ERROR_KAFKA_STORAGE_ERROR = 56
    ERROR_INVALID_RECORD = 87
    ERROR_UNKNOWN_TOPIC_ID = 100

cdef enum:
    # run(): what stopped it
    RUN_DONE = 0
    RUN_BLOCKED_BY_ROLL = 1
    RUN_BLOCKED_BY_RECOMPRESS = 2


cdef bytes ADMIN_CLIENT_ID = b"__admin_client"


cdef class ProduceTask(Waiter):
    """One Produce request, from its parsed form to its answer."""

    def __dealloc__(self):
        cdef int32_t i
        for i in range(self.part_count):
            if self.parts[i].partition != NULL:
                Py_DECREF(<object>self.parts[i].partition)
        free(self.topics)
        free(self.parts)
        free(self.frame)

    # -- parsing ------------------------------------------------------------------------------

    cdef int parse(self, const RequestHeader* header, const uint8_t* end) except -1:
        """Fill topics and parts. Returns 1 when the request is malformed."""
        cdef const uint8_t* text
        cdef int32_t n
        cdef bint flexible = header.api_version >= FLEXIBLE_FROM
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
        self.transactional = n >= 0
        if wire_int16(&c, &self.acks) != WIRE_OK or wire_int32(&c, &self.timeout_ms) != WIRE_OK:
            return 1
        return self.parse_topics(c.pos, end)

    cdef int parse_topics(self, const uint8_t* body, const uint8_t* end) except -1:
        cdef wire_cursor c
        cdef ProduceTopic* topic
        cdef ProducePart* part
        cdef int32_t topics, parts, t, _p
        cdef const uint8_t* data
        cdef bint flexible = self.api_version >= FLEXIBLE_FROM
        cdef bint by_id = self.api_version >= TOPIC_IDS_FROM
        c.pos = body
        c.end = end
        if wire_array_length(&c, flexible, 6 if not flexible else 3, &topics) != WIRE_OK:
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
            ) != WIRE_OK or parts < 0:
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
                part.records = <uint8_t*>data
                if flexible and wire_skip_tagged_fields(&c) != WIRE_OK:
                    return 1
            if flexible and wire_skip_tagged_fields(&c) != WIRE_OK:
                return 1
        if flexible and wire_skip_tagged_fields(&c) != WIRE_OK:
            return 1
        return 0 if c.pos == end else 1

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
        self.part_count += 1
        return part

    # -- appending ----------------------------------------------------------------------------

    cdef int run(self) except -1:
        """Append what is not yet decided. Returns RUN_..."""
        cdef ProducePart* part
        cdef int status
        while self.next_part < self.part_count:
            part = &self.parts[self.next_part]
            status = self.append_part(part)
            if status != RUN_DONE:
                return status
            self.next_part += 1
        return RUN_DONE

    cdef int append_part(self, ProducePart* part) except -1:
        cdef ProduceTopic* topic = &self.topics[part.topic]
        cdef TopicEntry entry
        cdef Partition partition
        cdef AppendResult result
        cdef AppendStatus status
        if self.acks < -1 or self.acks > 1:
            part.error_code = ERROR_INVALID_REQUIRED_ACKS
            return RUN_DONE
        if self.api_version >= TOPIC_IDS_FROM:
            entry = self.lane.table.find_id(topic.key)
            if entry is None:
                part.error_code = ERROR_UNKNOWN_TOPIC_ID
                return RUN_DONE
        else:
            entry = self.lane.table.find_name(topic.key, topic.key_size)
        partition = None if entry is None else entry.partition(part.index)
        if self.lane.gates.authorizer is not None:
            name = PyBytes_FromStringAndSize(
                <const char*>topic.key, topic.key_size
            ) if entry is None else entry.name
            if not self.lane.gates.authorizer.may_write(self.peer.info, name):
                part.error_code = ERROR_TOPIC_AUTHORIZATION_FAILED
                return RUN_DONE
        if partition is None:
            part.error_code = ERROR_UNKNOWN_TOPIC_OR_PARTITION
            return RUN_DONE
        if entry.internal and not self.admin_client:
            part.error_code = ERROR_INVALID_TOPIC_EXCEPTION
            return RUN_DONE
        part.error_code = self.refuse_before_append(part, partition)
        if part.error_code != ERROR_NONE:
            return RUN_DONE
        memset(&result, 0, sizeof(result))
        result.failure.record_index = -1
        status = partition.append_produce(
            part.records, part.records_size, self.api_version, self.lane.now_ms, &result
        )
        if status == NEEDS_ROLL:
            return RUN_BLOCKED_BY_ROLL
        if status == NEEDS_RECOMPRESS:
            return RUN_BLOCKED_BY_RECOMPRESS
        part.error_code = result.error_code
        part.failure = result.failure
        if status == APPENDED or status == DUPLICATE:
            part.base_offset = result.base_offset
            part.last_offset = result.last_offset
            part.log_append_time = result.log_append_time
            part.log_start_offset = result.log_start_offset
            self.note_append(part, partition)
        elif result.error_code not in (
            ERROR_MESSAGE_TOO_LARGE, ERROR_CORRUPT_MESSAGE, ERROR_KAFKA_STORAGE_ERROR
        ):
            # Kafka tells the log start offset with those refusals that its log, not its request
            # check, made.
            part.log_start_offset = partition.log.log_start_offset
        return RUN_DONE

    cdef int note_append(self, ProducePart* part, Partition partition) except -1:
        if self.acks != 0 and not partition.may_answer(self.acks, part.last_offset):
            part.waits = True
            Py_INCREF(partition)
            part.partition = <void*>partition
        return 0

    cdef int16_t refuse_before_append(self, ProducePart* part, Partition partition) except? -1:
        """What the log itself cannot know. (-1 is an error code of Kafka's that is never returned
        here.)
        """
        if partition.gates & 0xF:
            part.log_start_offset = -1
            return partition.gate_error()
        if self.acks == -1 and len(partition.isr) < partition.min_insync_replicas:
            return ERROR_NOT_ENOUGH_REPLICAS
        if part.records_size <= 0:
            return ERROR_INVALID_RECORD
        if self.lane.gates.transactions is None:
            # Kafka answers so for a transactional batch of a transaction that its coordinator
            # does not know.
            if part.records_size >= BATCH_OVERHEAD and wire_load16(
                part.records + 21
            ) & ATTR_TRANSACTIONAL:
                return ERROR_INVALID_TXN_STATE
        return ERROR_NONE

    # -- leaving the fast path ----------------------------------------------------------------

    cdef int detach_frame(self, const uint8_t* frame, size_t n) except -1:
        """Copy the frame: the connection's buffer goes on to other requests."""
        cdef int32_t i
        cdef uint8_t* copy = <uint8_t*>malloc(n if n else 1)
        if copy == NULL:
            raise MemoryError
        memcpy(copy, frame, n)
        for i in range(self.topic_count):
            self.topics[i].key = copy + (self.topics[i].key - frame)
        for i in range(self.part_count):
            if self.parts[i].records_size > 0:
                self.parts[i].records = copy + (self.parts[i].records - frame)
        self.frame = copy
        return 0

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
        p = self.frame
        for i in range(self.topic_count):
            memcpy(p, self.topics[i].key, self.topics[i].key_size)
            self.topics[i].key = p
            p += self.topics[i].key_size
        return 0

    async def run_slowly(self):
        """Goes on where run() was blocked; the peer takes no further frame until everything is
        appended.
        """
        try:
            while self._is_blocked():
                await self._blocker()
        except BaseException:
            self.peer.abort("produce failed")
            raise
        self._finish_slowly()

    def _is_blocked(self):
        self.lane.now_ms = wall_ms()
        self.blocked_by = self.run()
        return self.blocked_by != RUN_DONE

    async def _blocker(self):
        cdef Partition partition = self.blocking_partition()
        if self.blocked_by == RUN_BLOCKED_BY_ROLL:
            self.rolls = self.rolls + 1 if self.rolled_part == self.next_part else 1
            self.rolled_part = self.next_part
            try:
                if self.rolls > ROLLS_PER_BATCH_MAX:
                    raise StorageError(f"{partition!r} asks for a roll again and again")
                await partition.log.owner.roll()
            except (StorageError, OSError):
                self._decide(ERROR_KAFKA_STORAGE_ERROR, None)
        else:
            try:
                outcome = await self.lane.slow_append(partition, self._records(), self.api_version)
            except KafkaError as error:
                self._decide(error.error_code, None)
            except (StorageError, OSError):
                self._decide(ERROR_KAFKA_STORAGE_ERROR, None)
            else:
                self._decide(0, outcome)

    cdef Partition blocking_partition(self):
        cdef ProduceTopic* topic = &self.topics[self.parts[self.next_part].topic]
        cdef TopicEntry entry
        if self.api_version >= TOPIC_IDS_FROM:
            entry = self.lane.table.find_id(topic.key)
        else:
            entry = self.lane.table.find_name(topic.key, topic.key_size)
        return entry.partition(self.parts[self.next_part].index)

    def _records(self):
        cdef ProducePart* part = &self.parts[self.next_part]
        return PyBytes_FromStringAndSize(<const char*>part.records, part.records_size)

    def _decide(self, int16_t error_code, outcome):
        """The blocked part is decided: by an error, or by (error_code, base, last,
        log_append_time, log_start) of the slow append.
        """
        cdef ProducePart* part = &self.parts[self.next_part]
        cdef Partition partition = self.blocking_partition()
        part.error_code = error_code
        if outcome is not None:
            part.error_code = outcome.error_code
            part.log_start_offset = outcome.log_start_offset
            if outcome.error_code == ERROR_NONE:
                part.base_offset = outcome.base_offset
                part.last_offset = outcome.last_offset
                part.log_append_time = outcome.log_append_time
                self.note_append(part, partition)
        self.next_part += 1

    def _finish_slowly(self):
        cdef Peer peer = self.peer
        if not peer.closed:
            self.finish()
        if self.slot is None:
            self.lane.recycle(self)
        peer.unblock()

    # -- answering ----------------------------------------------------------------------------

    cdef int finish(self) except -1:
        """Everything is appended: answer, wait, or (acks=0) say nothing."""
        if self.acks == 0:
            if self.any_error():
                # Kafka's way to tell a producer that asked for no answer.
                self.peer.abort("acks=0 produce failed")
            elif self.slot is not None:
                self.peer.queue.complete(self.slot)
                self.peer.wake_writer()
                self.slot = None
            return 0
        if self.still_waits():
            return self.wait()
        return self.answer()

    cdef bint still_waits(self) noexcept:
        cdef int32_t i
        for i in range(self.part_count):
            if self.parts[i].waits:
                return True
        return False

    cdef int wait(self) except -1:
        cdef int32_t i
        if self.slot is None:
            self.slot = self.peer.queue.open_slot()
        if self.frame == NULL:
            self.detach_keys()
        for i in range(self.part_count):
            if self.parts[i].waits:
                (<Partition>self.parts[i].partition).produce_waiters.add(self)
        self.peer.waiters.add(self)
        if self.acks == -1:
            self.timer = self.lane.call_later(max(self.timeout_ms, 0) / 1000.0, self._time_out)
        return 0

    cdef int on_progress(self) except -1:
        cdef int32_t i
        cdef ProducePart* part
        cdef Partition partition
        cdef bint waits = False
        if self.done:
            return 0
        for i in range(self.part_count):
            part = &self.parts[i]
            if not part.waits:
                continue
            partition = <Partition>part.partition
            if partition.gates & 0xF:
                self.fail_part(part, partition.gate_error())
            elif partition.may_answer(self.acks, part.last_offset):
                part.waits = False
            else:
                waits = True
        if not waits:
            self.answer()
            self.forget_waits()
        return 0

    cdef int fail_part(self, ProducePart* part, int16_t error_code) except -1:
        part.waits = False
        part.error_code = error_code
        part.base_offset = part.log_append_time = part.log_start_offset = -1
        return 0

    def _time_out(self):
        cdef int32_t i
        if self.done:
            return
        for i in range(self.part_count):
            if self.parts[i].waits:
                self.fail_part(&self.parts[i], ERROR_REQUEST_TIMED_OUT)
        self.answer()
        self.forget_waits()

    cdef int cancel(self) except -1:
        self.forget_waits()
        return 0

    cdef int forget_waits(self) except -1:
        cdef int32_t i
        self.done = True
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        for i in range(self.part_count):
            if self.parts[i].partition != NULL:
                (<Partition>self.parts[i].partition).produce_waiters.discard(self)
        self.peer.waiters.discard(self)
        return 0

    cdef bint any_error(self) noexcept:
        cdef int32_t i
        for i in range(self.part_count):
            if self.parts[i].error_code != ERROR_NONE:
                return True
        return False

    cdef int answer(self) except -1:
        cdef uint8_t* start
        cdef uint8_t* end
        cdef size_t bound = self.bound()
        if self.slot is None:
            start = self.peer.queue.reserve_direct(bound)
            if start != NULL:
                end = self.encode(start)
                self.peer.queue.commit_direct(end - start)
                return 0
            self.slot = self.peer.queue.open_slot()
        start = wire_reserve(&self.slot.bytes, bound)
        if start == NULL:
            raise MemoryError
        end = self.encode(start)
        self.slot.bytes.length = end - start
        self.peer.queue.complete(self.slot)
        self.slot = None
        self.peer.wake_writer()
        return 0

    cdef size_t bound(self) noexcept:
        """At least the size of the encoded answer."""
        cdef int32_t i
        cdef size_t size = 32
        for i in range(self.topic_count):
            size += 16 + self.topics[i].key_size
        for i in range(self.part_count):
            size += 64
            if self.parts[i].error_code != ERROR_NONE:
                size += 32 + 2 * self.lane.reason_size_max
        return size

    cdef uint8_t* encode(self, uint8_t* p) noexcept:
        cdef uint8_t* start = p
        cdef ProduceTopic* topic
        cdef int32_t t, i
        cdef bint flexible = self.api_version >= FLEXIBLE_FROM
        p = wire_put_int32(p + 4, self.correlation_id)
        if flexible:
            p = wire_put_int8(p, 0)
            p = wire_put_uvarint(p, <uint32_t>self.topic_count + 1)
        else:
            p = wire_put_int32(p, self.topic_count)
        for t in range(self.topic_count):
            topic = &self.topics[t]
            if self.api_version >= TOPIC_IDS_FROM:
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
        cdef bint flexible = self.api_version >= FLEXIBLE_FROM
        cdef const uint8_t* text = NULL
        cdef int32_t text_size = -1
        p = wire_put_int32(p, part.index)
        p = wire_put_int16(p, part.error_code)
        p = wire_put_int64(p, part.base_offset)
        p = wire_put_int64(p, part.log_append_time)
        if self.api_version >= 5:
            p = wire_put_int64(p, part.log_start_offset)
        if self.api_version >= 8:
            if part.error_code != ERROR_NONE and 0 <= part.failure.reason < self.lane.reason_count:
                text = self.lane.reason_texts[part.failure.reason]
                text_size = self.lane.reason_sizes[part.failure.reason]
                if text_size == 0:
                    text_size = -1
            if part.error_code != ERROR_NONE and part.failure.record_index >= 0:
                p = put_length(p, flexible, 1)
                p = wire_put_int32(p, part.failure.record_index)
                p = put_text(p, flexible, text, text_size)
                if flexible:
                    p = wire_put_int8(p, 0)
            else:
                p = put_length(p, flexible, 0)
            p = put_text(p, flexible, text, text_size)
        if flexible:
            p = self.encode_leader(p, part)
        return p

    cdef uint8_t* encode_leader(self, uint8_t* p, const ProducePart* part) noexcept:
        """Tagged fields: the current leader, when the client asked the wrong node (KIP-951,
        version 10 on).
        """
        cdef Partition partition = None
        if part.error_code == ERROR_NOT_LEADER_OR_FOLLOWER and self.api_version >= 10:
            partition = self.blocking_partition_of(part)
        if partition is None or partition.leader_id < 0:
            return wire_put_int8(p, 0)
        p = wire_put_int8(p, 1)
        p = wire_put_int8(p, 0)
        p = wire_put_int8(p, 9)
        p = wire_put_int32(p, partition.leader_id)
        p = wire_put_int32(p, partition.leader_epoch)
        return wire_put_int8(p, 0)

    cdef Partition blocking_partition_of(self, const ProducePart* part):
        cdef ProduceTopic* topic = &self.topics[part.topic]
        cdef TopicEntry entry
        if self.api_version >= TOPIC_IDS_FROM:
            entry = self.lane.table.find_id(topic.key)
        else:
            entry = self.lane.table.find_name(topic.key, topic.key_size)
        return None if entry is None else entry.partition(part.index)

    cdef int clear(self) except -1:
        """Make it ready for the next request of the lane."""
        cdef int32_t i
        for i in range(self.part_count):
            if self.parts[i].partition != NULL:
                Py_DECREF(<object>self.parts[i].partition)
                self.parts[i].partition = NULL
        self.part_count = 0
        self.topic_count = 0
        self.next_part = 0
        self.rolls = 0
        self.throttle_time_ms = 0
        self.slot = None
        self.peer = None
        self.done = False
        free(self.frame)
        self.frame = NULL
        return 0


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


cdef class ProduceLane:
    """Takes Produce frames. `reasons`: texts of CheckFailure.reason; `slow_append`: coroutine
    function (partition, records, api_version) for
    batches that have to be rebuilt, answering an object with error_code, base_offset,
    last_offset, log_append_time, log_start_offset.
    """

    def __init__(
        self, PartitionTable table not None, Gates gates not None, *, call_later, create_task,
        slow_append, reasons
    ):
        self.table = table
        self.gates = gates
        self.call_later = call_later
        self.create_task = create_task
        self.slow_append = slow_append
        self.reasons = [text.encode() for text in reasons]
        self.reason_count = len(self.reasons)
        self.reason_texts = <const uint8_t**>malloc((self.reason_count + 1) * sizeof(void*))
        self.reason_sizes = <int32_t*>malloc((self.reason_count + 1) * sizeof(int32_t))
        if self.reason_texts == NULL or self.reason_sizes == NULL:
            raise MemoryError
        for i, text in enumerate(self.reasons):
            self.reason_texts[i] = <const uint8_t*>PyBytes_AS_STRING(text)
            self.reason_sizes[i] = <int32_t>len(text)
            self.reason_size_max = max(self.reason_size_max, <size_t>len(text))

    def __dealloc__(self):
        free(self.reason_texts)
        free(self.reason_sizes)

    cdef int handle(
        self, Peer peer, const RequestHeader* header, uint8_t* frame, size_t n
    ) except -1:
        cdef ProduceTask task = self.spare
        cdef int status
        if task is None:
            task = ProduceTask.__new__(ProduceTask)
            task.lane = self
        else:
            self.spare = None
        task.peer = peer
        if task.parse(header, frame + n) != 0:
            peer.abort("malformed Produce request")
            return self.recycle(task)
        if self.gates.quotas is not None:
            task.throttle_time_ms = self.gates.quotas.produced(
                peer.info, PyBytes_FromStringAndSize(
                    <const char*>header.client_id, max(header.client_id_size, 0)
                ), n
            )
        self.now_ms = wall_ms()
        status = task.run()
        if status == RUN_DONE:
            task.finish()
            if task.slot is None:
                return self.recycle(task)
            return 0
        # Blocked: what follows on this connection must not overtake it.
        task.detach_frame(frame, n)
        task.slot = peer.queue.open_slot()
        peer.block()
        self.create_task(task.run_slowly())
        return 0

    cdef int recycle(self, ProduceTask task) except -1:
        task.clear()
        self.spare = task
        return 0
