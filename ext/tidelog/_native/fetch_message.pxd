# Fetch requests and answers as bytes. See fetch_lane.pxd for what happens between them.
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t

from tidelog._native.fetch_session cimport FetchSession
from tidelog._native.partition cimport Waiter
from tidelog._native.request cimport RequestHeader
from tidelog._native.wire cimport wire_cursor

# First versions with compact fields, with topic ids, with sessions.
cdef enum:
    FETCH_FLEXIBLE_FROM = 12
    FETCH_TOPIC_IDS_FROM = 13
    FETCH_SESSIONS_FROM = 7
    READ_COMMITTED = 1

cdef struct FetchPart:
    # asked
    # topic name (version <= 12) or id: into the frame, its copy, or the session's partition
    const uint8_t* key
    int32_t key_size
    int32_t index
    int32_t current_leader_epoch # -1: not checked
    int64_t fetch_offset
    int32_t last_fetched_epoch   # -1: not checked
    int64_t follower_log_start_offset
    int32_t max_bytes
    void* session_partition      # owned reference (SessionPartition) or NULL
    # answered
    bint included
    int16_t error_code
    int64_t high_watermark
    int64_t last_stable_offset
    int64_t log_start_offset
    int32_t diverging_epoch      # -1: does not diverge
    int64_t diverging_end_offset
    int32_t leader_id            # -1 unless the client asked the wrong node
    int32_t leader_epoch
    int32_t preferred            # replica from which the client had better read; -1: from this one
    int64_t* aborted             # malloc'ed pairs of producer id and first offset; NULL: none
    int32_t aborted_count
    void* file                   # owned reference (LogFile) or NULL
    int64_t position
    int64_t size
    void* source                 # borrowed (Partition), of the last read; where size > 0
    int64_t records              # about so many

cdef class FetchMessage(Waiter):
    cdef int16_t error_code      # top level
    cdef int16_t api_version
    cdef int32_t correlation_id
    cdef int32_t replica_id
    cdef int64_t replica_epoch
    cdef int32_t max_wait_ms
    cdef int32_t min_bytes
    cdef int32_t max_bytes
    cdef int8_t isolation_level
    cdef const uint8_t* rack     # into the frame: the client's rack, as long as it is looked at
    cdef int32_t rack_size       # 0: it has none
    cdef int32_t request_session_id
    cdef int32_t request_session_epoch
    cdef int32_t session_id      # of the answer; 0: none
    cdef int32_t throttle_time_ms
    cdef FetchPart* parts
    cdef int32_t part_count
    cdef int32_t part_capacity
    # where forgotten_topics_data begins, NULL before version 7
    cdef const uint8_t* forgotten
    cdef uint8_t* keys           # own copy of the topic keys while it waits
    cdef size_t keys_size
    # Fills the request's fields and parts. Returns 1 when it is malformed.
    cdef int parse(self, const RequestHeader* header, const uint8_t* end) except -1
    cdef int parse_topics(self, wire_cursor* c) except -1
    cdef int parse_partition(self, wire_cursor* c, FetchPart* part) except -1
    cdef int parse_partition_tags(self, wire_cursor* c) except -1
    cdef int parse_tail(self, wire_cursor* c) except -1
    cdef int parse_request_tags(self, wire_cursor* c) except -1
    cdef FetchPart* add_part(self) except NULL
    # Copies the topic keys: all that is needed of the frame when it has been read.
    cdef int detach_keys(self) except -1
    # Bytes that it keeps while it waits.
    cdef int64_t held_bytes(self) noexcept
    # After drop_parts(0): give back what an unusually large request took.
    cdef int shrink(self) except -1
    cdef int drop_parts(self, int32_t keep) except -1
    cdef int drop_files(self) except -1
    cdef int leave_parts_out(self) except -1
    # What the request says the session is no longer to hold.
    cdef int forget_topics(self, FetchSession session, const uint8_t* end) except -1
    cdef size_t bound(self) noexcept
    cdef uint8_t* encode_head(self, uint8_t* p) noexcept
    cdef int32_t group_end(self, int32_t first, int32_t* last) noexcept
    cdef uint8_t* encode_topic_start(self, uint8_t* p, int32_t first, int32_t* last) noexcept
    cdef uint8_t* encode_part(self, uint8_t* p, const FetchPart* part) noexcept
    cdef uint8_t* encode_aborted(
        self, uint8_t* p, const FetchPart* part, bint flexible, bint listed
    ) noexcept
    cdef uint8_t* encode_part_tags(self, uint8_t* p, const FetchPart* part) noexcept
