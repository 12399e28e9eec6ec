# What a leader knows of its partition's other replicas: how far each has the log, and whether it
# holds up the high watermark.
# Loop thread only; no I/O. Decisions about the ISR are made in replication/isr.py.
from libc.stdint cimport int32_t, int64_t

cdef struct Follower:
    int32_t node_id
    bint in_isr                  # of the maximal ISR: the high watermark waits for it
    bint fetched                 # it has named its log's end to this leader in this epoch
    int64_t node_epoch           # the life in which it fetched last; -1: not told
    int64_t log_end_offset       # what it has of the log; 0 before it fetched
    int64_t log_start_offset     # -1: not told
    int64_t last_fetch_ms        # monotonic, as the other times
    int64_t leader_end_then      # the leader's log end at that fetch
    int64_t caught_up_ms         # when it last had everything; -1: never in this epoch

cdef class ClusterView:
    # What leaders need to know of the cluster, the same for all partitions of a node.
    cdef public dict epochs              # node id -> epoch, of the nodes that may join an ISR
    cdef public int64_t lag_time_max_ms
    # (partition, node id): a replica outside the maximal ISR has caught up
    cdef public object caught_up
    cdef object clock_ms                 # None: the system's monotonic clock
    cdef int64_t now_ms(self) except -1
    cdef bint may_join(self, const Follower* follower) except -1

cdef class FollowerTable:
    cdef Follower* items
    cdef readonly int count
    cdef readonly ClusterView view
    cdef Follower* find(self, int32_t node_id) noexcept
    # A fetch from `fetch_offset` on says that the replica has everything before it.
    cdef int note_fetch(
        self, Follower* follower, int64_t node_epoch, int64_t fetch_offset,
        int64_t log_start_offset, int64_t leader_end, int64_t now_ms
    ) noexcept
    # The member of the ISR among the nodes that has most of the log, and what comes from the offset
    # on; -1: none.
    cdef int32_t nearest(self, object nodes, int64_t fetch_offset) except -2
    # The least log end of those that the high watermark waits for, at most `local_end`.
    cdef int64_t least_end(
        self, int64_t local_end, int64_t high_watermark, int64_t now_ms
    ) except -2
