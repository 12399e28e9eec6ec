"""The plain-socket transport (design D7): raw non-blocking sockets under add_reader/add_writer.

Receiving. All connections of a worker share one scratch buffer; complete frames are handled where
they lie (Produce writes to its file from there). An incomplete frame moves to the connection's own
stash and the next `recvmsg` completes it there, with what follows going to the scratch buffer:
nothing of a large frame is copied twice, and an idle connection holds no buffer.

Sending. The response queue says what is next: bytes go by `send`, file regions by `sendfile` in
bounded slices, so that one reader of large ranges does not hold the loop. Before a slice is sent
its pages are probed; a cold one is first read by a helper.

Backpressure: a connection with too many answers outstanding or too much memory queued is not read
from until that has drained; nothing is dropped.

Loop thread only. The transport knows nothing of Kafka but the frame's size prefix.
"""

from libc.errno cimport EAGAIN, EINTR, EINVAL, EIO, ENOMEM, errno
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove, memset, strerror
from posix.types cimport off_t

from tidelog._native.page_cache cimport page_cache_is_warm, page_cache_misses
from tidelog._native.partition cimport Waiter
from tidelog._native.request cimport monotonic_ms
from tidelog._native.response cimport (
    OUTPUT_BYTES, OUTPUT_NOTHING, OUTPUT_REGION, Output, ResponseQueue,
)
from tidelog._native.sockets cimport (
    MSG_DONTWAIT, MSG_MORE, MSG_NOSIGNAL, iovec, msghdr, recv, recvmsg, send, sendfile,
)
from tidelog._native.transport cimport Reactor, Transport
from tidelog._native.wire cimport wire_load32

from tidelog.errors import InvariantError

cdef enum:
    SIZE_PREFIX = 4
    # A frame's memory is taken in steps, as its bytes arrive: a declared size alone costs nothing.
    STASH_STEP = 16 * 1024
    # So many bytes, in or out, are progress: a peer that sends or reads byte by byte makes none.
    PROGRESS_BYTES = 64 * 1024
    # Received at once from a peer that is new, or sends more than is taken.
    WINDOW_MIN = 16 * 1024
    # A stash that is empty is given back unless it is small or the peer keeps sending large frames.
    STASH_KEEP = 16 * 1024
    # While large frames come, little is read past the end of one: what is read too far is copied.
    READ_PAST_BIG_FRAME = 4096
    # One turn of the loop sends about this much of one connection, in slices of which each is
    # probed first.
    SEND_TURN = 2 << 20
    LOOK_UP_BYTES = 8192  # at most what a look-up reads (SCAN_CHUNK of a segment), on the loop
    # How far before a cold reader its file is to be read, and how often that is looked at.
    AHEAD = 4 << 20
    AHEAD_STEP = 1 << 20
    # How long a probe is believed: pages leave the cache in seconds, not in milliseconds.
    WARM_MS = 200
    # Receives per turn, while each fills its buffer.
    RECEIVES_PER_TURN = 4
    # The kernel calls below this size are too short to give the GIL away for.
    NOGIL_FROM = 64 * 1024


cdef class Connection(Transport):
    """One client. `socket` must be non-blocking; `info` is what handlers see of the peer."""

    def __init__(self, Reactor reactor not None, socket, info):
        self.reactor = reactor
        self.socket = socket
        self.fd = socket.fileno()
        self.info = info
        self.queue = ResponseQueue.__new__(ResponseQueue)
        self.queue.stats = reactor.stats
        self.waiters = set()
        self.last_active_ms = self.last_progress_ms = monotonic_ms()
        self.window = min(<size_t>WINDOW_MIN, reactor.scratch_size)
        self.warm_fd = self.cold_fd = -1
        self.watch_reads()

    def __dealloc__(self):
        free(self.stash)

    # -- receiving ----------------------------------------------------------------------------

    def on_readable(self):
        """Loop callback."""
        cdef Reactor reactor = self.reactor
        if self.closed:
            return
        if not self.may_read():
            # Backpressure: stop listening; relieve() starts it again.
            self.reading = False
            reactor.remove_reader(self.fd)
            return
        reactor.in_pass += 1
        try:
            self.receive()
        except BaseException:
            self.fail()
            raise
        finally:
            reactor.in_pass -= 1
        self.end_pass()

    cdef int end_pass(self) except -1:
        """Answer what this pass made ready, here and on other connections."""
        cdef Reactor reactor = self.reactor
        if reactor.progress.pending:
            reactor.in_pass += 1
            try:
                reactor.progress.drain()
            except BaseException:
                # The fault of another request, whose connection is closed: this one goes on.
                reactor.schedule_flush(self)
                reactor.flush_later()
                raise
            finally:
                reactor.in_pass -= 1
        if not self.closed:
            self.flush()
            self.relieve()
        if reactor.dirty:
            reactor.flush_dirty()
        return 0

    cdef int receive(self) except -1:
        cdef ssize_t n
        cdef size_t consumed, limit
        cdef int _turn
        self.last_active_ms = monotonic_ms()
        self.arrived_ns = self.reactor.stats.arrive(self.last_active_ms)
        self.taken_slowly = 0
        for _turn in range(RECEIVES_PER_TURN):
            if self.stash_size:
                if self.receive_into_stash() == 0:
                    return 0
            else:
                limit = self.window
                if self.big_frames:
                    limit = min(limit, <size_t>READ_PAST_BIG_FRAME)
                n = recv(self.fd, self.reactor.scratch, limit, MSG_DONTWAIT)
                if n <= 0:
                    return self.received_nothing(n)
                self.reactor.bytes_in += n
                self.process(self.reactor.scratch, n, &consumed)
                if self.closed:
                    return 0
                if <size_t>n == limit or consumed < <size_t>n:
                    self.set_window(consumed > 0)
                if consumed < <size_t>n:
                    self.keep(self.reactor.scratch + consumed, n - consumed)
                elif self.big_frames:
                    self.big_frames = False
                    self.free_stash()
                if <size_t>n < limit:
                    return 0
            if self.closed or not self.may_read():
                return 0
        return 0

    cdef int receive_into_stash(self) except -1:
        """Complete the frame in the stash; what follows it goes to the scratch buffer. Returns 0
        when the socket is empty.
        """
        cdef iovec parts[2]
        cdef msghdr message
        cdef size_t need = SIZE_PREFIX, wanted, total, extra, consumed, in_stash
        cdef ssize_t n
        if self.stash_size >= SIZE_PREFIX:
            need = SIZE_PREFIX + <size_t>wire_load32(self.stash)
            if self.stash_size >= need:
                # Whole frames that had to wait are taken before anything is read.
                self.process_stash()
                return 1
            if self.stash_size >= SIZE_PREFIX + 2 and self.refuse_other(
                self.stash + SIZE_PREFIX, need - SIZE_PREFIX
            ):
                return 0
        # Room grows with what has arrived, up to the frame's size.
        self.reserve_stash(min(need, max(2 * self.stash_size, <size_t>STASH_STEP)))
        wanted = min(need, self.stash_capacity) - self.stash_size
        parts[0].iov_base = self.stash + self.stash_size
        parts[0].iov_len = wanted
        total = wanted
        memset(&message, 0, sizeof(message))
        message.msg_iov = parts
        message.msg_iovlen = 1
        extra = 0
        if self.stash_size + wanted == need:
            extra = self.window
            if need > extra:
                extra = min(extra, <size_t>READ_PAST_BIG_FRAME)
            parts[1].iov_base = self.reactor.scratch
            parts[1].iov_len = extra
            message.msg_iovlen = 2
        if total >= NOGIL_FROM:
            with nogil:
                n = recvmsg(self.fd, &message, MSG_DONTWAIT)
        else:
            n = recvmsg(self.fd, &message, MSG_DONTWAIT)
        if n <= 0:
            self.received_nothing(n)
            return 0
        self.reactor.bytes_in += n
        self.note_moved(n)
        in_stash = min(<size_t>n, wanted)
        self.stash_size += in_stash
        if self.stash_size < need:
            return 1 if in_stash == wanted else 0
        if need == SIZE_PREFIX:
            # Only now the size is known: take what was read past it.
            self.keep(self.reactor.scratch, <size_t>n - in_stash)
            self.process_stash()
            return 1 if <size_t>n == total + extra and not self.closed else 0
        self.process_stash()
        if self.closed:
            return 0
        if <size_t>n > in_stash:
            if self.stash_size:
                # The frame could not be taken (blocked): keep the order.
                self.keep(self.reactor.scratch, <size_t>n - in_stash)
                return 0
            self.process(self.reactor.scratch, <size_t>n - in_stash, &consumed)
            if self.closed:
                return 0
            if consumed < <size_t>n - in_stash:
                self.keep(self.reactor.scratch + consumed, <size_t>n - in_stash - consumed)
        return 1 if <size_t>n == total + extra else 0

    cdef int received_nothing(self, ssize_t n) except -1:
        cdef int code = errno
        if n < 0 and (code == EAGAIN or code == EINTR):
            return 0
        if n == 0:
            # A peer that only closed its sending side still gets the answers that are ready.
            self.flush()
        return self.close_now(None)

    cdef int process(self, uint8_t* data, size_t n, size_t* consumed) except -1:
        """Handle the complete frames in data[:n] while there may be more; *consumed tells how far
        it came.
        """
        cdef size_t at = 0
        cdef int32_t size
        while n - at >= SIZE_PREFIX and not self.closed and self.may_take():
            size = <int32_t>wire_load32(data + at)
            if size < 0 or size > self.reactor.request_size_max:
                self.refuse_size(size)
                break
            if n - at - SIZE_PREFIX < <size_t>size:
                break
            at += SIZE_PREFIX
            self.handle_frame(data + at, size)
            at += size
        consumed[0] = at
        if at:
            self.last_progress_ms = self.last_active_ms
        return 0

    cdef int set_window(self, bint all_taken) noexcept:
        """After frames were handled. What is left because no more may be taken lies in memory."""
        if self.deferred or self.throttled or self.blocked or self.muted or self.paused:
            self.window = min(<size_t>WINDOW_MIN, self.reactor.scratch_size)
        elif all_taken:
            self.window = min(2 * self.window, self.reactor.scratch_size)
        return 0

    cdef int note_moved(self, int64_t n) noexcept:
        self.moved += n
        if self.moved >= PROGRESS_BYTES:
            self.moved = 0
            self.last_progress_ms = self.last_active_ms
        return 0

    cdef int process_stash(self) except -1:
        cdef size_t consumed = 0
        if self.processing:
            return 0
        self.processing = True
        try:
            self.process(self.stash, self.stash_size, &consumed)
        finally:
            self.processing = False
        if self.closed:
            self.stash_size = 0
            return self.free_stash()
        if consumed:
            self.stash_size -= consumed
            memmove(self.stash, self.stash + consumed, self.stash_size)
            self.set_window(True)
            self.reactor.pass_favour(self)
        if self.stash_size == 0 and self.stash_capacity > STASH_KEEP and (
            not self.big_frames or self.blocked or self.reactor.pressed
        ):
            return self.free_stash()
        return 0

    cdef int free_stash(self) except -1:
        if self.stash_size == 0 and self.stash != NULL and not self.processing:
            free(self.stash)
            self.stash = NULL
            self.stash_capacity = 0
            self.reactor.account(self)
        return 0

    cdef int keep(self, const uint8_t* data, size_t n) except -1:
        """Put bytes behind those that wait in the stash."""
        cdef int32_t size
        if n == 0:
            return 0
        self.reserve_stash(self.stash_size + n)
        memcpy(self.stash + self.stash_size, data, n)
        self.stash_size += n
        if self.stash_size >= SIZE_PREFIX:
            size = <int32_t>wire_load32(self.stash)
            if size < 0 or size > self.reactor.request_size_max:
                return self.refuse_size(size)
            self.big_frames = <size_t>size + SIZE_PREFIX > self.reactor.scratch_size
        return 0

    cdef int reserve_stash(self, size_t capacity) except -1:
        cdef uint8_t* grown
        if capacity <= self.stash_capacity:
            return 0
        grown = <uint8_t*>realloc(self.stash, capacity)
        if grown == NULL:
            raise MemoryError
        self.stash = grown
        self.stash_capacity = capacity
        return self.reactor.account(self)

    # -- going on -----------------------------------------------------------------------------

    cdef int abort(self, str reason) except -1:
        return self.close_now(reason)

    cpdef int go_on(self) except -1:
        """Handle what waits in the stash, then listen again."""
        if self.closed or not self.may_take():
            return 0
        self.taken_slowly = 0
        self.last_active_ms = monotonic_ms()
        self.reactor.in_pass += 1
        try:
            self.process_stash()
        except BaseException:
            self.fail()
            raise
        finally:
            self.reactor.in_pass -= 1
        return self.end_pass()

    cdef bint may_read(self) except -1:
        """May more be received? Beyond the process limit a large frame is not received further
        until there is room.
        """
        if not self.may_take():
            return False
        return self.stash_capacity <= STASH_STEP or self.may_exceed()

    # -- sending ------------------------------------------------------------------------------

    def on_writable(self):
        """Loop callback."""
        if not self.closed:
            self.flush()
            self.relieve()

    cdef int flush(self) except -1:
        if self.flushing or self.warming or self.closed:
            return 0
        self.flushing = True
        try:
            self.send_turn()
        except BaseException:
            self.fail()
            raise
        finally:
            self.flushing = False
            if not self.closed:
                self.reactor.account(self)
        return 0

    cdef int send_turn(self) except -1:
        cdef Output output
        cdef int64_t n, left = SEND_TURN
        while left > 0:
            self.queue.next_output(&output)
            if output.kind == OUTPUT_NOTHING:
                self.last_progress_ms = self.last_active_ms
                return self.watch_writes(False)
            n = self.send_some(&output)
            if n < 0:
                return 0
            self.queue.advance(&output, n)
            self.note_moved(n)
            left -= n
            self.reactor.bytes_out += n
        # The turn is used up: the loop comes back after the other connections had theirs.
        return self.watch_writes(True)

    cdef int64_t send_some(self, Output* output) except -2:
        """One system call. Returns the bytes sent, or -1 when nothing more goes out now."""
        cdef ssize_t n
        cdef int code
        if output.kind == OUTPUT_BYTES:
            n = send(
                self.fd, output.data, output.size,
                MSG_NOSIGNAL | MSG_DONTWAIT | (MSG_MORE if output.more else 0)
            )
        else:
            output.size = min(output.size, self.reactor.send_slice)
            if not self.warmed and not self.take_warm(output):
                self.warming = True
                self.watch_writes(False)
                self.reactor.cold_reads += 1
                self.cold_fd, self.ahead_from = output.fd, output.position
                self.reactor.read_ahead(output.fd, output.position, output.size, self._warmed)
                return -1
            if output.fd == self.cold_fd and output.position >= self.ahead_from:
                self.look_ahead(output)
            n = self.send_region(output)
        code = errno
        if n > 0:
            self.warmed = False
            self.last_active_ms = monotonic_ms()
            return n
        self.sent_nothing(output, code)
        return -1

    cdef ssize_t send_region(self, const Output* output) except -2:
        cdef off_t position = output.position
        cdef size_t size = output.size
        cdef int fd = output.fd
        cdef ssize_t n
        if size >= NOGIL_FROM:
            with nogil:
                n = sendfile(self.fd, fd, &position, size)
        else:
            n = sendfile(self.fd, fd, &position, size)
        if n == 0:
            # The file is shorter than the region: only a truncation under our feet does that.
            raise InvariantError(
                f"a region at {output.position} of {output.size} bytes is beyond its file's end"
            )
        return n

    cdef int sent_nothing(self, const Output* output, int code) except -1:
        if code == EAGAIN or code == EINTR:
            return self.watch_writes(True)
        if output.kind == OUTPUT_REGION and code in (EIO, EINVAL, ENOMEM):
            # Not the peer's fault; a log line has to tell.
            return self.shut(f"sendfile failed: {strerror(code).decode()}")
        return self.close_now(None)

    cdef int look_ahead(self, const Output* output) except -1:
        """Of a file that was cold: what comes after the next few megabytes is begun before the
        reader is there and has to wait.
        """
        self.ahead_from = output.position + AHEAD_STEP
        if page_cache_misses(output.fd, output.position + AHEAD, 1):
            self.reactor.read_ahead(output.fd, output.position, 0, None)
        return 0

    cdef bint take_warm(self, Output* output) noexcept:
        """Is the slice warm? What one probe found is used up in as many sends as the socket's
        buffer makes of it; only then, or after a pause, the next slice is probed.
        """
        cdef int64_t now_ms = monotonic_ms()
        if (
            output.fd == self.warm_fd
            and self.warm_from <= output.position < self.warm_to
            and now_ms - self.warm_since_ms < WARM_MS
        ):
            output.size = min(output.size, <size_t>(self.warm_to - output.position))
            return True
        # With those where the next fetch looks up its batch.
        if not page_cache_is_warm(output.fd, output.position, output.size, LOOK_UP_BYTES):
            return False
        self.warm_fd = output.fd
        self.warm_from = output.position
        self.warm_to = output.position + output.size
        self.warm_since_ms = now_ms
        return True

    def _warmed(self):
        self.warming = False
        # Once: a page that cannot be read stays cold for ever; sendfile will tell why.
        self.warmed = True
        if not self.closed:
            self.flush()
            self.relieve()

    cdef int64_t held_bytes(self) noexcept:
        return <int64_t>self.stash_capacity + self.queue.memory

    # -- the loop's callbacks -----------------------------------------------------------------

    cdef int watch_reads(self) except -1:
        if not self.reading and not self.closed:
            self.reading = True
            self.reactor.add_reader(self.fd, self.on_readable)
        return 0

    cdef int watch_writes(self, bint wanted) except -1:
        if wanted != self.writing and not self.closed:
            self.writing = wanted
            if wanted:
                self.reactor.add_writer(self.fd, self.on_writable)
            else:
                self.reactor.remove_writer(self.fd)
        return 0

    cdef int relieve(self) except -1:
        """After sending: frames that waited for room go on, and the socket is read again."""
        if self.closed:
            return 0
        if self.throttled and self.stash_size and self.may_take():
            self.throttled = False
            self.reactor.call_soon(self.go_on)
        if not self.reading and self.may_read():
            self.watch_reads()
        return 0

    # -- closing ------------------------------------------------------------------------------

    def close(self, reason=None):
        """Close at once; answers that were not sent are lost. `reason`: what the peer did wrong,
        or None.
        """
        self.close_now(reason)

    cdef int close_now(self, str reason) except -1:
        if self.closed:
            return 0
        if reason is not None:
            # Requests before the bad one keep their answers, as far as the socket takes them.
            self.flush()
        return self.shut(reason)

    cdef int fail(self) except -1:
        if self.reactor.dirty:
            # What this pass made ready elsewhere.
            self.reactor.flush_later()
        return self.shut("internal error")

    cdef int shut(self, str reason) except -1:
        cdef Waiter waiter
        if self.closed:
            return 0
        self.closed = True
        if self.reading:
            self.reactor.remove_reader(self.fd)
        if self.writing:
            self.reactor.remove_writer(self.fd)
        self.reading = self.writing = False
        self.end_pause()
        for waiter in list(self.waiters):
            waiter.cancel()
        self.queue.drop()
        self.reactor.forget(self)
        if not self.processing:
            # (While frames are handled out of the stash it must stay.)
            self.stash_size = 0
            self.free_stash()
        self.socket.close()
        self.reactor.on_close(self, reason)
        return 0

    def release_memory(self):
        """Give back what an idle connection holds for requests and answers to come."""
        self.big_frames = False
        self.free_stash()
        self.queue.shrink()

    @property
    def listens(self):
        """False while nothing is received, for whatever reason: then its end is not noticed."""
        return self.reading

    @property
    def waits_for_peer(self):
        """True when only the peer can go on: it has to send the next request, or the rest of one,
        or to read answers. (Such connections are closed after connections.max.idle.ms.)
        """
        if self.blocked or self.muted or self.paused or self.deferred or self.warming:
            return False
        return self.writing or self.queue.waiting == 0

    def __repr__(self):
        return f"<Connection fd={self.fd} {self.info!r}>"
