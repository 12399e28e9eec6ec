# Reactor: what all connections of a worker share. Transport: a connection as the reactor sees it;
# everything of it but the sockets (connection.pyx).
from libc.stdint cimport int32_t, int64_t, uint8_t

from tidelog._native.fetch_lane cimport FetchLane
from tidelog._native.partition cimport Progress
from tidelog._native.produce_lane cimport ProduceLane
from tidelog._native.request_stats cimport RequestStats
from tidelog._native.response cimport Peer

cdef class Reactor

cdef class Transport(Peer):
    cdef Reactor reactor
    cdef bint dirty                      # in Reactor.dirty
    cdef bint blocked                    # a request has to finish before the next frame is taken
    cdef bint throttled                  # backpressure: too much is queued
    cdef bint muted                      # the server stops
    cdef readonly bint paused            # a quota is exceeded
    cdef double paused_until             # time of the loop
    cdef object pause_timer
    cdef readonly bint writing           # the socket took no more: its peer has to read first
    cdef bint deferred                   # in Reactor.deferred: takes no frame before its turn
    cdef int taken_slowly                # slow requests that were answered in this pass
    cdef int64_t accounted               # what Reactor.total_bytes holds for this connection
    cdef int64_t accounted_unsent        # the same of Reactor.total_unsent
    cdef readonly int64_t requests
    cdef int64_t arrived_ns              # when something was received last; 0: not timed
    # -- of the transport
    cdef int flush(self) except -1       # send what is ready
    cdef int relieve(self) except -1     # after sending: take requests again, if that was stopped
    cdef int64_t held_bytes(self) noexcept
    cpdef int go_on(self) except -1      # handle what was received and waits
    # -- for it
    cdef int end_pause(self) except -1   # the connection is gone
    cdef int handle_frame(self, uint8_t* frame, size_t n) except -1
    cdef int handle_slowly(self, uint8_t* frame, size_t n) except -1
    cdef int refuse_size(self, int32_t size) except -1
    cdef bint refuse_other(self, const uint8_t* frame, size_t n) except -1
    cdef bint may_take(self) except -1
    cdef bint may_exceed(self) except -1
    cdef int64_t unsent_bytes(self) noexcept

cdef class Reactor:
    cdef readonly object loop
    cdef object add_reader, remove_reader, add_writer, remove_writer, call_soon, create_task
    # (frame: bytes, info) -> bytes | Awaitable[bytes]: everything but Produce and
    # Fetch
    cdef readonly object dispatch
    # (fd, position, size, callback): warm a cold range on a helper thread, then callback() on the
    # loop
    cdef readonly object read_ahead
    cdef readonly object on_close        # (connection, reason: str | None)
    cdef ProduceLane produce
    cdef FetchLane fetch
    cdef Progress progress
    cdef readonly RequestStats stats     # of the lanes: counts and times of all requests
    cdef uint8_t* scratch                # one receive buffer for all connections
    cdef size_t scratch_size
    cdef size_t send_slice               # tidelog.sendfile.slice.bytes
    cdef list dirty                      # connections with answers that became ready
    cdef bint flush_scheduled
    # > 0 while a connection's read pass runs: it flushes at its end
    cdef int in_pass
    # limits
    cdef readonly int32_t request_size_max       # socket.request.max.bytes
    cdef readonly int32_t other_request_size_max # of everything but Produce
    cdef readonly int waiting_max                # answers outstanding per connection
    # memory per connection (received and not yet handled, answers not yet sent)
    cdef readonly int64_t queued_bytes_max
    cdef readonly int64_t unsent_bytes_max       # what of it are answers
    cdef readonly int64_t total_bytes_max        # the same for the process
    cdef readonly int64_t total_bytes
    # what of these are answers: a limit of its own, at which nobody is answered any more
    cdef readonly int64_t total_unsent_max
    cdef readonly int64_t total_unsent
    # connections that wait for room in the process, in the order in which they came
    cdef dict starved
    # connections that wait for others' answers to be read
    cdef dict unanswered
    cdef object on_pressure              # (): the limit is reached
    cdef bint pressed                    # it was called, and somebody still looks for memory
    # connections that used their turn up and have more requests for the slow lane
    cdef object deferred
    cdef bint deferred_scheduled
    # the one of them that may receive the rest of its frame nevertheless: without it, connections
    # that hold a part of a frame each could wait for each other
    cdef Transport favoured
    # counters, for metrics and tests
    cdef readonly int64_t requests
    cdef readonly int64_t bytes_in
    cdef readonly int64_t bytes_out
    cdef readonly int64_t cold_reads
    cdef int schedule_flush(self, Transport connection) except -1
    cdef int flush_later(self) except -1
    cpdef int flush_dirty(self) except -1
    cdef int account(self, Transport connection) except -1
    cdef int starve(self, Transport connection) except -1
    cdef bint is_full(self) noexcept
    cdef int let_go_on(self, dict waiting) except -1
    cdef int forget(self, Transport connection) except -1
    cdef int defer(self, Transport connection) except -1
    # The connection has all of a frame, or is gone: the next one may exceed the limit.
    cdef int pass_favour(self, Transport connection) except -1
