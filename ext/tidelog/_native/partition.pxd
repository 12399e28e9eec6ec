# Partition: what this node knows about one replica it holds: leader state, high watermark, and the requests that wait on it.
# PartitionTable: look-up of partitions by topic name or topic id for the native lanes. Loop thread only.
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from tidelog._native.log cimport AppendResult, AppendStatus, LogCore

# Gates of the hot lane: one flag check each (bits of Partition.gates).
cdef enum:
    GATE_NOT_LEADER = 1          # answer NOT_LEADER_OR_FOLLOWER
    GATE_OFFLINE = 2             # answer KAFKA_STORAGE_ERROR
    GATE_INTERNAL = 4            # clients' produce is refused unless they are the broker itself
    GATE_LOADING = 8             # still recovering: answer LEADER_NOT_AVAILABLE-like
    GATE_REMOTE_FOLLOWERS = 16   # replication: high watermark moves by followers' fetches

cdef class Waiter:
    # Something that waits for a partition's high watermark, end offset or flush; the lanes derive from it. on_progress is called at most once per loop turn.
    cdef bint done
    cdef int on_progress(self, Partition partition) except -1

cdef class Partition:
    cdef readonly bytes topic                     # name as on the wire
    cdef readonly bytes topic_id
    cdef readonly int32_t index
    cdef readonly LogCore log                     # None while loading or offline
    cdef readonly int gates
    cdef readonly int32_t leader_id
    cdef readonly int32_t leader_epoch
    cdef readonly int32_t partition_epoch
    cdef readonly int64_t high_watermark
    cdef readonly int32_t min_insync_replicas
    cdef readonly object isr
    cdef list produce_waiters                     # acks=-1 and flush
    cdef list fetch_waiters
    cdef readonly object flusher                  # group commit: .request(partition); None while nothing has to be flushed before an answer
    cdef int64_t last_stable_offset(self) noexcept
    cdef AppendStatus append_produce(self, uint8_t* data, int64_t n, int16_t api_version, int64_t now_ms, AppendResult* result) except *
    # After an append or a flush: moves the high watermark if it may, wakes waiters.
    cdef int maybe_increment_high_watermark(self) except -1
    cdef int64_t required_for_answer(self, int16_t acks, int64_t last_offset) noexcept

cdef class TopicEntry:
    cdef readonly bytes name
    cdef readonly bytes topic_id
    cdef readonly list partitions                 # Partition or None (held elsewhere / unknown), by index
    cdef readonly int32_t partition_count

cdef class PartitionTable:
    cdef dict by_name                             # bytes -> TopicEntry
    cdef dict by_id                               # 16 bytes -> TopicEntry
    cdef TopicEntry last                          # the entry found last: most requests name one topic
    cdef TopicEntry find_name(self, const uint8_t* name, Py_ssize_t n)
    cdef TopicEntry find_id(self, const uint8_t* topic_id)
