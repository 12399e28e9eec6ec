"""Partitions as the hot lane sees them, and the table it finds them in.

A `Partition` is led by this node (gates open, `log` set), held elsewhere (GATE_NOT_LEADER) or in
between. The replica manager
opens and closes the gates; the lanes only look at them. The high watermark follows `local_end`
alone until replication exists.

Runs on the loop thread only; never blocks: what has to touch the disk is asked of the log's owner.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MAX, int16_t, int32_t, int64_t, uint8_t
from libc.string cimport memcmp

from tidelog._native.log cimport (
    APPENDED,
    AppendResult,
    AppendStatus,
    LogCore,
)

from tidelog.errors import InvariantError
from tidelog.types import INTERNAL_TOPICS

cdef enum:
    ERROR_UNKNOWN_TOPIC_OR_PARTITION = 3
    ERROR_NOT_LEADER_OR_FOLLOWER = 6
    ERROR_KAFKA_STORAGE_ERROR = 56


cdef class Waiter:
    cdef int on_progress(self) except -1:
        raise InvariantError("Waiter is abstract")

    cdef int cancel(self) except -1:
        raise InvariantError("Waiter is abstract")


cdef class CallbackWaiter(Waiter):
    """Calls `callback()` on the loop when the partition acknowledged everything below `offset`,
    or lost its log.

    For internal writers (coordinators); the callback looks at the partition to see which of the
    two it was.
    """

    cdef Partition partition
    cdef int64_t offset
    cdef object callback

    def __init__(self, Partition partition not None, int64_t offset, callback):
        self.partition = partition
        self.offset = offset
        self.callback = callback
        partition.produce_waiters.add(self)

    cdef int on_progress(self) except -1:
        if self.done:
            return 0
        if self.partition.gate_error() == 0 and not self.partition.may_answer(-1, self.offset - 1):
            return 0
        self.cancel()
        self.callback()
        return 0

    cdef int cancel(self) except -1:
        if not self.done:
            self.done = True
            self.partition.produce_waiters.discard(self)
        return 0

    def forget(self):
        """Give up the wait; the callback will not be called."""
        self.cancel()


cdef class Progress:
    """The waiters whose partitions moved since the last drain.

    `call_soon` is the loop's: the first waiter added schedules a drain; connections drain
    earlier, at the end of their read pass.
    """

    def __init__(self, call_soon=None):
        self.pending = []
        self.call_soon = call_soon

    cdef int add(self, Waiter waiter) except -1:
        if waiter.queued or waiter.done:
            return 0
        waiter.queued = True
        self.pending.append(waiter)
        return self.schedule()

    cdef int schedule(self) except -1:
        if not self.scheduled and self.call_soon is not None:
            self.scheduled = True
            self.call_soon(self._drain_soon)
        return 0

    def _drain_soon(self):
        self.scheduled = False
        self.drain()

    cpdef int drain(self) except -1:
        """Run every queued waiter once; those that an answer queues anew run in the next round of
        the same drain.
        """
        cdef Waiter waiter
        cdef list batch
        cdef Py_ssize_t taken
        while self.pending:
            batch = self.pending
            self.pending = []
            taken = 0
            try:
                for waiter in batch:
                    taken += 1
                    waiter.queued = False
                    if not waiter.done:
                        waiter.on_progress()
            except BaseException:
                # Only the one that failed has had its turn.
                self.pending = batch[taken:] + self.pending
                if self.pending:
                    self.schedule()
                raise
        return 0


cdef class Partition:
    """One partition of the cluster, as this node knows it. `topic`: name as bytes; `topic_id`: 16
    bytes.
    """

    def __init__(
        self, bytes topic not None, bytes topic_id not None, int32_t index,
        Progress progress not None
    ):
        if len(topic_id) != 16:
            raise InvariantError("a topic id has 16 bytes")
        self.topic = topic
        self.topic_id = topic_id
        self.index = index
        self.progress = progress
        self.gates = GATE_NOT_LEADER
        self.leader_id = -1
        self.leader_epoch = -1
        self.partition_epoch = -1
        self.min_insync_replicas = 1
        self.replicas = ()
        self.isr = ()
        self.produce_waiters = set()
        self.fetch_waiters = set()

    # -- leadership (replica manager) ---------------------------------------------------------

    def set_leadership(
        self, int32_t leader_id, int32_t leader_epoch, int32_t partition_epoch, tuple replicas,
        tuple isr
    ):
        """What the metadata says. Epochs never regress."""
        if leader_epoch < self.leader_epoch or partition_epoch < self.partition_epoch:
            raise InvariantError(
                f"{self!r}: leader epoch {self.leader_epoch} -> {leader_epoch},"
                f" partition epoch {self.partition_epoch} -> {partition_epoch}"
            )
        self.leader_id = leader_id
        self.leader_epoch = leader_epoch
        self.partition_epoch = partition_epoch
        self.replicas = replicas
        self.isr = isr

    def open_as_leader(self, LogCore log not None):
        """Serve `log` from now on. With a single replica everything in the log is committed."""
        self.log = log
        self.gates = 0
        self.local_end = log.log_end_offset
        self.high_watermark = log.log_end_offset
        log.producers.on_high_watermark(self.high_watermark)
        self.wake()

    def close(self, int gates):
        """Stop serving, for the reason in `gates` (GATE_...; not 0); waiting requests are
        answered with its error.
        """
        if gates == 0:
            raise InvariantError("a partition is closed for a reason")
        self.gates = gates
        self.log = None
        self.wake()

    def set_min_insync_replicas(self, int32_t value):
        self.min_insync_replicas = value

    # -- hot lane -----------------------------------------------------------------------------

    cdef int16_t gate_error(self) noexcept:
        cdef int gates = self.gates
        if gates & GATE_DELETED:
            return ERROR_UNKNOWN_TOPIC_OR_PARTITION
        if gates & (GATE_NOT_LEADER | GATE_LOADING):
            return ERROR_NOT_LEADER_OR_FOLLOWER
        if gates & GATE_OFFLINE:
            return ERROR_KAFKA_STORAGE_ERROR
        return 0

    cdef int64_t last_stable_offset(self) noexcept:
        cdef int64_t unstable = self.log.producers.first_unstable_offset()
        if 0 <= unstable < self.high_watermark:
            return unstable
        return self.high_watermark

    cdef AppendStatus append_produce(
        self, uint8_t* data, int64_t n, int16_t api_version, int64_t now_ms, AppendResult* result
    ) except *:
        cdef AppendStatus status = self.log.append_produce(
            data, n, self.leader_epoch, api_version, now_ms, result
        )
        if status == APPENDED:
            self.note_appended(result)
            self.update_progress()
        return status

    cdef int note_appended(self, const AppendResult* result) noexcept:
        self.bytes_in += result.consumed_bytes
        self.records_in += result.last_offset - result.base_offset + 1
        return 0

    cdef int note_sent(self, int64_t size, int64_t records) noexcept:
        self.bytes_out += size
        self.records_out += records
        return 0

    cdef bint may_answer(self, int16_t acks, int64_t last_offset) noexcept:
        if last_offset >= self.local_end:
            return False
        return acks != -1 or last_offset < self.high_watermark

    cpdef int update_progress(self) except -1:
        """Call after an append or a finished flush."""
        cdef LogCore log = self.log
        cdef int64_t end
        if log is None:
            return 0
        end = log.log_end_offset
        if log.flush_messages != INT64_MAX and end - log.flushed_offset >= log.flush_messages:
            # Durability before visibility (D9): neither answers nor readers pass the flushed
            # offset while a due flush is outstanding.
            log.owner.request_flush()
            end = max(self.local_end, log.flushed_offset)
        if end < self.local_end:
            # The log was cut (truncation by recovery or replication goes through open_as_leader,
            # never through here).
            raise InvariantError(f"{self!r}: local end {self.local_end} -> {end}")
        self.local_end = end
        if self.high_watermark < end and not self.gates & GATE_REMOTE_FOLLOWERS:
            self.high_watermark = end
            if log.producers.unreplicated:
                log.producers.on_high_watermark(end)
        self.wake()
        return 0

    cdef int wake(self) except -1:
        cdef Waiter waiter
        if self.fetch_waiters:
            for waiter in self.fetch_waiters:
                self.progress.add(waiter)
        if self.produce_waiters:
            for waiter in self.produce_waiters:
                self.progress.add(waiter)
        return 0

    # -- Python callers -----------------------------------------------------------------------

    @property
    def error_code(self) -> int:
        """0, or the Kafka error that the closed gate answers with."""
        return self.gate_error()

    @property
    def is_leader(self) -> bool:
        """True while this node serves the partition."""
        return self.gates == 0

    @property
    def waiting_fetches(self) -> int:
        """Fetches that wait for this partition to move."""
        return len(self.fetch_waiters)

    @property
    def waiting_produces(self) -> int:
        """Appends that wait for a flush or for other replicas."""
        return len(self.produce_waiters)

    @property
    def stable_offset(self) -> int:
        """The last stable offset (exclusive upper bound of read_committed)."""
        return self.last_stable_offset()

    def append_built(self, bytearray batch not None, int64_t now_ms):
        """Append a batch that the broker built itself.

        Returns (status, error_code, base_offset, last_offset): status as `AppendStatus` of the
        log; NEEDS_ROLL (3) means that nothing was done and
        the caller rolls the log first.
        """
        cdef AppendResult result
        cdef AppendStatus status
        cdef uint8_t[::1] view = batch
        if self.gates != 0:
            raise InvariantError(f"{self!r}: append through a closed gate")
        status = self.log.append_built(&view[0], len(batch), self.leader_epoch, now_ms, &result)
        if status == APPENDED:
            self.note_appended(&result)
            self.update_progress()
        return status, result.error_code, result.base_offset, result.last_offset

    def is_acknowledged(self, int64_t last_offset) -> bool:
        """True when a batch that ends with `last_offset` is committed (acks=-1)."""
        return self.may_answer(-1, last_offset)

    def when_acknowledged(self, int64_t end_offset, callback):
        """Have `callback()` called once everything below `end_offset` is committed or the gate
        closed. Returns the waiter (`forget()`).
        """
        waiter = CallbackWaiter(self, end_offset, callback)
        self.progress.add(waiter)
        return waiter

    def __repr__(self):
        return f"<Partition {self.topic.decode(
            errors='replace'
        )}-{self.index} leader={self.leader_id} gates={self.gates}>"


cdef class TopicEntry:
    """A topic's partitions by index."""

    def __init__(self, bytes name not None, bytes topic_id not None, list partitions not None):
        if not all(isinstance(partition, Partition) for partition in partitions):
            raise InvariantError("a topic consists of partitions")
        self.name = name
        self.topic_id = topic_id
        self.partitions = partitions
        self.internal = name.decode() in INTERNAL_TOPICS

    cdef Partition partition(self, int32_t index):
        if index < 0 or index >= len(self.partitions):
            return None
        return <Partition>self.partitions[index]


cdef class PartitionTable:
    """Every topic that this node knows of. Topics are put in and taken out whole."""

    def __init__(self, Progress progress not None):
        self.progress = progress
        self.by_name = {}
        self.by_id = {}

    def put(self, TopicEntry entry not None):
        """Add a topic, or replace its entry (more partitions)."""
        old = self.by_name.get(entry.name)
        if old is not None and (<TopicEntry>old).topic_id != entry.topic_id:
            del self.by_id[(<TopicEntry>old).topic_id]
        self.by_name[entry.name] = entry
        self.by_id[entry.topic_id] = entry
        self.last = None

    def remove(self, bytes name not None):
        """Forget a topic; its partitions are closed by the caller."""
        entry = self.by_name.pop(name)
        del self.by_id[(<TopicEntry>entry).topic_id]
        self.last = None

    def get(self, bytes name not None):
        """The topic's entry, or None."""
        return self.by_name.get(name)

    def get_by_id(self, bytes topic_id not None):
        """The topic's entry, or None."""
        return self.by_id.get(topic_id)

    def partition(self, bytes name not None, int32_t index):
        """The partition, or None."""
        cdef TopicEntry entry = self.by_name.get(name)
        return None if entry is None else entry.partition(index)

    def topics(self):
        """All entries."""
        return list(self.by_name.values())

    cdef TopicEntry find_name(self, const uint8_t* name, Py_ssize_t n):
        cdef TopicEntry entry = self.last
        if (
            entry is not None
            and PyBytes_GET_SIZE(entry.name) == n
            and memcmp(PyBytes_AS_STRING(entry.name), name, n) == 0
        ):
            return entry
        entry = self.by_name.get(PyBytes_FromStringAndSize(<const char*>name, n))
        if entry is not None:
            self.last = entry
        return entry

    cdef TopicEntry find_id(self, const uint8_t* topic_id):
        cdef TopicEntry entry = self.last
        if entry is not None and memcmp(PyBytes_AS_STRING(entry.topic_id), topic_id, 16) == 0:
            return entry
        entry = self.by_id.get(PyBytes_FromStringAndSize(<const char*>topic_id, 16))
        if entry is not None:
            self.last = entry
        return entry


NOT_LEADER = GATE_NOT_LEADER
OFFLINE = GATE_OFFLINE
LOADING = GATE_LOADING
DELETED = GATE_DELETED
