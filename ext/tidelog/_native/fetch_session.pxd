# Incremental fetch sessions (KIP-227). Pure: time and randomness are arguments. One cache per
# worker.
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

cdef class SessionPartition:
    # One partition of a session: what the client asked last, and what it was told last.
    cdef readonly bytes key              # topic name, or topic id in sessions that use ids
    cdef readonly int32_t index
    cdef int32_t current_leader_epoch
    cdef int64_t fetch_offset
    cdef int32_t last_fetched_epoch
    cdef int64_t log_start_offset
    cdef int32_t max_bytes
    cdef int64_t told_high_watermark     # -1: tell it with the next answer
    cdef int64_t told_log_start_offset
    # True when an incremental answer has to name this partition; remembers what it tells.
    cdef bint tell(
        self, int16_t error_code, int64_t high_watermark, int64_t log_start_offset,
        int64_t record_bytes, bint diverging
    ) noexcept

cdef class FetchSession:
    cdef readonly int32_t session_id
    cdef readonly int32_t epoch          # expected of the next request
    cdef readonly bint uses_topic_ids
    cdef readonly bint privileged        # a follower's
    cdef readonly int64_t created_ms
    cdef readonly int64_t last_used_ms
    cdef dict partitions                 # (key, index) -> SessionPartition, in fetch order
    cdef int64_t counted                 # partitions, as its cache counts them
    cdef SessionPartition put(self, bytes key, int32_t index)
    cdef int remove(self, bytes key, int32_t index) except -1
    # Partitions that just got data go to the end of the order, so that max_bytes starves nobody.
    cdef int move_to_end(self, SessionPartition partition) except -1

cdef class FetchSessionCache:
    cdef readonly int capacity
    # of all sessions together: a request is small beside what the session remembers of it
    cdef readonly int64_t partitions_max
    cdef readonly int64_t partition_count
    cdef readonly int64_t eviction_ms
    cdef object rng
    cdef dict sessions                   # id -> FetchSession, least recently used first
    # A new, empty session; None when the cache is full of sessions that may not be evicted.
    cdef FetchSession create(self, bint uses_topic_ids, bint privileged, int64_t now_ms)
    # The session for (id, epoch); None with *error_code set (FETCH_SESSION_ID_NOT_FOUND 70,
    # INVALID_FETCH_SESSION_EPOCH 71, FETCH_SESSION_TOPIC_ID_ERROR 106).
    cdef FetchSession resume(
        self, int32_t session_id, int32_t epoch, bint uses_topic_ids, int64_t now_ms,
        int16_t* error_code
    )
    cdef int forget(self, int32_t session_id) except -1
    # To be called after put() and remove() of a session. False: the sessions remember too much
    # now, and this one is forgotten.
    cdef bint keep_count(self, FetchSession session) except -1
    cdef bint make_room(self, bint privileged, int64_t now_ms) except -1
