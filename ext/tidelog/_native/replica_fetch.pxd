# The follower's end of Fetch (key 1, versions 15 to 18): requests of an incremental session, and
# answers that are parsed and appended where they were received.
#
# ReplicaFetch is one connection's: requests, session (KIP-227), receive buffer. FetchedPart is one
# partition on it. Loop thread only; no I/O but recv() and the appends of LogCore.
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from tidelog._native.log cimport LogCore
from tidelog._native.wire cimport wire_buffer, wire_cursor

cdef class FetchedPart:
    cdef readonly bytes topic_id             # 16 bytes
    cdef readonly int32_t index
    cdef readonly LogCore core
    cdef readonly object owner               # who takes the answers; nothing to this module
    # what the next request says
    cdef readonly int32_t current_leader_epoch
    cdef readonly int64_t fetch_offset
    cdef readonly int32_t last_fetched_epoch
    cdef readonly int64_t follower_log_start_offset
    cdef readonly int64_t follower_high_watermark
    cdef readonly bint active                # is to be fetched
    cdef bint changed                        # the next request has to name it
    cdef bint listed                         # stands in ReplicaFetch.changed
    cdef bint in_session                     # the leader's session holds it, when all is received
    cdef int64_t named_in                    # number of the request that named it last
    # what the last answer said
    cdef int64_t answered_in                 # number of that answer
    cdef readonly int16_t error_code
    cdef readonly int64_t high_watermark
    cdef readonly int64_t log_start_offset
    cdef readonly int32_t diverging_epoch    # -1: does not diverge
    cdef readonly int64_t diverging_end_offset
    cdef readonly int32_t leader_id          # -1: no hint
    cdef readonly int32_t leader_epoch
    cdef readonly int64_t records_position   # in the receive buffer
    cdef readonly int64_t records_size       # what of it is not appended yet
    # of the batch that append() was refused
    cdef readonly int64_t refused_base_offset
    cdef readonly int64_t refused_last_offset

cdef class ReplicaFetch:
    cdef int16_t api_version
    cdef bytes client_id
    cdef int32_t node_id
    cdef int64_t node_epoch
    cdef int32_t max_wait_ms
    cdef int32_t min_bytes
    cdef int32_t max_bytes
    cdef int32_t partition_max_bytes
    cdef int64_t answer_bytes_max
    cdef size_t keep_bytes                   # a larger buffer is given back after its answer
    # partitions: topic id -> index -> FetchedPart
    cdef dict topics
    cdef readonly int active_count
    cdef list changed
    cdef dict forgotten                      # (topic id, index) that the session still holds
    # session
    cdef readonly int32_t session_id
    cdef readonly int32_t session_epoch      # of the next request; 0: it begins a session
    cdef bint without_session                # the leader began none when it was asked last
    # requests are numbered from 1 on, which is also their correlation id (in 31 bits)
    cdef readonly int64_t sent
    cdef readonly int64_t answered
    cdef readonly int64_t bytes_received
    # of the last answer
    cdef readonly int32_t throttle_time_ms
    cdef readonly int16_t error_code
    # receive buffer: from its start on, the frame that is being received
    cdef uint8_t* data
    cdef size_t capacity
    cdef size_t filled
    cdef wire_buffer out

    cdef FetchedPart find(self, bytes topic_id, int32_t index)
    cdef int leave_session(self, FetchedPart part) except -1
    cdef list take_named(self, bint full)
    cdef uint8_t* put_head(self, uint8_t* p, bint full) noexcept
    cdef uint8_t* put_topics(self, uint8_t* p, list named) except NULL
    cdef uint8_t* put_part(self, uint8_t* p, FetchedPart part) noexcept
    cdef uint8_t* put_forgotten(self, uint8_t* p) except NULL
    cdef uint8_t* put_tail(self, uint8_t* p) noexcept
    # Room for what comes next: at least one byte, at most the rest of the present frame.
    cdef size_t make_room(self) except 0
    cdef bint complete(self) except -1
    cdef int64_t frame_size(self) except -1
    cdef int reserve(self, size_t capacity) except -1
    # The parsers return 0, or 1 when the answer is malformed.
    cdef int parse(self, wire_cursor* c, list found) except -1
    cdef int parse_topics(self, wire_cursor* c, list found) except -1
    cdef int parse_partition(self, wire_cursor* c, dict parts, list found) except -1
    cdef int enter(self, int16_t error_code, int32_t session_id) except -1
