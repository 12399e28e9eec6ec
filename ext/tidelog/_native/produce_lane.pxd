# Produce (key 0) from a frame to the log and back, without a Python object per record or field.
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from tidelog._native.batch cimport CheckFailure
from tidelog._native.partition cimport Partition, PartitionTable, Waiter
from tidelog._native.request cimport Gates, RequestHeader
from tidelog._native.response cimport Peer, Slot

cdef struct ProduceTopic:
    # name (version <= 12) or topic id: into the frame, later into ProduceTask.keys
    const uint8_t* key
    int32_t key_size
    int32_t first_part
    int32_t part_count

cdef struct ProducePart:
    int32_t topic                # index of its ProduceTopic
    int32_t index
    uint8_t* records
    int32_t records_size         # -1: null
    void* partition              # owned reference (Partition) once appended; NULL otherwise
    bint waits                   # appended, not yet acknowledged
    int16_t error_code
    int64_t base_offset
    int64_t last_offset
    int64_t log_append_time
    int64_t log_start_offset
    CheckFailure failure

cdef class ProduceTask(Waiter):
    # One request. The lane keeps a spare one; a request that has to wait takes it along.
    cdef ProduceLane lane
    cdef Peer peer
    cdef Slot slot               # opened when the request has to wait
    cdef object timer
    cdef int16_t api_version
    cdef int32_t correlation_id
    cdef int16_t acks
    cdef int32_t timeout_ms
    cdef int32_t throttle_time_ms
    cdef bint transactional
    cdef bint admin_client
    cdef ProduceTopic* topics
    cdef int32_t topic_count
    cdef int32_t topic_capacity
    cdef ProducePart* parts
    cdef int32_t part_count
    cdef int32_t part_capacity
    cdef int32_t next_part       # parts before it are decided
    cdef int blocked_by
    cdef int rolls               # in a row, for the part `rolled_part`
    cdef int32_t rolled_part
    cdef uint8_t* frame          # own copy of the frame, or of the topic keys, while it waits
    cdef int parse(self, const RequestHeader* header, const uint8_t* end) except -1
    cdef int parse_topics(self, const uint8_t* body, const uint8_t* end) except -1
    cdef ProduceTopic* add_topic(self) except NULL
    cdef ProducePart* add_part(self) except NULL
    cdef int run(self) except -1
    cdef int append_part(self, ProducePart* part) except -1
    cdef int note_append(self, ProducePart* part, Partition partition) except -1
    cdef int16_t refuse_before_append(self, ProducePart* part, Partition partition) except? -1
    cdef int detach_frame(self, const uint8_t* frame, size_t n) except -1
    cdef int detach_keys(self) except -1
    cdef int finish(self) except -1
    cdef bint still_waits(self) noexcept
    cdef int wait(self) except -1
    cdef int answer(self) except -1
    cdef int fail_part(self, ProducePart* part, int16_t error_code) except -1
    cdef Partition blocking_partition(self)
    cdef Partition blocking_partition_of(self, const ProducePart* part)
    cdef uint8_t* encode_leader(self, uint8_t* p, const ProducePart* part) noexcept
    cdef size_t bound(self) noexcept
    cdef uint8_t* encode(self, uint8_t* p) noexcept
    cdef uint8_t* encode_part(self, uint8_t* p, const ProducePart* part) noexcept
    cdef bint any_error(self) noexcept
    cdef int forget_waits(self) except -1
    cdef int clear(self) except -1

cdef class ProduceLane:
    cdef readonly PartitionTable table
    cdef readonly Gates gates
    cdef readonly object call_later          # loop.call_later
    cdef readonly object create_task         # loop.create_task
    # async (partition, records: bytes, api_version, acks) -> AppendAnswer: recompression and the
    # like
    cdef readonly object slow_append
    cdef list reasons                        # bytes: texts of CheckFailure.reason
    cdef int reason_count
    cdef const uint8_t** reason_texts
    cdef int32_t* reason_sizes
    cdef size_t reason_size_max
    cdef ProduceTask spare
    cdef int64_t now_ms
    # Takes one frame (without size prefix). The buffer is modified (stamps). Malformed: aborts
    # the peer.
    cdef int handle(
        self, Peer peer, const RequestHeader* header, uint8_t* frame, size_t n
    ) except -1
    cdef int recycle(self, ProduceTask task) except -1
