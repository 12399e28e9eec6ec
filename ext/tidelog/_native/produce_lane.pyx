"""Produce (API key 0, versions 3-13), native from frame to file.

A request is parsed whole before anything is appended (a malformed one appends nothing), then
appended partition by partition in request order. It leaves the fast path only when it must: a log
has to roll, a batch to be rebuilt or the coordinator of a transaction to be asked (the peer is
blocked meanwhile, so that nothing overtakes), or the answer waits for other replicas or an
fdatasync (the peer goes on; the answer keeps its place).

Loop thread only. Never touches a file but through LogCore.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.string cimport memset

from tidelog._native.log cimport (
    APPENDED,
    DUPLICATE,
    NEEDS_RECOMPRESS,
    NEEDS_ROLL,
    AppendResult,
    AppendStatus,
)
from tidelog._native.partition cimport GATE_NOT_LEADER, Partition, PartitionTable, TopicEntry
from tidelog._native.produce_message cimport (
    PRODUCE_RECORD_ERRORS_FROM,
    PRODUCE_TOPIC_IDS_FROM,
    ProduceMessage,
    ProducePart,
    ProduceTopic,
    ReasonTexts,
    is_transactional,
    writer_of,
)
from tidelog._native.request cimport Gates, RequestHeader, wall_ms
from tidelog._native.request_stats cimport (
    STAGE_APPEND,
    STAGE_FLUSH,
    STAGE_PARSE,
    STAGE_WAIT,
    RequestStats,
)
from tidelog._native.response cimport Peer
from tidelog._native.throttling cimport begin_charge, charge_produce
from tidelog._native.wire cimport wire_reserve

from tidelog.errors import KafkaError, StorageError
from tidelog.record.reasons import InvalidBatchError

cdef enum:
    # A batch is tried again after a roll; others may have filled the new segment meanwhile. A log
    # that asks for more rolls than this, although nobody appended, is broken.
    ROLLS_IN_VAIN_MAX = 3
    API_PRODUCE = 0

cdef enum:
    ERROR_NONE = 0
    ERROR_UNKNOWN_TOPIC_OR_PARTITION = 3
    ERROR_REQUEST_TIMED_OUT = 7
    ERROR_MESSAGE_TOO_LARGE = 10
    ERROR_INVALID_TOPIC_EXCEPTION = 17
    ERROR_NOT_ENOUGH_REPLICAS = 19
    ERROR_NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20
    ERROR_INVALID_REQUIRED_ACKS = 21
    ERROR_TOPIC_AUTHORIZATION_FAILED = 29
    ERROR_CORRUPT_MESSAGE = 2
    ERROR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53
    ERROR_KAFKA_STORAGE_ERROR = 56
    ERROR_INVALID_RECORD = 87
    ERROR_UNKNOWN_TOPIC_ID = 100

cdef enum:
    # run(): what stopped it
    RUN_DONE = 0
    RUN_BLOCKED_BY_ROLL = 1
    RUN_BLOCKED_BY_RECOMPRESS = 2
    RUN_BLOCKED_BY_GATE = 3


cdef class ProduceTask(ProduceMessage):
    """One Produce request, from its parsed form to its answer."""

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
        cdef Partition partition = self.check_part(part)
        if partition is None:
            return RUN_DONE
        if self.lane.gates.transactions is not None and is_transactional(part):
            if not self.is_verified(part, partition):
                return RUN_DONE if self.verdict is None else RUN_BLOCKED_BY_GATE
        return self.append_to(part, partition)

    cdef TopicEntry entry_of(self, ProducePart* part):
        cdef ProduceTopic* topic = &self.topics[part.topic]
        if self.api_version >= PRODUCE_TOPIC_IDS_FROM:
            return self.lane.table.find_id(topic.key)
        return self.lane.table.find_name(topic.key, topic.key_size)

    cdef Partition check_part(self, ProducePart* part):
        cdef ProduceTopic* topic = &self.topics[part.topic]
        cdef TopicEntry entry = self.entry_of(part)
        cdef Partition partition
        if entry is None and self.api_version >= PRODUCE_TOPIC_IDS_FROM:
            part.error_code = ERROR_UNKNOWN_TOPIC_ID
            return None
        partition = None if entry is None else entry.partition(part.index)
        if self.lane.gates.authorizer is not None:
            name = PyBytes_FromStringAndSize(
                <const char*>topic.key, topic.key_size
            ) if entry is None else entry.name
            if not self.lane.gates.authorizer.may_write(self.peer.info, name):
                part.error_code = ERROR_TOPIC_AUTHORIZATION_FAILED
                return None
        if partition is None:
            part.error_code = ERROR_UNKNOWN_TOPIC_OR_PARTITION
            return None
        if self.acks < -1 or self.acks > 1:
            part.error_code = ERROR_INVALID_REQUIRED_ACKS
            return None
        if entry.internal and not self.admin_client:
            part.error_code = ERROR_INVALID_TOPIC_EXCEPTION
            return None
        part.error_code = self.refuse_before_append(part, partition)
        return partition if part.error_code == ERROR_NONE else None

    cdef bint is_verified(self, ProducePart* part, Partition partition) except -1:
        """Is the batch part of an open transaction (KIP-890)? If not, the part has its error, or
        `verdict` is what has to be awaited for it.
        """
        code = None if self.verdicts is None else self.verdicts.get(self.next_part)
        if code:
            part.error_code = code
            return False
        writer = writer_of(part, partition)
        if code is not None:
            # It may be of an earlier transaction when something else was awaited since. Asked for
            # twice, the log decides.
            producers = partition.log.producers
            if self.asked_again == self.next_part or producers.may_write(*writer[1:3]):
                return True
            self.asked_again = self.next_part
        if not self.lane.gates.transactions.must_ask(writer):
            return True
        if self.verdict is None:
            self.ask_gate()
        return False

    cdef int ask_gate(self) except -1:
        """Ask for this part and all that follow and need it, too. What is wrong with those is told
        when it is their turn."""
        cdef int32_t i
        cdef Partition partition
        cdef list writers = []
        self.unverified = []
        for i in range(self.next_part, self.part_count):
            partition = self.check_part(&self.parts[i])
            if partition is None or not is_transactional(&self.parts[i]):
                continue
            writer = writer_of(&self.parts[i], partition)
            if self.lane.gates.transactions.must_ask(writer):
                self.unverified.append(i)
                writers.append(writer)
        self.verdict = self.lane.gates.transactions.verify(
            writers, self.transactional_id, self.api_version
        )
        return 0

    cdef int append_to(self, ProducePart* part, Partition partition) except -1:
        cdef AppendResult result
        cdef AppendStatus status
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
        if status == APPENDED or status == DUPLICATE:
            part.base_offset = result.base_offset
            part.last_offset = result.last_offset
            part.log_append_time = result.log_append_time
            part.log_start_offset = result.log_start_offset
            return self.note_append(part, partition)
        part.failure = result.failure
        return self.note_refusal(part, partition)

    cdef int note_refusal(self, ProducePart* part, Partition partition) except -1:
        """The log refused the batch."""
        if part.error_code not in (
            ERROR_MESSAGE_TOO_LARGE, ERROR_CORRUPT_MESSAGE, ERROR_KAFKA_STORAGE_ERROR
        ) and partition.log is not None:
            # Kafka tells the log start offset with those refusals that its log, not its request
            # check, made.
            part.log_start_offset = partition.log.log_start_offset
        if part.failure.record_index >= 0 and self.api_version >= PRODUCE_RECORD_ERRORS_FROM:
            # Now: the records lie in a buffer that goes on to other requests.
            records = PyBytes_FromStringAndSize(<const char*>part.records, part.records_size)
            self.explain_part(
                part, self.lane.explain(partition, records, self.lane.now_ms), None
            )
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
        if partition.gates:
            if partition.gates & GATE_NOT_LEADER:
                part.leader_id = partition.leader_id
                part.leader_epoch = partition.leader_epoch
            return partition.gate_error()
        if self.acks == -1 and partition.is_under_min_isr():
            return ERROR_NOT_ENOUGH_REPLICAS
        if part.records_size <= 0:
            return ERROR_INVALID_RECORD
        return ERROR_NONE

    cdef int refuse_all(self, int16_t error_code) except -1:
        cdef int32_t i
        for i in range(self.part_count):
            self.parts[i].error_code = error_code
        self.next_part = self.part_count
        return 0

    # -- leaving the fast path ----------------------------------------------------------------

    async def run_slowly(self):
        """Goes on where run() was blocked; the peer takes no further frame until everything is
        appended.
        """
        try:
            while self._is_blocked():
                await self._blocker()
            self._finish_slowly()
        except BaseException:
            self.fail()
            raise

    def _is_blocked(self):
        self.lane.now_ms = wall_ms()
        self.blocked_by = self.run()
        return self.blocked_by != RUN_DONE

    async def _blocker(self):
        # Looked up before anything is awaited: the topic may be deleted meanwhile.
        cdef Partition partition = self.blocking_partition()
        try:
            if self.blocked_by == RUN_BLOCKED_BY_ROLL:
                self._count_roll(partition)
                await partition.log.owner.roll()
                return
            if self.blocked_by == RUN_BLOCKED_BY_GATE:
                verdict, self.verdict = self.verdict, None
                self._take_verdicts(await verdict)
                return
            self.opening = True
            outcome = await self.lane.slow_append(partition, self._records, self.api_version)
        except KafkaError as error:
            self._decide(partition, error.error_code, error)
        except (StorageError, OSError):
            self._decide(partition, ERROR_KAFKA_STORAGE_ERROR, None)
        else:
            self._take_outcome(partition, outcome)
        finally:
            self.opening = False

    def _take_verdicts(self, codes):
        if self.verdicts is None:
            self.verdicts = {}
        self.verdicts.update(zip(self.unverified, codes, strict=True))
        self.unverified = None

    def _count_roll(self, Partition partition):
        cdef int64_t end = partition.log.log_end_offset
        if self.rolled_part != self.next_part or self.rolled_at != end:
            self.rolls = 0
        self.rolls += 1
        self.rolled_part = self.next_part
        self.rolled_at = end
        if self.rolls > ROLLS_IN_VAIN_MAX:
            raise StorageError(f"{partition!r} asks for a roll again and again")

    cdef Partition blocking_partition(self):
        cdef ProducePart* part = &self.parts[self.next_part]
        return self.entry_of(part).partition(part.index)

    def _records(self):
        cdef ProducePart* part = &self.parts[self.next_part]
        return PyBytes_FromStringAndSize(<const char*>part.records, part.records_size)

    def _take_outcome(self, Partition partition, outcome):
        """The blocked part is decided by the slow append's answer."""
        cdef ProducePart* part = &self.parts[self.next_part]
        part.error_code = outcome.error_code
        part.log_start_offset = outcome.log_start_offset
        if outcome.error_code == ERROR_NONE:
            part.base_offset = outcome.base_offset
            part.last_offset = outcome.last_offset
            part.log_append_time = outcome.log_append_time
            self.note_append(part, partition)
        self.next_part += 1

    def _decide(self, Partition partition, int16_t error_code, error):
        """The blocked part is refused. `error`: a KafkaError that says more, or None."""
        cdef ProducePart* part = &self.parts[self.next_part]
        part.error_code = error_code
        if error is not None:
            if isinstance(error, InvalidBatchError):
                self.note_refusal(part, partition)
                self.explain_part(part, error.record_errors, error.message)
            elif error.message is not None:
                self.explain_part(part, (), error.message)
        self.next_part += 1

    def _finish_slowly(self):
        cdef Peer peer = self.peer
        self.running = None
        peer.waiters.discard(self)
        if not peer.closed:
            if self.timing.arrived_ns:
                self.lane.gates.stats.lap(&self.timing, STAGE_APPEND)
            self.finish()
        peer.unblock()
        if self.slot is None:
            self.lane.recycle(self)

    # -- answering ----------------------------------------------------------------------------

    cdef int finish(self) except -1:
        """Everything is appended: answer, wait, or (acks=0) say nothing."""
        if self.acks == 0:
            if self.any_error():
                self.count_errors()
                # Kafka's way to tell a producer that asked for no answer.
                self.peer.abort("acks=0 produce failed")
            elif self.slot is not None:
                self.peer.queue.complete(self.slot)
                self.peer.wake_writer()
                self.slot = None
            return 0
        if self.still_waits() and self.settle():
            return self.wait()
        return self.answer()

    cdef bint still_waits(self) noexcept:
        cdef int32_t i
        for i in range(self.part_count):
            if self.parts[i].waits:
                return True
        return False

    cdef bint settle(self) except -1:
        """Parts that are acknowledged now, or never will be, wait no longer."""
        cdef int32_t i
        cdef ProducePart* part
        cdef Partition partition
        cdef bint waits = False
        for i in range(self.part_count):
            part = &self.parts[i]
            if not part.waits:
                continue
            partition = <Partition>part.partition
            if partition.gates:
                self.fail_part(part, partition.gate_error())
            elif partition.may_answer(self.acks, part.last_offset):
                part.waits = False
                if self.acks == -1 and partition.is_under_min_isr():
                    self.fail_part(part, ERROR_NOT_ENOUGH_REPLICAS_AFTER_APPEND)
            else:
                waits = True
        return waits

    cdef int wait(self) except -1:
        cdef int32_t i
        cdef Partition partition
        if self.frame == NULL:
            self.detach_keys()
        if self.slot is None:
            self.slot = self.peer.queue.open_slot()
            self.peer.queue.hold(self.slot, self.held_bytes())
        self.flushing = False
        for i in range(self.part_count):
            if self.parts[i].waits:
                partition = <Partition>self.parts[i].partition
                partition.produce_waiters.add(self)
                if self.parts[i].last_offset >= partition.local_end:
                    self.flushing = True
        self.peer.waiters.add(self)
        if self.acks == -1:
            self.timer = self.lane.call_later(max(self.timeout_ms, 0) / 1000.0, self._time_out)
        return 0

    cdef int on_progress(self) except -1:
        if self.done:
            return 0
        try:
            if not self.settle():
                self.forget_waits()
                self.note_waited()
                self.answer()
        except BaseException:
            self.fail()
            raise
        return 0

    cdef int fail(self) except -1:
        """Its place among the answers can never be filled: the connection ends."""
        self.forget_waits()
        return self.peer.abort("produce failed")

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
        self.forget_waits()
        self.note_waited()
        try:
            self.answer()
        except BaseException:
            self.fail()
            raise

    cdef int cancel(self) except -1:
        if self.running is None:
            self.forget_waits()
        elif self.opening:
            # Nothing is opened for nobody: peers that come with such batches and go again would
            # fill the memory.
            self.running.cancel()
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

    cdef int note_waited(self) noexcept:
        if self.timing.arrived_ns:
            self.lane.gates.stats.lap(
                &self.timing, STAGE_FLUSH if self.flushing else STAGE_WAIT
            )
        return 0

    cdef int count_errors(self) except -1:
        cdef int32_t i
        for i in range(self.part_count):
            if self.parts[i].error_code != ERROR_NONE:
                self.lane.gates.stats.count_error(API_PRODUCE, self.parts[i].error_code)
        return 0

    cdef int answer(self) except -1:
        cdef uint8_t* start
        cdef uint8_t* end
        cdef size_t bound = self.bound()
        self.count_errors()
        if self.slot is None:
            start = self.peer.queue.reserve_direct(bound)
            if start != NULL:
                end = self.encode(start)
                self.peer.queue.commit_direct(end - start)
                self.peer.queue.note_answer(&self.timing)
                return 0
            self.slot = self.peer.queue.open_slot()
        start = wire_reserve(&self.slot.bytes, bound)
        if start == NULL:
            raise MemoryError
        end = self.encode(start)
        self.slot.bytes.length = end - start
        self.slot.timing = self.timing
        self.peer.queue.complete(self.slot)
        self.slot = None
        self.peer.wake_writer()
        return 0

    cdef int clear(self) except -1:
        """Make it ready for the next request of the lane."""
        self.drop_parts()
        self.next_part = 0
        self.rolls = 0
        self.unverified = self.verdict = self.verdicts = None
        self.asked_again = -1
        self.running = None
        self.throttle_time_ms = 0
        self.slot = None
        self.peer = None
        self.done = False
        return self.shrink()


cdef class ProduceLane:
    """Takes Produce frames. `reasons`: texts of CheckFailure.reason; `slow_append`: coroutine
    function (partition, records, api_version), with `records` a function, for
    batches that have to be rebuilt, answering an object with error_code, base_offset,
    last_offset, log_append_time, log_start_offset; `explain`: function (partition, records,
    now_ms) for the errors of single records, as (index, message) pairs.
    """

    def __init__(
        self, PartitionTable table not None, Gates gates not None, *, call_later, create_task,
        slow_append, explain, reasons
    ):
        self.table = table
        self.gates = gates
        self.call_later = call_later
        self.create_task = create_task
        self.slow_append = slow_append
        self.explain = explain
        self.texts = ReasonTexts(reasons)

    cdef int handle(
        self, Peer peer, const RequestHeader* header, uint8_t* frame, size_t n
    ) except -1:
        cdef ProduceTask task = self.spare
        cdef RequestStats stats = self.gates.stats
        cdef int64_t began = begin_charge(self.gates)
        cdef int status
        if task is None:
            task = ProduceTask.__new__(ProduceTask)
            task.lane = self
            task.texts = self.texts
            task.asked_again = -1
        else:
            self.spare = None
        task.peer = peer
        task.timing = stats.current
        if task.parse(header, frame + n) != 0:
            peer.abort("malformed Produce request")
            return self.recycle(task)
        if task.timing.arrived_ns:
            stats.lap(&task.timing, STAGE_PARSE)
        self.now_ms = wall_ms()
        if task.transactional and (
            self.gates.transactions is None or task.transactional_id is None
        ):
            # What Kafka answers, for the whole request, when its client may not use the
            # transactional id or names none.
            task.refuse_all(ERROR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
        status = task.run()
        if began:
            task.throttle_time_ms = charge_produce(self.gates, peer, header, n, began)
        if status == RUN_DONE:
            if task.timing.arrived_ns:
                stats.lap(&task.timing, STAGE_APPEND)
            task.finish()
            if task.slot is None:
                return self.recycle(task)
            return 0
        # Blocked: what follows on this connection must not overtake it.
        task.detach_frame(frame, n)
        task.slot = peer.queue.open_slot()
        peer.queue.hold(task.slot, task.held_bytes())
        peer.block()
        task.running = self.create_task(task.run_slowly())
        peer.waiters.add(task)
        return 0

    cdef int recycle(self, ProduceTask task) except -1:
        task.clear()
        self.spare = task
        return 0
