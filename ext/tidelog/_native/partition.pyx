"""Partitions as the hot lane sees them, and the table it finds them in.

A `Partition` is led by this node (gates open, `log` set), followed (GATE_NOT_LEADER, `log` set),
held elsewhere (GATE_NOT_LEADER) or in between. The replica manager opens and closes the gates; the
lanes only look at them. The high watermark of a leader is the least log end of those replicas that
it waits for (followers.pyx); a follower's is told by its leader.

Runs on the loop thread only; never blocks: what has to touch the disk is asked of the log's owner.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MAX, int16_t, int32_t, int64_t, uint8_t
from libc.string cimport memcmp

from tidelog._native.followers cimport ClusterView, Follower, FollowerTable
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

    def open_as_leader(
        self, LogCore log not None, int64_t high_watermark=-1, ClusterView view=None
    ):
        """Serve `log` from now on, in a leader epoch that begins at its end.

        With a single replica everything in the log is committed. Otherwise `view` says whom to
        reckon with, and what is known to be committed is `high_watermark`, as far as the log goes;
        the rest is when the replicas of the ISR have it.
        """
        self.log = log
        self.role = ROLE_LEADER
        self.gates = 0
        self.local_end = log.log_end_offset
        self.epoch_start_offset = log.log_end_offset
        self.served_epoch = self.leader_epoch
        self.high_watermark = max(log.log_start_offset, min(high_watermark, self.local_end))
        self.followers = None
        self.follow_replicas(view)
        if self.followers is not None:
            self.followers.begin_epoch(self.isr, self.followers.view.now_ms())
        log.producers.on_high_watermark(self.high_watermark)
        self.update_progress()

    def follow_replicas(self, ClusterView view):
        """The leader's other replicas are those that the metadata names by now."""
        cdef FollowerTable known = self.followers
        cdef FollowerTable table
        others = [replica for replica in self.replicas if replica != self.leader_id]
        if not others:
            self.followers = None
            return
        if view is None:
            raise InvariantError(f"{self!r}: replicas without a view of the cluster")
        table = FollowerTable(others, view)
        if known is not None:
            table.take_over(known)
        table.set_maximal_isr(self.isr)
        self.followers = table

    def set_isr(self, tuple isr not None, int32_t partition_epoch):
        """The controller has committed another ISR of this leader epoch."""
        if partition_epoch < self.partition_epoch:
            raise InvariantError(
                f"{self!r}: partition epoch {self.partition_epoch} -> {partition_epoch}"
            )
        self.isr = isr
        self.partition_epoch = partition_epoch
        self.set_maximal_isr(isr)

    def set_maximal_isr(self, isr):
        """Whom the high watermark waits for: the ISR and who is about to join it."""
        if self.followers is not None:
            self.followers.set_maximal_isr(isr)
            self.update_progress()

    def open_as_follower(self, LogCore log not None, int64_t high_watermark=-1):
        """Hold a copy of what the leader has; consumers may fetch what is committed of it."""
        self.log = log
        self.role = ROLE_FOLLOWER
        self.gates = GATE_NOT_LEADER
        self.followers = None
        self.high_watermark = log.log_start_offset
        self.local_end = log.log_end_offset
        self.set_follower_high_watermark(high_watermark)
        self.wake()

    def set_follower_high_watermark(self, int64_t high_watermark):
        """What the leader said is committed, as far as this log goes (also back, when it was
        cut).
        """
        cdef int64_t least
        if self.role != ROLE_FOLLOWER:
            raise InvariantError(f"{self!r} does not follow")
        least = max(self.log.log_start_offset, min(high_watermark, self.log.log_end_offset))
        if least == self.high_watermark:
            return
        self.high_watermark = least
        self.log.producers.on_high_watermark(least)
        self.wake()

    def follower_appended(self):
        """The fetcher has appended what the leader gave."""
        cdef int64_t end = self.log.log_end_offset
        if self.role != ROLE_FOLLOWER:
            raise InvariantError(f"{self!r} does not follow")
        self.records_in += max(end - self.local_end, 0)
        self.local_end = end

    def close(self, int gates):
        """Stop serving, for the reason in `gates` (GATE_...; not 0); waiting requests are
        answered with its error.
        """
        if gates == 0:
            raise InvariantError("a partition is closed for a reason")
        self.gates = gates
        self.log = None
        self.role = ROLE_NONE
        self.followers = None
        self.throttle = None
        self.wake()

    def set_min_insync_replicas(self, int32_t value):
        self.min_insync_replicas = value

    def set_throttle(self, throttle):
        """What its copies are charged to from now on, None: nothing (KIP-73)."""
        self.throttle = throttle

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

    cdef bint is_readable(self) noexcept:
        return self.role == ROLE_FOLLOWER and self.gates == GATE_NOT_LEADER

    cdef bint is_under_min_isr(self) noexcept:
        return len(self.isr) < self.min_insync_replicas

    cdef int16_t note_replica_fetch(
        self, int32_t node_id, int64_t node_epoch, int64_t fetch_offset, int64_t log_start_offset
    ) except? -1:
        cdef int64_t before = self.high_watermark
        cdef Follower* follower = (
            NULL if self.followers is None else self.followers.find(node_id)
        )
        if follower == NULL or 0 <= node_epoch < follower.node_epoch:
            return ERROR_NOT_LEADER_OR_FOLLOWER
        self.followers.note_fetch(
            follower, node_epoch, fetch_offset, log_start_offset, self.log.log_end_offset,
            self.followers.view.now_ms(),
        )
        self.advance_high_watermark()
        if self.high_watermark > before:
            self.wake()
        if (
            not follower.in_isr
            and fetch_offset >= self.high_watermark
            and fetch_offset >= self.epoch_start_offset
            and self.followers.view.may_join(follower)
        ):
            self.followers.view.caught_up(self, node_id)
        return 0

    cdef int32_t nearest(self, object nodes, int64_t fetch_offset) except -2:
        return -1 if self.followers is None else self.followers.nearest(nodes, fetch_offset)

    cdef bint is_held_back(self, int32_t node_id) except -1:
        return (
            self.throttle is not None
            and self.throttle.is_exceeded()
            and node_id not in self.isr
        )

    cdef int advance_high_watermark(self) except -1:
        cdef int64_t target = self.local_end
        if self.high_watermark >= target:
            return 0
        if self.followers is not None:
            if self.is_under_min_isr():
                # (Kafka's rule: what too few have is not shown, also where acks=1 was answered.)
                return 0
            target = self.followers.least_end(
                target, self.high_watermark, self.followers.view.now_ms()
            )
            if target <= self.high_watermark:
                return 0
        self.high_watermark = target
        if self.log.producers.unreplicated:
            self.log.producers.on_high_watermark(target)
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

    cdef int note_sent(self, int64_t size, int64_t records, bint to_follower) except -1:
        self.bytes_out += size
        self.records_out += records
        if to_follower and self.throttle is not None:
            self.throttle.record(size)
        return 0

    cdef bint may_answer(self, int16_t acks, int64_t last_offset) noexcept:
        if last_offset >= self.local_end:
            return False
        return acks != -1 or last_offset < self.high_watermark

    cpdef int update_progress(self) except -1:
        """Call after an append or a finished flush."""
        cdef LogCore log = self.log
        cdef int64_t end
        if self.role != ROLE_LEADER:
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
        self.advance_high_watermark()
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
    def under_min_isr(self) -> bool:
        """Too few replicas are in sync for acks=all."""
        return self.is_under_min_isr()

    def replica_fetched(
        self, int32_t node_id, int64_t node_epoch, int64_t fetch_offset, int64_t log_start_offset
    ):
        """note_replica_fetch() for callers in Python: 0, or the error that the fetch gets."""
        return self.note_replica_fetch(node_id, node_epoch, fetch_offset, log_start_offset)

    @property
    def is_follower(self) -> bool:
        """True while this node holds an open copy of what another leads."""
        return self.role == ROLE_FOLLOWER

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
