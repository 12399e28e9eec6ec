# Plain-socket transport: frames in (recv), answers out (send, sendfile). Reactor: what all
# connections of a worker share.
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from tidelog._native.fetch_lane cimport FetchLane
from tidelog._native.partition cimport Progress
from tidelog._native.produce_lane cimport ProduceLane
from tidelog._native.response cimport Output, Peer, ResponseQueue, Slot

cdef class Reactor:
    cdef readonly object loop
    cdef object add_reader, remove_reader, add_writer, remove_writer, call_soon, create_task
    # (frame: bytes, info) -> bytes | Awaitable[bytes | None] | None: everything but Produce and
    # Fetch
    cdef readonly object dispatch
    # (fd, position, size, callback): warm a cold range on a helper thread, then callback() on the
    # loop
    cdef readonly object read_ahead
    cdef readonly object on_close        # (connection, reason: str | None)
    cdef ProduceLane produce
    cdef FetchLane fetch
    cdef Progress progress
    cdef uint8_t* scratch                # one receive buffer for all connections
    cdef size_t scratch_size
    cdef size_t send_slice               # tidelog.sendfile.slice.bytes
    cdef list dirty                      # connections with answers that became ready
    cdef bint flush_scheduled
    # > 0 while a connection's read pass runs: it flushes at its end
    cdef int in_pass
    # limits
    cdef readonly int32_t request_size_max       # socket.request.max.bytes
    cdef readonly int waiting_max                # answers outstanding per connection
    # memory per connection (received and not yet handled, answers not yet sent)
    cdef readonly int64_t queued_bytes_max
    cdef readonly int64_t total_bytes_max        # the same for the process
    cdef readonly int64_t total_bytes
    # connections whose large frame waits for room in the process
    cdef set starved
    # counters, for metrics and tests
    cdef readonly int64_t requests
    cdef readonly int64_t bytes_in
    cdef readonly int64_t bytes_out
    cdef readonly int64_t cold_reads
    cdef int schedule_flush(self, Connection connection) except -1
    cpdef int flush_dirty(self) except -1
    cdef int account(self, Connection connection) except -1

cdef class Connection(Peer):
    cdef Reactor reactor
    cdef readonly int fd
    cdef object socket
    cdef bint reading                    # registered with the loop
    cdef bint writing
    cdef bint blocked                    # a request has to finish before the next frame is taken
    cdef bint throttled                  # backpressure: too much is queued
    cdef bint muted                      # quota
    cdef bint warming                    # a cold range is being read ahead
    cdef bint dirty
    cdef bint processing
    cdef bint flushing
    # the incomplete frame (with size prefix), or frames that wait while blocked
    cdef uint8_t* stash
    cdef size_t stash_size
    cdef size_t stash_capacity
    cdef bint big_frames                 # the last frame was larger than the scratch buffer
    cdef int64_t accounted               # what `reactor.total_bytes` holds for this connection
    cdef readonly int64_t last_active_ms
    cdef readonly int64_t requests
    cdef int receive(self) except -1
    cdef int received_nothing(self, ssize_t n) except -1
    cdef int end_pass(self) except -1
    cdef int receive_into_stash(self) except -1
    cdef int process(self, uint8_t* data, size_t n, size_t* consumed) except -1
    cdef int refuse_size(self, int32_t size) except -1
    cdef int process_stash(self) except -1
    cdef int keep(self, const uint8_t* data, size_t n) except -1
    cdef int reserve_stash(self, size_t capacity) except -1
    cdef int handle_frame(self, uint8_t* frame, size_t n) except -1
    cdef int handle_slowly(self, uint8_t* frame, size_t n) except -1
    cdef bint may_take(self) noexcept
    cdef bint may_read(self) except -1
    cdef int flush(self) except -1
    cdef int64_t send_some(self, Output* output) except -2
    cdef bint is_warm(self, const Output* output, size_t n) noexcept
    cdef int watch_reads(self) except -1
    cdef int watch_writes(self, bint wanted) except -1
    cdef int relieve(self) except -1
    cdef int close_now(self, str reason) except -1
