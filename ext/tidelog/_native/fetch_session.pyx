"""Incremental fetch sessions (KIP-227): the broker remembers what a consumer fetches, so that
neither side repeats it.

A session's epoch counts its requests: 0 opens it, -1 closes it, 1..2^31-1 (then 1 again) go on.
The cache is bounded by
`max.incremental.fetch.session.cache.slots`; a full cache evicts its least recently used session,
when that has been idle for
`eviction_ms`, or when a follower asks and the evicted one is a consumer's; otherwise the client
is told to go on without a session. So it is when all sessions together would remember too many
partitions: a few bytes of a request become some hundred here, and stay.
"""

from libc.stdint cimport INT32_MAX, int16_t, int32_t, int64_t

cdef enum:
    ERROR_FETCH_SESSION_ID_NOT_FOUND = 70
    ERROR_INVALID_FETCH_SESSION_EPOCH = 71
    ERROR_FETCH_SESSION_TOPIC_ID_ERROR = 106

cdef enum:
    # What all sessions together remember: some 300 bytes for each, so 300 MB at most.
    PARTITIONS_MAX = 1_000_000


cdef class SessionPartition:
    """A partition as its session knows it."""

    cdef bint tell(
        self,
        int16_t error_code,
        int64_t high_watermark,
        int64_t log_start_offset,
        int64_t record_bytes,
        bint diverging,
    ) noexcept:
        cdef bint must = record_bytes > 0 or diverging
        if error_code != 0:
            # Tell the offsets again once the error is over.
            self.told_high_watermark = -1
            return True
        if self.told_high_watermark != high_watermark:
            self.told_high_watermark = high_watermark
            must = True
        if self.told_log_start_offset != log_start_offset:
            self.told_log_start_offset = log_start_offset
            must = True
        return must


cdef class FetchSession:
    """The partitions that one client fetches."""

    cdef SessionPartition put(self, bytes key, int32_t index):
        cdef SessionPartition partition = self.partitions.get((key, index))
        if partition is None:
            partition = SessionPartition.__new__(SessionPartition)
            partition.key = key
            partition.index = index
            partition.told_high_watermark = -1
            partition.told_log_start_offset = -1
            self.partitions[(key, index)] = partition
        return partition

    cdef int remove(self, bytes key, int32_t index) except -1:
        self.partitions.pop((key, index), None)
        return 0

    cdef int move_to_end(self, SessionPartition partition) except -1:
        cdef tuple place = (partition.key, partition.index)
        # (A later request may have forgotten the partition, or put it in anew.)
        if self.partitions.get(place) is partition:
            del self.partitions[place]
            self.partitions[place] = partition
        return 0

    def __len__(self):
        return len(self.partitions)

    def keys(self):
        """(topic key, index) in fetch order."""
        return list(self.partitions)


cdef class FetchSessionCache:
    """All sessions of a worker. `rng`: a random.Random, for ids that a client cannot guess by
    counting.
    """

    def __init__(
        self, int capacity, int64_t eviction_ms, rng, int64_t partitions_max=PARTITIONS_MAX
    ):
        self.capacity = capacity
        self.partitions_max = partitions_max
        self.eviction_ms = eviction_ms
        self.rng = rng
        self.sessions = {}

    cdef FetchSession create(self, bint uses_topic_ids, bint privileged, int64_t now_ms):
        cdef FetchSession session
        if not self.make_room(privileged, now_ms):
            return None
        session = FetchSession.__new__(FetchSession)
        session.session_id = self.rng.randint(1, INT32_MAX)
        while session.session_id in self.sessions:
            session.session_id = self.rng.randint(1, INT32_MAX)
        session.epoch = 1
        session.uses_topic_ids = uses_topic_ids
        session.privileged = privileged
        session.created_ms = now_ms
        session.last_used_ms = now_ms
        session.partitions = {}
        self.sessions[session.session_id] = session
        return session

    cdef bint make_room(self, bint privileged, int64_t now_ms) except -1:
        cdef FetchSession session
        if len(self.sessions) < self.capacity:
            return True
        for session in self.sessions.values():
            if now_ms - session.last_used_ms >= self.eviction_ms or (
                privileged and not session.privileged
            ):
                self.forget(session.session_id)
                return True
            if not privileged:
                break
        return False

    cdef FetchSession resume(
        self,
        int32_t session_id,
        int32_t epoch,
        bint uses_topic_ids,
        int64_t now_ms,
        int16_t* error_code,
    ):
        cdef FetchSession session = self.sessions.get(session_id)
        if session is None:
            error_code[0] = ERROR_FETCH_SESSION_ID_NOT_FOUND
            return None
        if session.epoch != epoch:
            error_code[0] = ERROR_INVALID_FETCH_SESSION_EPOCH
            return None
        if session.uses_topic_ids != uses_topic_ids:
            error_code[0] = ERROR_FETCH_SESSION_TOPIC_ID_ERROR
            return None
        session.epoch = 1 if epoch == INT32_MAX else epoch + 1
        session.last_used_ms = now_ms
        # Keep the dictionary in order of use.
        del self.sessions[session_id]
        self.sessions[session_id] = session
        return session

    cdef int forget(self, int32_t session_id) except -1:
        cdef FetchSession session = self.sessions.pop(session_id, None)
        if session is not None:
            self.partition_count -= session.counted
            session.counted = 0
        return 0

    cdef bint keep_count(self, FetchSession session) except -1:
        if self.sessions.get(session.session_id) is not session:
            return True
        self.partition_count += len(session.partitions) - session.counted
        session.counted = len(session.partitions)
        if self.partition_count <= self.partitions_max:
            return True
        self.forget(session.session_id)
        return False

    def __len__(self):
        return len(self.sessions)

    # -- the same for tests -------------------------------------------------------------------

    def create_session(self, bint uses_topic_ids, bint privileged, int64_t now_ms):
        """`create` for Python."""
        return self.create(uses_topic_ids, privileged, now_ms)

    def resume_session(
        self, int32_t session_id, int32_t epoch, bint uses_topic_ids, int64_t now_ms
    ):
        """`resume` for Python: (session or None, error code)."""
        cdef int16_t error_code = 0
        session = self.resume(session_id, epoch, uses_topic_ids, now_ms, &error_code)
        return session, error_code
