"""What the connections of a worker share, whatever their transport: the reactor; and what each of
them does with its frames.

`Reactor` holds the lanes, the one receive buffer, the limits and counters, and the connections that
have answers to send. `Transport` is a connection without its socket: it gives frames to the lanes
or to the dispatcher, and knows when the next one may be taken. A transport for plain sockets is in
connection.pyx; TLS will be another.

An exception of a lane or a handler ends the connection that it came through and goes on to the
loop, whose handler decides about the worker: no connection is left half-way, none of the others
loses its turn.

Loop thread only; does no I/O itself. Knows nothing of Kafka but the API keys of the lanes.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc

from tidelog._native.fetch_lane cimport FetchLane
from tidelog._native.produce_lane cimport ProduceLane
from tidelog._native.request cimport RequestHeader, parse_header
from tidelog._native.response cimport Peer, Slot
from tidelog._native.wire cimport wire_load16

from tidelog.errors import InvariantError, PeerError

cdef enum:
    API_PRODUCE = 0
    API_FETCH = 1
    PRODUCE_MIN = 3
    PRODUCE_MAX = 13
    PRODUCE_FLEXIBLE = 9
    FETCH_MIN = 4
    FETCH_MAX = 18
    FETCH_FLEXIBLE = 12


cdef class Transport(Peer):
    """A connection as the reactor sees it."""

    # -- what a transport brings --------------------------------------------------------------

    cdef int flush(self) except -1:
        raise InvariantError("Transport is abstract")

    cdef int relieve(self) except -1:
        raise InvariantError("Transport is abstract")

    cdef int64_t held_bytes(self) noexcept:
        return 0

    cpdef int go_on(self) except -1:
        raise InvariantError("Transport is abstract")

    # -- requests -----------------------------------------------------------------------------

    cdef int handle_frame(self, uint8_t* frame, size_t n) except -1:
        cdef RequestHeader header
        cdef int16_t api_key, api_version
        self.requests += 1
        self.reactor.requests += 1
        if n < 4:
            return self.abort("a frame without a request header")
        api_key = <int16_t>wire_load16(frame)
        api_version = <int16_t>wire_load16(frame + 2)
        if api_key == API_PRODUCE and PRODUCE_MIN <= api_version <= PRODUCE_MAX:
            if parse_header(frame, n, PRODUCE_FLEXIBLE, &header) != 0:
                return self.abort("malformed request header")
            return self.reactor.produce.handle(self, &header, frame, n)
        if api_key == API_FETCH and FETCH_MIN <= api_version <= FETCH_MAX:
            if parse_header(frame, n, FETCH_FLEXIBLE, &header) != 0:
                return self.abort("malformed request header")
            return self.reactor.fetch.handle(self, &header, frame, n)
        return self.handle_slowly(frame, n)

    cdef int handle_slowly(self, uint8_t* frame, size_t n) except -1:
        """Everything but Produce and Fetch: one at a time, in order, as Kafka does."""
        cdef Slot slot
        try:
            answer = self.reactor.dispatch(
                PyBytes_FromStringAndSize(<const char*>frame, n), self.info
            )
        except PeerError as error:
            return self.abort(str(error))
        if isinstance(answer, bytes):
            return self.queue.push(
                <const uint8_t*>PyBytes_AS_STRING(answer), PyBytes_GET_SIZE(answer)
            )
        slot = self.queue.open_slot()
        self.queue.hold(slot, n)
        self.block()
        self.reactor.create_task(self._answer_later(answer, slot))
        return 0

    async def _answer_later(self, awaitable, Slot slot):
        try:
            self._deliver(await awaitable, slot)
        except PeerError as error:
            self.abort(str(error))
        except BaseException:
            self.abort("request failed")
            raise

    def _deliver(self, bytes answer not None, Slot slot):
        if self.closed:
            return
        self.queue.fill(slot, <const uint8_t*>PyBytes_AS_STRING(answer), PyBytes_GET_SIZE(answer))
        self.wake_writer()
        self.unblock()

    # -- Peer ---------------------------------------------------------------------------------

    cdef int wake_writer(self) except -1:
        if self.closed:
            return 0
        return self.reactor.schedule_flush(self)

    cdef int block(self) except -1:
        self.blocked = True
        return 0

    cdef int unblock(self) except -1:
        if self.blocked:
            self.blocked = False
            # Not at once: the caller may be deep in another connection's pass.
            self.reactor.call_soon(self.go_on)
        return 0

    def mute(self, bint muted):
        """Quota: take no further request while muted."""
        if self.muted and not muted:
            # Not at once: it may be called while a frame is handled.
            self.reactor.call_soon(self.go_on)
        self.muted = muted

    # -- backpressure -------------------------------------------------------------------------

    cdef bint may_take(self) except -1:
        """May a frame that is here be handled? Sets `throttled`; what ends it is the sending of
        this connection's own answers, or room in the process.
        """
        cdef Reactor reactor = self.reactor
        if self.blocked or self.muted or self.closed:
            return False
        self.throttled = (
            self.queue.waiting >= reactor.waiting_max
            or self.queue.memory >= reactor.queued_bytes_max
        )
        if (
            not self.throttled
            and reactor.total_bytes >= reactor.total_bytes_max
            and (self.queue.waiting > 0 or self.queue.memory > 0)
        ):
            self.throttled = True
            reactor.starve(self)
        return not self.throttled

    cdef bint may_exceed(self) except -1:
        """May this connection, which holds a part of a large frame, receive the rest of it? Beyond
        the process limit only one of them may.
        """
        cdef Reactor reactor = self.reactor
        if reactor.total_bytes < reactor.total_bytes_max or reactor.favoured is self:
            return True
        if reactor.favoured is None:
            reactor.favoured = self
            return True
        reactor.starve(self)
        return False


cdef class Reactor:
    """What the connections of one worker share: the lanes, the scratch buffer, limits and
    counters. `create_task`: the loop's, unless the caller keeps its tasks by itself.
    """

    def __init__(
        self,
        loop,
        ProduceLane produce not None,
        FetchLane fetch not None,
        *,
        dispatch,
        read_ahead,
        on_close,
        int32_t request_size_max,
        int waiting_max,
        int64_t queued_bytes_max,
        int64_t total_bytes_max,
        size_t send_slice=1 << 20,
        size_t scratch_size=256 * 1024,
        create_task=None,
    ):
        if self.scratch != NULL:
            raise InvariantError("a reactor is made once")
        self.loop = loop
        self.add_reader = loop.add_reader
        self.remove_reader = loop.remove_reader
        self.add_writer = loop.add_writer
        self.remove_writer = loop.remove_writer
        self.call_soon = loop.call_soon
        self.create_task = loop.create_task if create_task is None else create_task
        self.produce = produce
        self.fetch = fetch
        self.progress = produce.table.progress
        self.dispatch = dispatch
        self.read_ahead = read_ahead
        self.on_close = on_close
        self.request_size_max = request_size_max
        self.waiting_max = waiting_max
        self.queued_bytes_max = queued_bytes_max
        self.total_bytes_max = total_bytes_max
        self.send_slice = send_slice
        self.scratch_size = scratch_size
        self.scratch = <uint8_t*>malloc(scratch_size)
        if self.scratch == NULL:
            raise MemoryError
        self.dirty = []
        self.starved = {}

    def __dealloc__(self):
        free(self.scratch)

    # -- answers that became ready ------------------------------------------------------------

    cdef int schedule_flush(self, Transport connection) except -1:
        if not connection.dirty:
            connection.dirty = True
            self.dirty.append(connection)
            if not self.in_pass:
                self.flush_later()
        return 0

    cdef int flush_later(self) except -1:
        if not self.flush_scheduled:
            self.flush_scheduled = True
            self.call_soon(self._flush_soon)
        return 0

    def _flush_soon(self):
        self.flush_scheduled = False
        self.flush_dirty()

    cpdef int flush_dirty(self) except -1:
        """Send what became ready on other connections than the one whose pass it is."""
        cdef Transport connection
        cdef list batch
        cdef Py_ssize_t taken
        while self.dirty:
            batch = self.dirty
            self.dirty = []
            taken = 0
            try:
                for connection in batch:
                    taken += 1
                    connection.dirty = False
                    if not connection.closed:
                        connection.flush()
                        connection.relieve()
            except BaseException:
                # Only the one that failed has had its turn.
                self.dirty = batch[taken:] + self.dirty
                if self.dirty:
                    self.flush_later()
                raise
        return 0

    # -- memory of the process ----------------------------------------------------------------

    @property
    def starving(self):
        """True while connections wait for room in the process."""
        return len(self.starved) > 0

    cdef int account(self, Transport connection) except -1:
        """Keep `total_bytes` true; let connections that wait for room go on once there is some."""
        cdef int64_t now = 0
        cdef Transport other
        if not connection.closed:
            now = connection.held_bytes()
        self.total_bytes += now - connection.accounted
        connection.accounted = now
        if self.starved and self.total_bytes < self.total_bytes_max - self.total_bytes_max // 4:
            waiting = self.starved
            self.starved = {}
            for other in waiting:
                if not other.closed:
                    self.call_soon(other.go_on)
        return 0

    cdef int starve(self, Transport connection) except -1:
        self.starved[connection] = None
        return 0

    cdef int pass_favour(self, Transport connection) except -1:
        cdef Transport other
        cdef Transport chosen = None
        if self.favoured is not connection:
            return 0
        self.favoured = None
        for other in self.starved:
            # (One that may take no request now asks again when it may.)
            if other is not connection and not (
                other.closed or other.blocked or other.muted or other.throttled
            ):
                chosen = other
                break
        if chosen is not None:
            del self.starved[chosen]
            self.favoured = chosen
            self.call_soon(chosen.go_on)
        return 0
