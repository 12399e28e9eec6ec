# Fetch (key 1) from a frame to file regions, without a Python object per record or field.
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t
from tidelog._native.fetch_session cimport FetchSession, FetchSessionCache, SessionPartition
from tidelog._native.partition cimport Partition, PartitionTable, TopicEntry, Waiter
from tidelog._native.request cimport Gates, RequestHeader
from tidelog._native.response cimport Peer, Slot
from tidelog._native.wire cimport wire_cursor

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
    void* segment                # owned reference (Segment) or NULL
    int64_t position
    int64_t size

cdef class FetchTask(Waiter):
    cdef FetchLane lane
    cdef Peer peer
    cdef Slot slot
    cdef object timer
    cdef FetchSession session            # None: sessionless
    cdef int32_t session_id              # of the answer; 0: none
    # every partition asked is answered; else only those with news
    cdef bint full
    cdef int16_t error_code              # top level
    cdef int16_t api_version
    cdef int32_t correlation_id
    cdef int32_t replica_id
    cdef int64_t replica_epoch
    cdef int32_t max_wait_ms
    cdef int32_t min_bytes
    cdef int32_t max_bytes
    cdef int8_t isolation_level
    cdef int32_t request_session_id
    cdef int32_t request_session_epoch
    cdef int32_t throttle_time_ms
    cdef bytes client_id
    cdef FetchPart* parts
    cdef int32_t part_count
    cdef int32_t part_capacity
    cdef const uint8_t* forgotten        # where forgotten_topics_data begins, NULL before version 7
    cdef uint8_t* frame                  # own copy while it waits
    cdef list partitions                 # those whose fetch_waiters hold this task
    cdef bint any_failed
    cdef int64_t total_bytes
    cdef int parse(self, const RequestHeader* header, const uint8_t* end) except -1
    cdef int parse_topics(self, wire_cursor* c) except -1
    cdef int parse_partition(self, wire_cursor* c, FetchPart* part) except -1
    cdef int parse_tail(self, wire_cursor* c) except -1
    cdef int parse_request_tags(self, wire_cursor* c) except -1
    cdef FetchPart* add_part(self) except NULL
    cdef int enter_session(self, const uint8_t* end, int64_t now_ms) except -1
    cdef int update_session(self, const uint8_t* end) except -1
    cdef int forget_topics(self, const uint8_t* end) except -1
    cdef int take_session_parts(self) except -1
    cdef int drop_parts(self, int32_t keep) except -1
    cdef int read(self) except -1
    cdef int read_part(self, FetchPart* part, int64_t budget) except -1
    cdef int read_log(self, FetchPart* part, Partition partition, int64_t budget) except -1
    cdef int16_t check_diverging(self, FetchPart* part, Partition partition) except? -1
    cdef TopicEntry find_topic(self, FetchPart* part)
    cdef bint satisfied(self) noexcept
    cdef int wait(self, const uint8_t* frame, size_t n) except -1
    cdef int forget_waits(self) except -1
    cdef int select_parts(self) except -1
    cdef int answer(self) except -1
    cdef size_t bound(self) noexcept
    cdef uint8_t* encode_head(self, uint8_t* p) noexcept
    cdef uint8_t* encode_topic_start(self, uint8_t* p, int32_t first, int32_t* last) noexcept
    cdef int32_t group_end(self, int32_t first, int32_t* last) noexcept
    cdef uint8_t* encode_part(self, uint8_t* p, const FetchPart* part) noexcept
    cdef uint8_t* encode_part_tags(self, uint8_t* p, const FetchPart* part) noexcept
    cdef int encode_into_slot(self) except -1
    cdef int encode_direct(self, uint8_t* start) except -1
    cdef int drop_segments(self) except -1
    cdef int clear(self) except -1

cdef class FetchLane:
    cdef readonly PartitionTable table
    cdef readonly Gates gates
    cdef readonly FetchSessionCache sessions
    cdef readonly int32_t max_bytes          # fetch.max.bytes
    cdef readonly object call_later
    cdef FetchTask spare
    cdef int handle(
        self, Peer peer, const RequestHeader* header, uint8_t* frame, size_t n
    ) except -1
    cdef int recycle(self, FetchTask task) except -1
