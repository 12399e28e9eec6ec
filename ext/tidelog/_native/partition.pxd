# Partition: what this node knows about one partition: leader state, high watermark, and the
# requests that wait on it.
# PartitionTable: look-up by topic name or topic id for the native lanes; it also knows the
# partitions that other nodes lead (gate NOT_LEADER).
# Loop thread only. No I/O but through LogCore.
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from tidelog._native.followers cimport ClusterView, FollowerTable
from tidelog._native.log cimport AppendResult, AppendStatus, LogCore

# Gates of the hot lane: one flag check each (bits of Partition.gates). 0 = open.
cdef enum:
    GATE_NOT_LEADER = 1          # NOT_LEADER_OR_FOLLOWER, with the leader that we know
    GATE_OFFLINE = 2             # KAFKA_STORAGE_ERROR
    # the log is still being opened: NOT_LEADER_OR_FOLLOWER, clients retry
    GATE_LOADING = 4
    GATE_DELETED = 8             # UNKNOWN_TOPIC_OR_PARTITION

# What this node is to the partition. A follower's gate NOT_LEADER is shut, but its log is there:
# consumers that may fetch from followers do.
cdef enum:
    ROLE_NONE = 0
    ROLE_FOLLOWER = 1
    ROLE_LEADER = 2

cdef class Waiter:
    # Something that waits for a partition's progress: an append, a higher watermark, a flush, or
    # the loss of leadership.
    # on_progress runs once per drain of the Progress queue, however many partitions moved. What it
    # raises ends the drain; the waiters behind it are run by the next one.
    cdef bint queued             # already in the Progress queue
    cdef bint done
    cdef int on_progress(self) except -1
    cdef int cancel(self) except -1      # whoever asked is gone: forget it, answer nothing

cdef class Progress:
    # Waiters whose partitions moved since the last drain. One per worker.
    cdef list pending
    # loop.call_soon, or None: the owner drains by itself (tests, simulators)
    cdef object call_soon
    cdef bint scheduled
    cdef int add(self, Waiter waiter) except -1
    cpdef int drain(self) except -1
    cdef int schedule(self) except -1

cdef class Partition:
    cdef readonly bytes topic                     # name as on the wire
    cdef readonly bytes topic_id                  # 16 bytes
    cdef readonly int32_t index
    cdef readonly LogCore log                     # None unless this node leads or follows
    cdef readonly int role                        # ROLE_...
    cdef readonly int gates
    cdef readonly int32_t leader_id
    cdef readonly int32_t leader_epoch
    cdef readonly int32_t partition_epoch
    cdef readonly int64_t high_watermark
    # end of what this node may acknowledge: log_end_offset, or less while a due flush is
    # outstanding
    cdef readonly int64_t local_end
    cdef readonly int32_t min_insync_replicas
    cdef readonly tuple replicas
    cdef readonly tuple isr                       # as committed by the controller
    # of a leader: its other replicas (None: there are none), and the log's end when it began to
    # lead in this epoch
    cdef readonly FollowerTable followers
    cdef readonly int64_t epoch_start_offset
    cdef readonly int32_t served_epoch            # in which it was opened as leader
    # since this object was made: appended, and told in answers (an estimate of the records)
    cdef readonly int64_t bytes_in
    cdef readonly int64_t records_in
    cdef readonly int64_t bytes_out
    cdef readonly int64_t records_out
    # KIP-73: .record(size), .is_exceeded(): counts what is copied of it, and says when that is too
    # much; None: its copies are not throttled, which costs a pointer check
    cdef readonly object throttle
    cdef Progress progress
    cdef set produce_waiters
    cdef set fetch_waiters
    cdef int16_t gate_error(self) noexcept        # 0, or the Kafka error of the closed gate
    cdef bint is_readable(self) noexcept          # a consumer may fetch here, though it follows
    cdef bint is_under_min_isr(self) noexcept
    cdef int advance_high_watermark(self) except -1
    # A follower's fetch that is in step with this log: 0, or the error that it gets.
    cdef int16_t note_replica_fetch(
        self, int32_t node_id, int64_t node_epoch, int64_t fetch_offset, int64_t log_start_offset
    ) except? -1
    # KIP-392: the replica among the nodes from which a consumer had better read what comes from the
    # offset on; -1: none.
    cdef int32_t nearest(self, object nodes, int64_t fetch_offset) except -2
    # A leader beyond its quota has nothing for a follower that is not in sync.
    cdef bint is_held_back(self, int32_t node_id) except -1
    cdef int64_t last_stable_offset(self) noexcept
    cdef int note_appended(self, const AppendResult* result) noexcept
    cdef int note_sent(self, int64_t size, int64_t records, bint to_follower) except -1
    cdef AppendStatus append_produce(
        self, uint8_t* data, int64_t n, int16_t api_version, int64_t now_ms, AppendResult* result
    ) except *
    # True when an answer for a batch that ends with last_offset may leave.
    cdef bint may_answer(self, int16_t acks, int64_t last_offset) noexcept
    # After an append or a flush: requests a due flush, moves local_end and the high watermark,
    # wakes waiters.
    cpdef int update_progress(self) except -1
    cdef int wake(self) except -1

cdef class TopicEntry:
    cdef readonly bytes name
    cdef readonly bytes topic_id
    cdef readonly list partitions                 # Partition, by index
    # only the broker itself (and admin clients) may produce to it
    cdef readonly bint internal
    cdef Partition partition(self, int32_t index)

cdef class PartitionTable:
    cdef readonly Progress progress
    cdef dict by_name                             # bytes -> TopicEntry
    cdef dict by_id                               # 16 bytes -> TopicEntry
    cdef TopicEntry last                          # found last: most requests name one topic
    cdef TopicEntry find_name(self, const uint8_t* name, Py_ssize_t n)
    cdef TopicEntry find_id(self, const uint8_t* topic_id)
