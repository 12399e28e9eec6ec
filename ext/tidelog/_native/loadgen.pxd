"""Load generator, its answer checks, its histogram, and the floor server (plain C in loadgen_*.h).

Apart from the broker: nothing in the broker's lanes may cimport this module.
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "loadgen_hist.h" nogil:
    enum:
        LG_HIST_BUCKETS

    ctypedef struct lg_hist:
        uint64_t count
        uint64_t sum
        uint64_t min
        uint64_t max
        uint64_t *buckets

    void lg_hist_clear(lg_hist *h) noexcept
    uint64_t lg_hist_lower(uint32_t index) noexcept
    uint64_t lg_hist_upper(uint32_t index) noexcept
    void lg_hist_record(lg_hist *h, uint64_t value) noexcept
    void lg_hist_merge(lg_hist *to, const lg_hist *source) noexcept
    uint64_t lg_hist_percentile(const lg_hist *h, double fraction) noexcept

cdef extern from "loadgen_check.h" nogil:
    ctypedef uint32_t (*lg_crc_function)(uint32_t seed, const void *data, size_t n) noexcept

    enum:
        LG_WALK_OK
        LG_WALK_BAD_BATCH
        LG_WALK_BAD_CRC

    ctypedef struct lg_cursor_position "wire_cursor":
        const uint8_t *pos

    ctypedef struct lg_answer:
        lg_cursor_position at

    ctypedef struct lg_produced:
        int32_t partition
        int16_t error_code
        int64_t base_offset

    ctypedef struct lg_fetched:
        int32_t partition
        int16_t error_code
        int64_t high_watermark
        int64_t log_start_offset
        int32_t records_length

    ctypedef struct lg_walk:
        int64_t next_offset
        uint64_t batches
        uint64_t records
        uint64_t bytes

    int lg_produce_begin(lg_answer *a, const uint8_t *body, size_t size, int version) noexcept
    int lg_produce_next(lg_answer *a, lg_produced *out) noexcept
    int lg_produce_end(lg_answer *a, int32_t *throttle_time_ms) noexcept
    int lg_fetch_begin(
        lg_answer *a, const uint8_t *body, size_t size, int version, int16_t *error_code,
        int32_t *throttle_time_ms
    ) noexcept
    int lg_fetch_next(lg_answer *a, lg_fetched *out) noexcept
    int lg_fetch_skip_records(lg_answer *a, const lg_fetched *part) noexcept
    int lg_fetch_end(lg_answer *a) noexcept
    int lg_walk_batches(
        const uint8_t *p, size_t size, lg_crc_function crc, lg_walk *walk
    ) noexcept

cdef extern from "loadgen_client.h" nogil:
    enum:
        LG_RAW
        LG_PRODUCE
        LG_FETCH
        LG_FIXED
        LG_STREAM
        LG_TAIL
        LG_FINISHED
        LG_AGAIN
        LG_FAILED
        LG_E_IO
        LG_E_CLOSED
        LG_E_SIZE
        LG_E_CORRELATION
        LG_E_MALFORMED
        LG_E_BROKER
        LG_E_PARTITIONS
        LG_E_OFFSET
        LG_E_BATCH
        LG_E_CRC
        LG_E_EMPTY
        LG_E_STALLED
        LG_E_MEMORY
        LG_FENCE

    ctypedef struct lg_batch:
        size_t position
        size_t length
        uint32_t record_count
        int32_t next_sequence

    ctypedef struct lg_cursor:
        size_t position
        int32_t partition
        int64_t start
        int64_t end
        uint64_t first_due_ns
        uint64_t period_ns
        int64_t batch_records

    ctypedef struct lg_template:
        const uint8_t *frame
        size_t frame_length
        int32_t expected_partitions
        uint64_t payload_bytes
        uint64_t payload_records
        lg_batch *batches
        int batch_count
        lg_cursor *cursors
        int cursor_count

    ctypedef struct lg_stats:
        uint64_t requests
        uint64_t bytes_sent
        uint64_t bytes_received
        uint64_t record_bytes
        uint64_t records
        uint64_t batches
        uint64_t empty_responses
        uint64_t wraps
        uint64_t throttled_responses
        uint64_t send_calls
        uint64_t receive_calls
        uint64_t elapsed_ns
        uint64_t user_ns
        uint64_t system_ns
        uint64_t unsent
        int64_t last_base_offset

    ctypedef struct lg_error:
        int code
        int connection
        uint64_t request
        int64_t a
        int64_t b

    ctypedef struct lg_connection:
        int fd
        lg_template *templates
        uint32_t template_count
        const uint8_t *fence
        size_t fence_length
        uint64_t interval_ns
        uint64_t offset_ns

    ctypedef struct lg_generator:
        int kind
        int version
        int error_at
        uint32_t in_flight
        int acks0
        int fetch_mode
        int discard
        size_t max_response
        lg_crc_function verify_crc
        uint64_t stall_ns
        int scheduled
        int stop
        int epoll_fd
        lg_connection *connections
        uint32_t connection_count
        lg_stats stats
        lg_error error
        lg_hist latency
        lg_hist delays

    void lg_batch_prepare(
        lg_batch *b, const uint8_t *frame, lg_crc_function crc, uint8_t *scratch
    ) noexcept
    void lg_run_begin(
        lg_generator *g, uint64_t max_requests, uint64_t duration_ns, uint64_t start_at,
        uint64_t grace_ns
    ) noexcept
    int lg_run_slice(lg_generator *g, uint64_t slice_ns) noexcept
    void lg_run_end(lg_generator *g) noexcept
    void lg_connection_free(lg_connection *c) noexcept
    int lg_connection_prepare(lg_generator *g, lg_connection *c) noexcept
    uint64_t lg_now() noexcept

cdef extern from "loadgen_floor.h" nogil:
    enum:
        LF_MAX_LOGS

    ctypedef struct lf_server:
        int listen_fd
        int epoll_fd
        char *directory
        int preallocate
        int check_crc
        int answer_each
        lg_crc_function crc
        int stop
        uint64_t requests

    int lf_start(lf_server *s) noexcept
    int lf_run_slice(lf_server *s, uint64_t until_ns, uint64_t (*now)() noexcept nogil) noexcept
    void lf_free(lf_server *s) noexcept


cdef class Histogram:
    cdef lg_hist *_hist

    cpdef void record(self, uint64_t nanoseconds) except *
    cpdef void merge(self, Histogram other) except *
    cpdef uint64_t percentile(self, double percent) except? 0


cdef class LoadGenerator:
    cdef lg_generator _generator
    cdef list _kept  # bytes objects that the templates point into
    cdef bint _failed
    cdef bint _running

    cdef int _append_connection(
        self, int fd, list templates, bytes fence, uint64_t interval_ns, uint64_t offset_ns,
        list schedules
    ) except -1
    cdef int _set_schedules(self, lg_template *t, list schedules) except -1
    cdef int _fill_template(self, lg_template *t, tuple template) except -1
    cdef int _fill_batches(self, lg_template *t, bytes frame, list batches) except -1
    cdef int _fill_cursors(self, lg_template *t, bytes frame, list cursors) except -1
    cdef object _result(self)
    cdef object _failure(self)


cdef class FloorServer:
    cdef lf_server _server
    cdef bint _started
    cdef object _socket  # keeps the listening socket open
