# Produce requests and answers as bytes. See produce_lane.pxd for what happens between them.
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from tidelog._native.batch cimport CheckFailure
from tidelog._native.partition cimport Partition, Waiter
from tidelog._native.request cimport RequestHeader

# First versions with compact fields, with topic ids.
cdef enum:
    PRODUCE_FLEXIBLE_FROM = 9
    PRODUCE_RECORD_ERRORS_FROM = 8
    PRODUCE_TOPIC_IDS_FROM = 13

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
    void* refusal                # owned reference (bytes): record_errors and error_message, encoded
    int32_t leader_id            # -1 unless the client asked the wrong node
    int32_t leader_epoch

cdef class ReasonTexts:
    cdef list kept
    cdef int count
    cdef const uint8_t** texts
    cdef int32_t* sizes

cdef class ProduceMessage(Waiter):
    cdef ReasonTexts texts
    cdef int16_t api_version
    cdef int32_t correlation_id
    cdef int16_t acks
    cdef int32_t timeout_ms
    cdef int32_t throttle_time_ms
    cdef bint transactional      # some batch says that it is
    cdef bytes transactional_id  # then; None: the request names none
    cdef bint admin_client
    cdef ProduceTopic* topics
    cdef int32_t topic_count
    cdef int32_t topic_capacity
    cdef ProducePart* parts
    cdef int32_t part_count
    cdef int32_t part_capacity
    cdef uint8_t* frame          # own copy of the frame, or of the topic keys, while it waits
    cdef size_t frame_size
    # Fills topics and parts. Returns 1 when the request is malformed.
    cdef int parse(self, const RequestHeader* header, const uint8_t* end) except -1
    cdef int parse_topics(self, const uint8_t* body, const uint8_t* end) except -1
    cdef ProduceTopic* add_topic(self) except NULL
    cdef ProducePart* add_part(self) except NULL
    cdef int take_records(self, ProducePart* part, const uint8_t* data) except -1
    # What an answer says of single records: (index, message) pairs, and of the batch.
    cdef int explain_part(self, ProducePart* part, record_errors, message) except -1
    # Bytes that it keeps while it waits.
    cdef int64_t held_bytes(self) noexcept
    cdef int detach_frame(self, const uint8_t* frame, size_t n) except -1
    cdef int detach_keys(self) except -1
    cdef int drop_parts(self) except -1
    # After drop_parts(): give back what an unusually large request took.
    cdef int shrink(self) except -1
    cdef bint any_error(self) noexcept
    cdef size_t bound(self) noexcept
    cdef size_t bound_of_part(self, const ProducePart* part) noexcept
    cdef uint8_t* encode(self, uint8_t* p) noexcept
    cdef uint8_t* encode_part(self, uint8_t* p, const ProducePart* part) noexcept
    cdef uint8_t* encode_refusal(self, uint8_t* p, const ProducePart* part) noexcept
    cdef uint8_t* encode_leader(self, uint8_t* p, const ProducePart* part) noexcept

# Whether it is a batch of a transaction.
cdef bint is_transactional(const ProducePart* part) noexcept nogil
# Of a batch: what the transaction gate is asked with (request.pxd).
cdef tuple writer_of(const ProducePart* part, Partition partition)
