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

from collections import deque

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc

from tidelog._native.fetch_lane cimport FetchLane, FetchTask
from tidelog._native.produce_lane cimport ProduceLane
from tidelog._native.request cimport RequestHeader, parse_header
from tidelog._native.request_stats cimport (
    STAGE_HANDLE, STAGE_WAIT, RequestStats, Timing, now_ns,
)
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

cdef enum:
    # Slow requests that a connection has answered before the others get their turn, and how long
    # the loop spends on those that wait for another turn before it looks at its sockets again.
    SLOW_PER_PASS = 8
    SLOW_TURN_NS = 1_000_000
    # Fetches of one connection that wait for data. A client waits with one of them.
    PARKED_MAX = 8
    # Answers that are ready for a peer that has to read first, before no more are made.
    UNREAD_MAX = 16


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

    # -- sizes --------------------------------------------------------------------------------

    cdef int refuse_size(self, int32_t size) except -1:
        cdef int32_t limit = self.reactor.request_size_max
        return self.abort(f"a frame of {size} bytes (socket.request.max.bytes={limit})")

    cdef bint refuse_other(self, const uint8_t* frame, size_t n) except -1:
        """Of a frame of n bytes that has begun: is it too large for what it is? Only Produce
        carries data.
        """
        cdef int32_t limit = self.reactor.other_request_size_max
        cdef int16_t api_key = <int16_t>wire_load16(frame)
        if n <= <size_t>limit or api_key == API_PRODUCE:
            return False
        self.abort(f"a request of {n} bytes with API key {api_key} (at most {limit})")
        return True

    # -- requests -----------------------------------------------------------------------------

    cdef int handle_frame(self, uint8_t* frame, size_t n) except -1:
        cdef RequestHeader header
        cdef int16_t api_key, api_version
        cdef RequestStats stats = self.reactor.stats
        self.requests += 1
        self.reactor.requests += 1
        if n < 4:
            return self.abort("a frame without a request header")
        api_key = <int16_t>wire_load16(frame)
        api_version = <int16_t>wire_load16(frame + 2)
        stats.begin(api_key, self.arrived_ns)
        if api_key == API_PRODUCE and PRODUCE_MIN <= api_version <= PRODUCE_MAX:
            if parse_header(frame, n, PRODUCE_FLEXIBLE, &header) != 0:
                return self.abort("malformed request header")
            stats.count(api_key, api_version)
            return self.reactor.produce.handle(self, &header, frame, n)
        if api_key == API_FETCH and FETCH_MIN <= api_version <= FETCH_MAX:
            if parse_header(frame, n, FETCH_FLEXIBLE, &header) != 0:
                return self.abort("malformed request header")
            stats.count(api_key, api_version)
            return self.reactor.fetch.handle(self, &header, frame, n)
        return self.handle_slowly(frame, n)

    cdef int handle_slowly(self, uint8_t* frame, size_t n) except -1:
        """Everything but Produce and Fetch: one at a time, in order, as Kafka does."""
        cdef Slot slot
        cdef RequestStats stats = self.reactor.stats
        cdef Timing timing = stats.current
        try:
            answer = self.reactor.dispatch(
                PyBytes_FromStringAndSize(<const char*>frame, n), self.info
            )
        except PeerError as error:
            return self.abort(str(error))
        # Only now: keys and versions that nobody serves are no series of their own.
        stats.count(<int16_t>wire_load16(frame), <int16_t>wire_load16(frame + 2))
        if timing.arrived_ns:
            stats.lap(&timing, STAGE_HANDLE)
        if isinstance(answer, bytes):
            self.queue.push_timed(
                <const uint8_t*>PyBytes_AS_STRING(answer), PyBytes_GET_SIZE(answer), &timing
            )
            self.taken_slowly += 1
            if self.taken_slowly >= SLOW_PER_PASS:
                self.reactor.defer(self)
            return 0
        slot = self.queue.open_slot()
        slot.timing = timing
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
        if slot.timing.arrived_ns:
            self.reactor.stats.lap(&slot.timing, STAGE_WAIT)
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
        """Take no further request while muted."""
        if self.muted and not muted:
            # Not at once: it may be called while a frame is handled.
            self.reactor.call_soon(self.go_on)
        self.muted = muted

    def pause(self, int64_t time_ms):
        """A quota is exceeded: take no further request for so long. What was asked before is
        answered (KIP-219).
        """
        cdef double until = self.reactor.loop.time() + time_ms / 1000.0
        if self.closed or (self.paused and until <= self.paused_until):
            return
        self.end_pause()
        self.paused = True
        self.paused_until = until
        self.pause_timer = self.reactor.loop.call_at(until, self._resume)
        self.reactor.pass_favour(self)

    def _resume(self):
        self.end_pause()
        self.go_on()

    cdef int end_pause(self) except -1:
        if self.pause_timer is not None:
            self.pause_timer.cancel()
            self.pause_timer = None
        self.paused = False
        return 0

    # -- backpressure -------------------------------------------------------------------------

    cdef bint may_take(self) except -1:
        """May a frame that is here be handled? Sets `throttled`; what ends it is the sending of
        this connection's own answers, or room in the process.
        """
        cdef Reactor reactor = self.reactor
        if self.blocked or self.muted or self.paused or self.deferred or self.closed:
            return False
        if not self.writing and (
            self.unsent_bytes() >= reactor.unsent_bytes_max
            or (self.queue.waiting >= UNREAD_MAX and not self.queue.is_waiting())
        ):
            # What the socket takes now was not left unread.
            self.flush()
            if self.closed:
                return False
        self.throttled = (
            self.queue.waiting >= reactor.waiting_max
            or self.queue.memory >= reactor.queued_bytes_max
            or self.unsent_bytes() >= reactor.unsent_bytes_max
            or self.parked >= PARKED_MAX
            or (
                self.writing
                and (
                    self.queue.waiting >= UNREAD_MAX
                    or reactor.total_unsent >= reactor.total_unsent_max // 2
                )
            )
        )
        if self.throttled:
            return False
        if reactor.total_bytes >= reactor.total_bytes_max and (
            self.queue.waiting > 0 or self.queue.memory > 0
        ):
            # (Who holds none may go on: it is not the one that took the memory.)
            self.throttled = True
            reactor.starve(self)
            return False
        if reactor.total_unsent >= reactor.total_unsent_max:
            reactor.unanswered[self] = None
            return False
        return True

    cdef int64_t unsent_bytes(self) noexcept:
        return self.queue.memory - self.queue.held

    def hurry(self):
        """Answer what waits for data now, as if its time were up: its memory is needed."""
        for waiter in list(self.waiters):
            if isinstance(waiter, FetchTask):
                waiter.time_out()

    @property
    def queued_bytes(self):
        """Memory that this connection holds: received and not yet handled, answers not yet sent."""
        return self.accounted

    @property
    def idle(self):
        """True when nothing of this connection is being worked on and every answer was sent."""
        return not self.blocked and self.queue.waiting == 0 and self.queue.memory == 0

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
        int32_t other_request_size_max,
        int waiting_max,
        int64_t queued_bytes_max,
        int64_t unsent_bytes_max,
        int64_t total_bytes_max,
        on_pressure,
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
        self.stats = produce.gates.stats
        self.dispatch = dispatch
        self.read_ahead = read_ahead
        self.on_close = on_close
        self.request_size_max = request_size_max
        self.other_request_size_max = other_request_size_max
        self.waiting_max = waiting_max
        self.queued_bytes_max = queued_bytes_max
        self.unsent_bytes_max = unsent_bytes_max
        self.total_bytes_max = total_bytes_max
        self.total_unsent_max = total_bytes_max // 2
        self.send_slice = send_slice
        self.scratch_size = scratch_size
        self.scratch = <uint8_t*>malloc(scratch_size)
        if self.scratch == NULL:
            raise MemoryError
        self.on_pressure = on_pressure
        self.dirty = []
        self.starved = {}
        self.unanswered = {}
        self.deferred = deque()

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

    # -- turns of the slow lane ---------------------------------------------------------------

    cdef int defer(self, Transport connection) except -1:
        """It takes further frames when those that came before it had their turn."""
        connection.deferred = True
        self.deferred.append(connection)
        if not self.deferred_scheduled:
            self.deferred_scheduled = True
            self.call_soon(self._next_turns)
        return 0

    def _next_turns(self):
        cdef Transport connection
        cdef int64_t until = now_ns() + SLOW_TURN_NS
        self.deferred_scheduled = False
        try:
            while self.deferred:
                connection = self.deferred.popleft()
                connection.deferred = False
                connection.go_on()
                if now_ns() >= until:
                    break
        finally:
            if self.deferred and not self.deferred_scheduled:
                self.deferred_scheduled = True
                self.call_soon(self._next_turns)

    # -- memory of the process ----------------------------------------------------------------

    @property
    def starving(self):
        """True while connections wait for room in the process."""
        return bool(self.starved or self.unanswered)

    def still_pressed(self):
        """Is as much held as may be, or does anybody wait for room? When not, `on_pressure` is
        called the next time.
        """
        self.pressed = self.is_full() or self.starving
        return self.pressed

    cdef bint is_full(self) noexcept:
        return (
            self.total_bytes >= self.total_bytes_max or self.total_unsent >= self.total_unsent_max
        )

    cdef int account(self, Transport connection) except -1:
        """Keep `total_bytes` true; let connections that wait for room go on once there is some."""
        cdef int64_t now = 0, unsent = 0
        if not connection.closed:
            now = connection.held_bytes()
            unsent = connection.unsent_bytes()
        self.total_bytes += now - connection.accounted
        connection.accounted = now
        self.total_unsent += unsent - connection.accounted_unsent
        connection.accounted_unsent = unsent
        if self.is_full() and not self.pressed:
            self.pressed = True
            self.on_pressure()
        if self.starved and self.total_bytes < self.total_bytes_max - self.total_bytes_max // 4:
            waiting, self.starved = self.starved, {}
            self.let_go_on(waiting)
        if (
            self.unanswered
            and self.total_unsent < self.total_unsent_max - self.total_unsent_max // 4
        ):
            waiting, self.unanswered = self.unanswered, {}
            self.let_go_on(waiting)
        return 0

    cdef int let_go_on(self, dict waiting) except -1:
        cdef Transport other
        for other in waiting:
            if not other.closed:
                self.call_soon(other.go_on)
        return 0

    cdef int forget(self, Transport connection) except -1:
        """It is gone."""
        self.starved.pop(connection, None)
        self.unanswered.pop(connection, None)
        self.account(connection)
        return self.pass_favour(connection)

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
                other.closed
                or other.blocked
                or other.muted
                or other.paused
                or other.deferred
                or other.throttled
            ):
                chosen = other
                break
        if chosen is not None:
            del self.starved[chosen]
            self.favoured = chosen
            self.call_soon(chosen.go_on)
        return 0
