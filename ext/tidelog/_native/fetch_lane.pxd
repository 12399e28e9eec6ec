# Fetch (key 1) from a frame to file regions, without a Python object per record or field.
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from tidelog._native.fetch_message cimport FetchMessage, FetchPart
from tidelog._native.fetch_session cimport FetchSession, FetchSessionCache
from tidelog._native.partition cimport Partition, PartitionTable, TopicEntry
from tidelog._native.request cimport Gates, RequestHeader
from tidelog._native.request_stats cimport Timing
from tidelog._native.response cimport Peer, Slot
from tidelog._native.segment cimport Segment

cdef class FetchTask(FetchMessage):
    cdef FetchLane lane
    cdef Peer peer
    cdef Slot slot
    cdef object timer
    cdef FetchSession session            # None: sessionless
    cdef bint full                       # every partition asked is answered; else those with news
    # None: it is not charged to anybody (there are no quotas, or a follower fetches)
    cdef bytes client_id
    cdef int64_t quota_bytes             # what its quota lets the answer hold
    cdef int64_t busy_ns                 # of the loop's time
    # its first look: what a follower's fetch says of its log is noted once
    cdef bint arriving
    cdef list partitions                 # those whose fetch_waiters hold this task
    cdef bint any_failed
    cdef bint any_moved                  # a part is better read from another replica
    cdef object near                     # ids of the nodes that are near to the client, or None
    # a part is on a segment that gets no more: waiting for more bytes would be in vain
    cdef bint any_complete
    cdef int64_t budget                  # max_bytes, as far as the broker and a frame allow
    cdef int64_t total_bytes
    cdef Timing timing
    cdef int enter_session(self, const uint8_t* end, int64_t now_ms) except -1
    cdef int update_session(self, const uint8_t* end) except -1
    cdef int take_session_parts(self) except -1
    cdef int read(self) except -1
    cdef int read_part(self, FetchPart* part, int64_t budget) except -1
    cdef int read_log(self, FetchPart* part, Partition partition, int64_t budget) except -1
    cdef int note_aborted(self, FetchPart* part, Partition partition, Segment segment) except -1
    cdef int16_t check_diverging(self, FetchPart* part, Partition partition) except? -1
    cdef TopicEntry find_topic(self, FetchPart* part)
    cdef bint satisfied(self) noexcept
    cdef int wait(self) except -1
    cdef int fail(self) except -1
    cdef int go_on(self, bint timed_out) except -1
    cdef int forget_waits(self) except -1
    cdef int select_parts(self) except -1
    cdef int count_parts(self) except -1
    cdef int charge(self) except -1
    cdef int answer(self) except -1
    cdef int encode_into_slot(self) except -1
    cdef int encode_direct(self, uint8_t* start) except -1
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
