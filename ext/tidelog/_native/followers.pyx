"""What a leader knows of its partition's other replicas.

A follower's fetch from an offset on says that it has everything before it. The high watermark is
the least log end among the maximal ISR; it waits as well for a replica that may join and has been
caught up within `replica.lag.time.max.ms`: under a steady load one could never reach a high
watermark that runs ahead with the leader's end. Unlike in Kafka that has to be so since it left the
ISR: the writes of a partition would stand still when a lost node is known to be alive, and until
its first fetches come through a network that is only just back.

Lag is measured as in Kafka: a replica that fetches from what was the leader's end at its fetch
before was caught up then, however much has been appended since.
"""

from libc.stdint cimport INT64_MAX, int32_t, int64_t
from libc.stdlib cimport calloc, free
from posix.time cimport clock_gettime, timespec

cdef extern from "time.h" nogil:
    enum:
        CLOCK_MONOTONIC_COARSE

from tidelog.errors import InvariantError


cdef class ClusterView:
    """What leaders need to know of the cluster, the same for all partitions of a node.

    `caught_up`: called with (partition, node id) when a replica outside the maximal ISR has caught
    up, at each of its fetches until it is in. `clock_ms`: monotonic time for tests and simulators.
    """

    def __init__(self, int64_t lag_time_max_ms, caught_up, clock_ms=None):
        self.epochs = {}
        self.lag_time_max_ms = lag_time_max_ms
        self.caught_up = caught_up
        self.clock_ms = clock_ms

    cdef int64_t now_ms(self) except -1:
        cdef timespec now
        if self.clock_ms is not None:
            return self.clock_ms()
        clock_gettime(CLOCK_MONOTONIC_COARSE, &now)  # to about 4 ms
        return <int64_t>now.tv_sec * 1000 + now.tv_nsec // 1000000

    cdef bint may_join(self, const Follower* follower) except -1:
        epoch = self.epochs.get(follower.node_id)
        # (A follower that does not tell its epoch speaks an older Fetch: as in Kafka it is taken
        # for the life that the metadata knows.)
        return epoch is not None and (follower.node_epoch == -1 or follower.node_epoch == epoch)


cdef class FollowerTable:
    """The replicas besides the leader, in the order of their ids."""

    def __init__(self, node_ids, ClusterView view not None):
        cdef int i = 0
        ordered = sorted(node_ids)
        self.view = view
        self.items = <Follower*>calloc(max(len(ordered), 1), sizeof(Follower))
        if self.items == NULL:
            raise MemoryError
        self.count = len(ordered)
        for node_id in ordered:
            self.items[i].node_id = node_id
            self.items[i].node_epoch = -1
            self.items[i].log_start_offset = -1
            self.items[i].caught_up_ms = -1
            i += 1

    def __dealloc__(self):
        free(self.items)

    cdef Follower* find(self, int32_t node_id) noexcept:
        cdef int i
        for i in range(self.count):
            if self.items[i].node_id == node_id:
                return &self.items[i]
        return NULL

    cdef int note_fetch(
        self, Follower* follower, int64_t node_epoch, int64_t fetch_offset,
        int64_t log_start_offset, int64_t leader_end, int64_t now_ms
    ) noexcept:
        if fetch_offset >= leader_end:
            follower.caught_up_ms = now_ms
        elif follower.fetched and fetch_offset >= follower.leader_end_then:
            follower.caught_up_ms = max(follower.caught_up_ms, follower.last_fetch_ms)
        follower.fetched = True
        follower.node_epoch = node_epoch
        follower.log_end_offset = fetch_offset
        follower.log_start_offset = log_start_offset
        follower.last_fetch_ms = now_ms
        follower.leader_end_then = leader_end
        return 0

    cdef int32_t nearest(self, object nodes, int64_t fetch_offset) except -2:
        cdef int i
        cdef int32_t best = -1
        cdef int64_t best_end = fetch_offset - 1
        for i in range(self.count):
            if (
                self.items[i].in_isr
                and self.items[i].fetched
                and self.items[i].log_end_offset > best_end
                and self.items[i].log_start_offset <= fetch_offset
                and self.items[i].node_id in nodes
            ):
                best = self.items[i].node_id
                best_end = self.items[i].log_end_offset
        return best

    cdef int64_t least_end(
        self, int64_t local_end, int64_t high_watermark, int64_t now_ms
    ) except -2:
        cdef int i
        cdef Follower* follower
        cdef int64_t least = local_end
        for i in range(self.count):
            follower = &self.items[i]
            if follower.log_end_offset >= least:
                continue
            if follower.in_isr:
                least = follower.log_end_offset
            elif (
                follower.caught_up_ms >= 0
                and now_ms - follower.caught_up_ms <= self.view.lag_time_max_ms
                and self.view.may_join(follower)
            ):
                least = follower.log_end_offset
        return max(least, high_watermark)

    # -- the same for replication/ and tests ---------------------------------------------------

    def begin_epoch(self, isr, int64_t now_ms):
        """A new leader epoch: nothing is known of anybody's log; who is in the ISR has as long as
        a lagging replica to be heard of.
        """
        cdef int i
        for i in range(self.count):
            self.items[i].fetched = False
            self.items[i].node_epoch = -1
            self.items[i].log_end_offset = 0
            self.items[i].log_start_offset = -1
            self.items[i].leader_end_then = 0
            self.items[i].caught_up_ms = now_ms if self.items[i].node_id in isr else -1
        self.set_maximal_isr(isr)

    def set_maximal_isr(self, isr):
        """Whom the high watermark waits for. Who leaves has to catch up anew before it is waited
        for again: what it had before says nothing of how fast it will be back.
        """
        cdef int i
        cdef bint stays
        for i in range(self.count):
            stays = self.items[i].node_id in isr
            if self.items[i].in_isr and not stays:
                self.items[i].caught_up_ms = -1
                self.items[i].leader_end_then = INT64_MAX
            self.items[i].in_isr = stays

    def take_over(self, FollowerTable other not None):
        """What `other` knows of the replicas that are in both."""
        cdef int i
        cdef Follower* known
        for i in range(self.count):
            known = other.find(self.items[i].node_id)
            if known != NULL:
                self.items[i] = known[0]

    def fetched(
        self, int32_t node_id, int64_t node_epoch, int64_t fetch_offset, int64_t log_start_offset,
        int64_t leader_end, int64_t now_ms
    ):
        """note_fetch() for callers in Python. Returns whether the node is known here."""
        cdef Follower* follower = self.find(node_id)
        if follower == NULL:
            return False
        self.note_fetch(
            follower, node_epoch, fetch_offset, log_start_offset, leader_end, now_ms
        )
        return True

    def high_watermark(self, int64_t local_end, int64_t high_watermark, int64_t now_ms):
        """least_end() for callers in Python."""
        return self.least_end(local_end, high_watermark, now_ms)

    def lagging(self, int64_t leader_end, int64_t now_ms):
        """Members of the maximal ISR that have not been caught up for longer than
        `lag_time_max_ms`.
        """
        cdef int i
        found = []
        for i in range(self.count):
            if (
                self.items[i].in_isr
                and self.items[i].log_end_offset < leader_end
                and now_ms - self.items[i].caught_up_ms > self.view.lag_time_max_ms
            ):
                found.append(self.items[i].node_id)
        return found

    def ready_to_join(self, int64_t high_watermark, int64_t epoch_start_offset):
        """Who is outside the maximal ISR, has caught up, and may join."""
        cdef int i
        found = []
        for i in range(self.count):
            if (
                not self.items[i].in_isr
                and self.items[i].fetched
                and self.items[i].log_end_offset >= high_watermark
                and self.items[i].log_end_offset >= epoch_start_offset
                and self.view.may_join(&self.items[i])
            ):
                found.append(self.items[i].node_id)
        return found

    def epoch_of(self, int32_t node_id):
        """The life in which it fetched last, -1 when it did not say."""
        cdef Follower* follower = self.find(node_id)
        if follower == NULL:
            raise InvariantError(f"node {node_id} has no replica")
        return follower.node_epoch

    def least_log_start(self, int64_t own):
        """The least log start of the leader, which is `own`, and of the live replicas; -1 when one
        of those has not said its own.
        """
        cdef int i
        cdef int64_t least = own
        for i in range(self.count):
            if self.view.may_join(&self.items[i]):
                least = min(least, self.items[i].log_start_offset)
        return least

    def describe(self):
        """[(node id, in the maximal ISR, log end offset, caught up at, last fetch at)], times in
        monotonic ms, -1 for never.
        """
        cdef int i
        return [
            (
                self.items[i].node_id, bool(self.items[i].in_isr), self.items[i].log_end_offset,
                self.items[i].caught_up_ms,
                self.items[i].last_fetch_ms if self.items[i].fetched else -1,
            )
            for i in range(self.count)
        ]
