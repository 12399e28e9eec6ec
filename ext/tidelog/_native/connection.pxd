# Plain-socket transport: frames in (recv), answers out (send, sendfile).
from libc.stdint cimport int32_t, int64_t, uint8_t

from tidelog._native.response cimport Output
from tidelog._native.transport cimport Transport

cdef class Connection(Transport):
    cdef readonly int fd
    cdef object socket
    cdef bint reading                    # registered with the loop
    cdef bint warming                    # a cold range is being read ahead
    cdef bint warmed                     # it was: what is cold now is sent all the same
    # what the last probe found in the page cache, and when
    cdef int warm_fd
    cdef int64_t warm_from
    cdef int64_t warm_to
    cdef int64_t warm_since_ms
    # A file that had to be read ahead, and from where on it is looked at again how far that is.
    cdef int cold_fd
    cdef int64_t ahead_from
    cdef bint processing
    cdef bint flushing
    # the incomplete frame (with size prefix), or frames that wait while blocked
    cdef uint8_t* stash
    cdef size_t stash_size
    cdef size_t stash_capacity
    cdef bint big_frames                 # the last frame was larger than the scratch buffer
    # What one receive takes at most: more, the longer the peer's requests are taken as they come.
    cdef size_t window
    cdef readonly int64_t last_active_ms
    # when a request was last taken out of what came, or all that was ready was sent
    cdef readonly int64_t last_progress_ms
    cdef int64_t moved                   # bytes received into the stash, or sent, since then
    cdef int receive(self) except -1
    cdef int received_nothing(self, ssize_t n) except -1
    cdef int end_pass(self) except -1
    cdef int receive_into_stash(self) except -1
    cdef int process(self, uint8_t* data, size_t n, size_t* consumed) except -1
    cdef int note_moved(self, int64_t n) noexcept
    cdef int process_stash(self) except -1
    cdef int set_window(self, bint all_taken) noexcept
    cdef int keep(self, const uint8_t* data, size_t n) except -1
    cdef int reserve_stash(self, size_t capacity) except -1
    cdef int free_stash(self) except -1
    cdef bint may_read(self) except -1
    cdef int send_turn(self) except -1
    cdef int64_t send_some(self, Output* output) except -2
    cdef ssize_t send_region(self, const Output* output) except -2
    cdef int sent_nothing(self, const Output* output, int code) except -1
    cdef int look_ahead(self, const Output* output) except -1
    # Cuts `output.size` to what is known to be warm.
    cdef bint take_warm(self, Output* output) noexcept
    cdef int watch_reads(self) except -1
    cdef int watch_writes(self, bint wanted) except -1
    cdef int close_now(self, str reason) except -1
    cdef int shut(self, str reason) except -1
    # An exception came through here: close, so that nothing of it is left half-way.
    cdef int fail(self) except -1
