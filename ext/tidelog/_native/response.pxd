# Answers of one connection, in request order, as bytes and file regions. No socket: a transport
# (connection.pyx; TLS later) drains it.
#
# An answer that is ready at once while nothing waits before it goes straight into `out`.
# Otherwise it gets a Slot; slots form a queue.
from libc.stdint cimport int64_t, uint8_t
from tidelog._native.log_file cimport LogFile
from tidelog._native.request_stats cimport RequestStats, Timing
from tidelog._native.wire cimport wire_buffer

cdef struct Region:
    size_t after                 # bytes of the slot that come before it
    void* file                   # owned reference (LogFile): it stays open while it is sent
    int fd
    int64_t position
    int64_t size

cdef class Slot:
    cdef wire_buffer bytes       # size prefix, header, body, without the regions
    cdef Region* regions
    cdef int region_count
    cdef int region_capacity
    cdef bint ready
    cdef int64_t held            # memory of the request that waits for this answer
    cdef Slot next
    cdef Timing timing           # of the request, if it is timed
    cdef int add_region(self, LogFile file, int64_t position, int64_t size) except -1

cdef enum:
    # Timed answers that may wait to be sent together: the times of those beyond are lost.
    SENDING_MAX = 8

cdef enum OutputKind:
    OUTPUT_NOTHING = 0
    OUTPUT_BYTES = 1
    OUTPUT_REGION = 2

cdef struct Output:
    OutputKind kind
    const uint8_t* data
    size_t size
    bint more                    # a region follows these bytes: MSG_MORE
    int fd
    int64_t position

cdef class ResponseQueue:
    cdef wire_buffer out
    cdef size_t out_sent
    cdef Slot head
    cdef Slot tail
    cdef readonly int waiting            # slots in the queue
    # bytes held in memory: unsent `out`, slots, and the requests that wait for their answers
    cdef readonly int64_t memory
    # what of them are slots and requests: the rest are answers
    cdef readonly int64_t held
    # progress through the head slot, once it is ready
    cdef size_t head_taken
    cdef int head_region
    cdef int64_t region_sent
    cdef RequestStats stats              # or None
    # of the timed answers in `out`: they have left when it is empty
    cdef Timing[SENDING_MAX] sending
    cdef int sending_count
    # `out` ends with the answer to that request.
    cdef int note_answer(self, const Timing* timing) noexcept
    cdef int note_sent(self) noexcept
    # Room for an answer of at most n bytes at the end of `out`; NULL when something waits before
    # it (use open_slot). Then commit_direct(actual size).
    cdef uint8_t* reserve_direct(self, size_t n) except? NULL
    cdef void commit_direct(self, size_t n) noexcept
    cdef Slot open_slot(self)
    # The request behind the slot keeps n bytes until it is answered.
    cdef void hold(self, Slot slot, int64_t n) noexcept
    # The slot's answer is complete (bytes may be empty: no answer, as after acks=0).
    cdef void complete(self, Slot slot) noexcept
    cdef int push_timed(self, const uint8_t* data, size_t n, const Timing* timing) except -1
    cdef int push(self, const uint8_t* data, size_t n) except -1
    cdef int fill(self, Slot slot, const uint8_t* data, size_t n) except -1
    cdef int gather(self) except -1
    cdef int next_output(self, Output* output) except -1
    cdef void advance(self, const Output* output, size_t n) noexcept
    # An empty buffer is given back.
    cdef void shrink(self) noexcept
    # True when what comes next is still being worked on (or there is nothing at all).
    cdef bint is_waiting(self) noexcept
    # The connection is gone: forget every answer and the file regions in them.
    cdef int drop(self) except -1

cdef class Peer:
    # Who sent a request, as the native lanes see it. Connection derives from it.
    cdef ResponseQueue queue
    cdef readonly object info            # net.server.ConnectionInfo
    cdef readonly bint closed
    # Waiter: requests of this peer that wait (cancelled when it goes)
    cdef set waiters
    cdef int parked                      # those of them that are fetches without enough data
    cdef int wake_writer(self) except -1             # a slot became ready outside of a read pass
    cdef int block(self) except -1                   # no further frame is taken until unblock()
    cdef int unblock(self) except -1
    cdef int abort(self, str reason) except -1       # the peer's fault: close its connection
