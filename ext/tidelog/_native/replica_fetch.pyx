"""The follower's end of Fetch (key 1, versions 15 to 18), one object for each connection.

A request names the partitions that changed since the leader was last told of them, and those that
it has to forget: a thousand idle ones cost nothing. An answer is received into one buffer, parsed
there, and its records are appended from there; only partitions that it names are touched, and no
object is made for a record, a field or a partition.

Up to two requests may be under way: the second one only when there is something new to name, so
that a leader which waits for data learns of it at once. An answer says nothing about a partition
that was named anew by a later request, or changed meanwhile.

Every length of an answer is compared with what is there before it is used. What is malformed raises
MalformedMessageError; then nothing of the answer may be used, and the connection ends.

Loop thread only.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport INT32_MAX, int16_t, int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memmove, strerror

from tidelog._native.batch cimport BATCH_OVERHEAD, BatchInfo, parse_header
from tidelog._native.fetch_answer cimport Answer, read_partition
from tidelog._native.log cimport APPENDED, NEEDS_ROLL, AppendResult, AppendStatus, LogCore
from tidelog._native.sockets cimport MSG_DONTWAIT, recv
from tidelog._native.wire cimport (
    WIRE_OK,
    wire_array_length,
    wire_cursor,
    wire_int16,
    wire_int32,
    wire_load32,
    wire_put_data,
    wire_put_int8,
    wire_put_int16,
    wire_put_int32,
    wire_put_int64,
    wire_put_uvarint,
    wire_reserve,
    wire_skip,
    wire_skip_tagged_fields,
)

from tidelog.errors import InvariantError, MalformedMessageError

cdef enum:
    API_FETCH = 1
    VERSION_MIN = 15
    VERSION_MAX = 18
    HIGH_WATERMARK_FROM = 18
    SIZE_PREFIX = 4

cdef enum:
    # The buffer to begin with: answers without records, and small ones.
    BUFFER_BYTES = 64 * 1024
    # The calls below this size are too short to give the GIL away for.
    NOGIL_FROM = 64 * 1024
    # Bounds of what a named partition, its topic and a forgotten partition take in a request.
    PART_BYTES = 80
    FORGOTTEN_BYTES = 40
    REQUEST_BYTES = 128
    # The least that a topic and a partition take in an answer.
    TOPIC_BYTES_MIN = 18
    PARTITION_BYTES_MIN = 37

cdef enum:
    ERROR_FETCH_SESSION_ID_NOT_FOUND = 70

RECEIVED_PART, RECEIVED_ANSWER, RECEIVED_END = range(3)  # what receive() answers


cdef class FetchedPart:
    """One partition that is fetched from its leader, in one life of both: whoever begins to follow
    anew makes another one. `owner` is for the caller.
    """

    def __init__(
        self, bytes topic_id not None, int32_t index, LogCore core not None,
        int32_t current_leader_epoch, owner=None,
    ):
        if len(topic_id) != 16:
            raise InvariantError("a topic id has 16 bytes")
        self.topic_id = topic_id
        self.index = index
        self.core = core
        self.current_leader_epoch = current_leader_epoch
        self.owner = owner
        self.diverging_epoch = self.leader_id = self.leader_epoch = -1
        self.high_watermark = self.log_start_offset = self.diverging_end_offset = -1
        self.refused_base_offset = self.refused_last_offset = -1


cdef class ReplicaFetch:
    """Requests and answers of one connection to a leader.

    `answer_bytes_max`: a longer answer ends the connection. `max_bytes`, `partition_max_bytes`,
    `max_wait_ms`, `min_bytes`: of the requests.
    """

    def __init__(
        self,
        *,
        int16_t api_version,
        bytes client_id not None,
        int32_t node_id,
        int64_t node_epoch,
        int32_t max_wait_ms,
        int32_t min_bytes,
        int32_t max_bytes,
        int32_t partition_max_bytes,
        int64_t answer_bytes_max,
    ):
        if not VERSION_MIN <= api_version <= VERSION_MAX:
            raise InvariantError(f"followers do not speak Fetch {api_version}")
        if len(client_id) > 0x7FFF or answer_bytes_max > INT32_MAX:
            raise InvariantError("longer than the protocol can say")
        self.api_version = api_version
        self.client_id = client_id
        self.node_id = node_id
        self.node_epoch = node_epoch
        self.max_wait_ms = max_wait_ms
        self.min_bytes = min_bytes
        self.max_bytes = max_bytes
        self.partition_max_bytes = partition_max_bytes
        self.answer_bytes_max = answer_bytes_max
        self.keep_bytes = <size_t>max(max_bytes, 0) + BUFFER_BYTES
        self.topics = {}
        self.changed = []
        self.forgotten = {}

    def __dealloc__(self):
        free(self.data)
        free(self.out.data)

    # -- partitions ---------------------------------------------------------------------------

    def add(self, FetchedPart part not None):
        """Know the partition; it is fetched once ask() was called. It takes the place of an earlier
        one.
        """
        cdef FetchedPart old = self.find(part.topic_id, part.index)
        if old is part:
            return
        if old is not None:
            self.remove(old)
        self.topics.setdefault(part.topic_id, {})[part.index] = part

    def remove(self, FetchedPart part not None):
        """Fetch it no more, and take no answer for it."""
        cdef dict parts
        if self.find(part.topic_id, part.index) is not part:
            return
        self.pause(part)
        parts = self.topics[part.topic_id]
        del parts[part.index]
        if not parts:
            del self.topics[part.topic_id]

    def ask(
        self, FetchedPart part not None, int64_t fetch_offset, int32_t last_fetched_epoch,
        int64_t log_start_offset, int64_t high_watermark,
    ):
        """Fetch it from there on, with the next request."""
        if self.find(part.topic_id, part.index) is not part:
            raise InvariantError(f"{part!r} is not fetched here")
        part.fetch_offset = fetch_offset
        part.last_fetched_epoch = last_fetched_epoch
        part.follower_log_start_offset = log_start_offset
        part.follower_high_watermark = high_watermark
        if not part.active:
            part.active = True
            self.active_count += 1
        part.changed = True
        if not part.listed:
            part.listed = True
            self.changed.append(part)
        key = (part.topic_id, part.index)
        if key in self.forgotten:
            # (Of this part or of one before it: the leader was not told to forget it yet.)
            del self.forgotten[key]
            part.in_session = True

    def pause(self, FetchedPart part not None):
        """Fetch it no more until ask() is called; answers that are under way say nothing of it."""
        if part.active:
            part.active = False
            self.active_count -= 1
        part.changed = False
        self.leave_session(part)

    cdef int leave_session(self, FetchedPart part) except -1:
        if part.in_session:
            part.in_session = False
            self.forgotten[(part.topic_id, part.index)] = None
        return 0

    cdef FetchedPart find(self, bytes topic_id, int32_t index):
        cdef dict parts = self.topics.get(topic_id)
        return None if parts is None else parts.get(index)

    def parts(self):
        """All that it knows."""
        return [part for parts in self.topics.values() for part in parts.values()]

    # -- requests -----------------------------------------------------------------------------

    @property
    def may_send(self):
        """True when next_request() may be called: nothing is under way, or one request in an
        established session while there is something to name.
        """
        cdef int64_t under_way = self.sent - self.answered
        if self.active_count == 0:
            return False
        if under_way == 0:
            return True
        return under_way == 1 and self.session_epoch > 0 and bool(self.changed)

    def next_request(self):
        """The frame to send."""
        cdef bint full = self.session_epoch == 0
        cdef list named
        cdef uint8_t* start
        cdef uint8_t* p
        if not self.may_send:
            raise InvariantError("no request may be sent")
        self.sent += 1
        named = self.take_named(full)
        if full:
            self.forgotten.clear()
        self.out.length = 0
        start = wire_reserve(
            &self.out,
            REQUEST_BYTES + PyBytes_GET_SIZE(self.client_id)
            + <size_t>PART_BYTES * len(named) + <size_t>FORGOTTEN_BYTES * len(self.forgotten),
        )
        if start == NULL:
            raise MemoryError
        p = self.put_head(start, full)
        p = self.put_topics(p, named)
        p = self.put_forgotten(p)
        p = self.put_tail(p)
        wire_put_int32(start, <int32_t>(p - start - SIZE_PREFIX))
        if not full:
            self.session_epoch = 1 if self.session_epoch == INT32_MAX else self.session_epoch + 1
        return PyBytes_FromStringAndSize(<const char*>start, p - start)

    cdef list take_named(self, bint full):
        cdef FetchedPart part
        cdef list named = []
        for part in self.changed:
            part.listed = False
            if part.changed and not full:
                named.append(part)
        self.changed = []
        if full:
            for part in self.parts():
                if part.active:
                    named.append(part)
        for part in named:
            part.changed = False
            part.in_session = True
            part.named_in = self.sent
        return named

    cdef uint8_t* put_head(self, uint8_t* p, bint full) noexcept:
        cdef Py_ssize_t n = PyBytes_GET_SIZE(self.client_id)
        p = wire_put_int16(p + SIZE_PREFIX, API_FETCH)
        p = wire_put_int16(p, self.api_version)
        p = wire_put_int32(p, <int32_t>(self.sent & INT32_MAX))
        p = wire_put_int16(p, <int16_t>n)
        p = wire_put_data(p, PyBytes_AS_STRING(self.client_id), n)
        p = wire_put_int8(p, 0)
        # The first answer is wanted at once: nothing can hurry behind a request without a session.
        p = wire_put_int32(p, 0 if full and not self.without_session else self.max_wait_ms)
        p = wire_put_int32(p, self.min_bytes)
        p = wire_put_int32(p, self.max_bytes)
        p = wire_put_int8(p, 0)
        p = wire_put_int32(p, self.session_id)
        return wire_put_int32(p, 0 if full else self.session_epoch)

    cdef uint8_t* put_topics(self, uint8_t* p, list named) except NULL:
        cdef Py_ssize_t i = 0, j, count = len(named)
        cdef uint32_t topics = 0
        cdef FetchedPart part
        cdef bytes topic_id
        for i in range(count):
            part = <FetchedPart>named[i]
            if i == 0 or part.topic_id != (<FetchedPart>named[i - 1]).topic_id:
                topics += 1
        p = wire_put_uvarint(p, topics + 1)
        i = 0
        while i < count:
            topic_id = (<FetchedPart>named[i]).topic_id
            j = i
            while j < count and (<FetchedPart>named[j]).topic_id == topic_id:
                j += 1
            p = wire_put_data(p, PyBytes_AS_STRING(topic_id), 16)
            p = wire_put_uvarint(p, <uint32_t>(j - i) + 1)
            while i < j:
                p = self.put_part(p, <FetchedPart>named[i])
                i += 1
            p = wire_put_int8(p, 0)
        return p

    cdef uint8_t* put_part(self, uint8_t* p, FetchedPart part) noexcept:
        p = wire_put_int32(p, part.index)
        p = wire_put_int32(p, part.current_leader_epoch)
        p = wire_put_int64(p, part.fetch_offset)
        p = wire_put_int32(p, part.last_fetched_epoch)
        p = wire_put_int64(p, part.follower_log_start_offset)
        p = wire_put_int32(p, self.partition_max_bytes)
        if self.api_version < HIGH_WATERMARK_FROM:
            return wire_put_int8(p, 0)
        p = wire_put_int8(p, 1)
        p = wire_put_int8(p, 1)
        p = wire_put_int8(p, 8)
        return wire_put_int64(p, part.follower_high_watermark)

    cdef uint8_t* put_forgotten(self, uint8_t* p) except NULL:
        cdef bytes topic_id
        p = wire_put_uvarint(p, <uint32_t>len(self.forgotten) + 1)
        for key in self.forgotten:
            topic_id = key[0]
            p = wire_put_data(p, PyBytes_AS_STRING(topic_id), 16)
            p = wire_put_int8(p, 2)
            p = wire_put_int32(p, key[1])
            p = wire_put_int8(p, 0)
        self.forgotten.clear()
        return p

    cdef uint8_t* put_tail(self, uint8_t* p) noexcept:
        """No rack; ReplicaState (KIP-903) as a tagged field."""
        p = wire_put_int8(p, 1)
        p = wire_put_int8(p, 1)
        p = wire_put_int8(p, 1)
        p = wire_put_int8(p, 13)
        p = wire_put_int32(p, self.node_id)
        p = wire_put_int64(p, self.node_epoch)
        return wire_put_int8(p, 0)

    # -- receiving ----------------------------------------------------------------------------

    def reset(self):
        """The connection is a new one: what was under way is lost, the session begins anew (the old
        one is closed with that).
        """
        self.answered = self.sent
        self.session_epoch = 0
        self.filled = 0

    def receive(self, int fd):
        """Read from a socket until it is empty or an answer is here (RECEIVED_...); take_answer()
        comes next then. Raises MalformedMessageError, OSError.
        """
        cdef ssize_t n
        cdef size_t room
        cdef uint8_t* into
        while True:
            if self.complete():
                return RECEIVED_ANSWER
            room = self.make_room()
            into = self.data + self.filled
            if room >= NOGIL_FROM:
                with nogil:
                    n = recv(fd, into, room, MSG_DONTWAIT)
            else:
                n = recv(fd, into, room, MSG_DONTWAIT)
            if n == 0:
                return RECEIVED_END
            if n < 0:
                if errno == EINTR:
                    continue
                if errno == EAGAIN:
                    return RECEIVED_PART
                raise OSError(errno, strerror(errno).decode())
            self.filled += n
            self.bytes_received += n
            if <size_t>n < room and not self.complete():
                return RECEIVED_PART

    def room(self):
        """The same for other ways to receive: where the next bytes go (a writable view, good until
        the next call of a method), of which received() then tells the number.
        """
        cdef size_t n = self.make_room()
        return PyMemoryView_FromMemory(<char*>(self.data + self.filled), n, PyBUF_WRITE)

    def received(self, size_t n):
        """Returns whether an answer is complete."""
        if n > self.capacity - self.filled:
            raise InvariantError("more was received than there was room for")
        self.filled += n
        self.bytes_received += n
        return self.complete()

    @property
    def is_complete(self):
        """Whether an answer is here."""
        return self.complete()

    cdef bint complete(self) except -1:
        if self.filled < SIZE_PREFIX:
            return False
        return self.filled >= SIZE_PREFIX + <size_t>self.frame_size()

    cdef int64_t frame_size(self) except -1:
        cdef int32_t size = <int32_t>wire_load32(self.data)
        if self.answered == self.sent:
            raise MalformedMessageError("an answer that nobody waits for")
        if size < 0 or size > self.answer_bytes_max:
            raise MalformedMessageError(f"an answer of {size} bytes (at most "
                                        f"{self.answer_bytes_max})")
        return size

    cdef size_t make_room(self) except 0:
        cdef size_t end
        if self.filled < SIZE_PREFIX:
            self.reserve(BUFFER_BYTES)
            return self.capacity - self.filled
        end = SIZE_PREFIX + <size_t>self.frame_size()
        if self.filled >= end:
            raise InvariantError("the answer has to be taken first")
        # Memory comes with the bytes: a declared size alone costs nothing.
        if self.filled == self.capacity:
            self.reserve(min(end, 2 * self.capacity))
        return min(end, self.capacity) - self.filled

    cdef int reserve(self, size_t capacity) except -1:
        cdef uint8_t* grown
        if capacity <= self.capacity:
            return 0
        grown = <uint8_t*>realloc(self.data, capacity)
        if grown == NULL:
            raise MemoryError
        self.data = grown
        self.capacity = capacity
        return 0

    @property
    def buffer_bytes(self):
        """Memory that the buffer takes."""
        return self.capacity

    # -- answers ------------------------------------------------------------------------------

    def take_answer(self):
        """The partitions that the complete answer tells something about. Call done() when they
        were dealt with. Raises MalformedMessageError.
        """
        cdef wire_cursor c
        cdef list found = []
        if not self.complete():
            raise InvariantError("there is no answer")
        self.answered += 1
        c.pos = self.data + SIZE_PREFIX
        c.end = c.pos + wire_load32(self.data)
        if self.parse(&c, found) != 0:
            raise MalformedMessageError("a malformed Fetch answer")
        return found

    def done(self):
        """The buffer is free for the next answer. Returns whether that is complete already."""
        cdef size_t size = SIZE_PREFIX + <size_t>wire_load32(self.data)
        self.filled -= size
        if self.filled:
            memmove(self.data, self.data + size, self.filled)
        elif self.capacity > self.keep_bytes:
            free(self.data)
            self.data = NULL
            self.capacity = 0
        return self.complete()

    cdef int parse(self, wire_cursor* c, list found) except -1:
        cdef int32_t correlation_id, session_id
        cdef int16_t error_code
        if (
            wire_int32(c, &correlation_id) != WIRE_OK
            or wire_skip_tagged_fields(c) != WIRE_OK
            or wire_int32(c, &self.throttle_time_ms) != WIRE_OK
            or wire_int16(c, &error_code) != WIRE_OK
            or wire_int32(c, &session_id) != WIRE_OK
            or correlation_id != <int32_t>(self.answered & INT32_MAX)
            or self.parse_topics(c, found) != 0
            or wire_skip_tagged_fields(c) != WIRE_OK
            or c.pos != c.end
        ):
            return 1
        self.error_code = error_code
        if error_code != 0:
            found.clear()
        return self.enter(error_code, session_id)

    cdef int enter(self, int16_t error_code, int32_t session_id) except -1:
        """What the answer says about the session."""
        if error_code == ERROR_FETCH_SESSION_ID_NOT_FOUND:
            self.session_id = 0
            self.session_epoch = 0
        elif error_code != 0:
            # It is closed with the next request, which begins another one.
            self.session_epoch = 0
        elif self.session_epoch == 0:
            self.session_id = session_id
            self.without_session = session_id == 0
            self.session_epoch = 0 if self.without_session else 1
        elif session_id != self.session_id:
            self.session_id = 0
            self.session_epoch = 0
        return 0

    cdef int parse_topics(self, wire_cursor* c, list found) except -1:
        cdef int32_t topics, partitions, _t, _p
        cdef const uint8_t* topic_id
        cdef const uint8_t* last_id = NULL
        cdef dict parts = None
        if wire_array_length(c, True, TOPIC_BYTES_MIN, &topics) != WIRE_OK or topics < 0:
            return 1
        for _t in range(topics):
            topic_id = c.pos
            if wire_skip(c, 16) != WIRE_OK:
                return 1
            if last_id == NULL or memcmp(topic_id, last_id, 16) != 0:
                parts = self.topics.get(PyBytes_FromStringAndSize(<const char*>topic_id, 16))
                last_id = topic_id
            if (
                wire_array_length(c, True, PARTITION_BYTES_MIN, &partitions) != WIRE_OK
                or partitions < 0
            ):
                return 1
            for _p in range(partitions):
                if self.parse_partition(c, parts, found) != 0:
                    return 1
            if wire_skip_tagged_fields(c) != WIRE_OK:
                return 1
        return 0

    cdef int parse_partition(self, wire_cursor* c, dict parts, list found) except -1:
        cdef Answer answer
        cdef FetchedPart part = None
        if read_partition(c, self.data, &answer) != 0:
            return 1
        if parts is not None:
            part = parts.get(answer.index)
        if (
            part is None
            or not part.in_session
            or part.changed
            or part.named_in > self.answered
        ):
            return 0
        if part.answered_in == self.answered:
            return 1
        part.answered_in = self.answered
        part.error_code = answer.error_code
        part.high_watermark = answer.high_watermark
        part.log_start_offset = answer.log_start_offset
        part.diverging_epoch = answer.diverging_epoch
        part.diverging_end_offset = answer.diverging_end_offset
        part.leader_id = answer.leader_id
        part.leader_epoch = answer.leader_epoch
        part.records_position = answer.records_position
        part.records_size = answer.records_size
        found.append(part)
        return 0

    # -- appending ----------------------------------------------------------------------------

    def append(self, FetchedPart part not None, int64_t now_ms):
        """Append the records of the answer that was taken last. A batch that is not whole at their
        end is left out.

        Returns 0; STATUS_NEEDS_ROLL when the next ones need a new segment; or an error code of
        Kafka's, negative, when the log refused them: CORRUPT_MESSAGE, OFFSET_OUT_OF_RANGE (its
        offsets: `refused_...`), KAFKA_STORAGE_ERROR. Those before are appended.
        """
        cdef AppendResult result
        cdef AppendStatus status
        cdef BatchInfo info
        cdef const uint8_t* data
        if part.answered_in != self.answered:
            raise InvariantError(f"{part!r} is not in the answer")
        while part.records_size >= BATCH_OVERHEAD:
            data = self.data + part.records_position
            status = part.core.append_as_follower(data, part.records_size, now_ms, &result)
            if status == NEEDS_ROLL:
                return <int>NEEDS_ROLL
            if status != APPENDED:
                if parse_header(data, <size_t>part.records_size, &info) == 0:
                    part.refused_base_offset = info.base_offset
                    part.refused_last_offset = info.base_offset + info.last_offset_delta
                return -<int>result.error_code
            if result.consumed_bytes == 0:
                break
            part.records_position += result.consumed_bytes
            part.records_size -= result.consumed_bytes
        return 0
