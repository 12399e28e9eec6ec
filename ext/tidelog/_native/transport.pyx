"""What the connections of a worker share, whatever their transport: the reactor.

It holds the lanes, the one receive buffer, the limits and counters, and the connections that have
answers to send. A transport (plain sockets: connection.pyx; TLS later) derives from `Transport`.

Loop thread only; does no I/O itself.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc

from tidelog._native.fetch_lane cimport FetchLane
from tidelog._native.produce_lane cimport ProduceLane
from tidelog._native.response cimport Peer

from tidelog.errors import InvariantError


cdef class Transport(Peer):
    """A connection as the reactor sees it."""

    cdef int flush(self) except -1:
        raise InvariantError("Transport is abstract")

    cdef int relieve(self) except -1:
        raise InvariantError("Transport is abstract")

    cdef int64_t held_bytes(self) noexcept:
        return 0

    cpdef int go_on(self) except -1:
        raise InvariantError("Transport is abstract")


cdef class Reactor:
    """What the connections of one worker share: the lanes, the scratch buffer, limits and
    counters.
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
    ):
        self.loop = loop
        self.add_reader = loop.add_reader
        self.remove_reader = loop.remove_reader
        self.add_writer = loop.add_writer
        self.remove_writer = loop.remove_writer
        self.call_soon = loop.call_soon
        self.create_task = loop.create_task
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
        self.starved = set()

    def __dealloc__(self):
        free(self.scratch)

    cdef int schedule_flush(self, Transport connection) except -1:
        if not connection.dirty:
            connection.dirty = True
            self.dirty.append(connection)
            if not self.in_pass and not self.flush_scheduled:
                self.flush_scheduled = True
                self.call_soon(self.flush_dirty)
        return 0

    cpdef int flush_dirty(self) except -1:
        cdef Transport connection
        cdef list batch
        self.flush_scheduled = False
        while self.dirty:
            batch = self.dirty
            self.dirty = []
            for connection in batch:
                connection.dirty = False
                if not connection.closed:
                    connection.flush()
                    connection.relieve()
        return 0

    cdef int account(self, Transport connection) except -1:
        """Keep `total_bytes` true; let paused connections go on once there is room again."""
        cdef int64_t now = 0
        cdef Transport other
        if not connection.closed:
            now = connection.held_bytes()
        self.total_bytes += now - connection.accounted
        connection.accounted = now
        if self.starved and self.total_bytes < self.total_bytes_max - self.total_bytes_max // 4:
            waiting = self.starved
            self.starved = set()
            for other in waiting:
                if not other.closed:
                    self.call_soon(other.go_on)
        return 0
