"""The native half of `tidelog profile`: loops on a file and on a socket.

For: `tidelog.profiling`. Owned by whichever thread calls run(); the loops run without the GIL and
come back every 50 ms to look for signals. Must never become part of a broker: nothing else imports
it.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset, strerror
from cpython.exc cimport PyErr_CheckSignals

from time import thread_time_ns

cdef enum:
    SLICE_NS = 50_000_000
    MAX_SIZE = 16 * 1024 * 1024
    SEED = 0x9E3779B9

SYNCS = {"none": PD_SYNC_NONE, "data": PD_SYNC_DATA, "file": PD_SYNC_FILE}
KINDS = {
    "ping": PN_PING,
    "echo": PN_ECHO,
    "send": PN_SEND,
    "sendfile": PN_SENDFILE,
    "read+send": PN_READ_SEND,
    "sink": PN_SINK,
}
MAX_WRITERS = PD_MAX_WRITERS
MAX_WINDOW_BYTES = 64 * 1024
SINK_BYTES = 256 * 1024


cdef object failure(int error):
    return OSError(error, strerror(error).decode())


cdef uint64_t slice_end(uint64_t until_ns) noexcept nogil:
    cdef uint64_t end = pb_now() + SLICE_NS
    return end if end < until_ns else until_ns


cdef object histogram(lg_hist *h):
    """(buckets as (lowest value, count), sum, min, max, count)"""
    cdef uint64_t i
    buckets = [
        (lg_hist_lower(<uint32_t>i), h.buckets[i])
        for i in range(<uint64_t>LG_HIST_BUCKETS)
        if h.buckets[i] != 0
    ]
    return buckets, h.sum, h.min if h.count else 0, h.max, h.count


def _check_size(size):
    if not 1 <= size <= MAX_SIZE:
        raise ValueError(f"a size between 1 and {MAX_SIZE} is needed")


cdef class FileLoop:
    """Reads or writes of one size; see probe.pyi."""

    def __cinit__(self):
        memset(&self._loop, 0, sizeof(self._loop))

    def __init__(
        self,
        int fd,
        *,
        size,
        span,
        bint writing,
        bint random=False,
        sync="none",
        bint wrap=False,
        bint timed=False,
    ):
        _check_size(size)
        if self._loop.buffer != NULL:
            raise RuntimeError("already initialised")
        if span < size:
            raise ValueError("the span holds not one call")
        self._loop.fd = fd
        self._loop.writing = writing
        self._loop.random = random
        self._loop.sync = SYNCS[sync]
        self._loop.wrap = wrap
        self._loop.timed = timed
        self._loop.size = size
        self._loop.span = span
        self._loop.state = SEED
        self._loop.buffer = pb_buffer(size, SEED)
        if self._loop.buffer == NULL:
            raise MemoryError()
        lg_hist_clear(&self._loop.latency)

    def __dealloc__(self):
        free(self._loop.buffer)

    def run(self, *, double seconds, uint64_t max_bytes):
        cdef int status = PB_AGAIN
        cdef uint64_t began = pb_now(), ended = began, end
        cdef uint64_t until = began + <uint64_t>(seconds * 1e9)
        cdef uint64_t max_calls = self._loop.calls + max_bytes // self._loop.size
        cdef uint64_t before = self._loop.calls
        cpu = thread_time_ns()
        while status == PB_AGAIN and ended < until:
            with nogil:
                end = slice_end(until)
                status = pd_run_slice(&self._loop, end, max_calls)
                ended = pb_now()
            if status < 0:
                raise failure(-status)
            PyErr_CheckSignals()
        return {
            "calls": self._loop.calls - before,
            "bytes": (self._loop.calls - before) * self._loop.size,
            "elapsed_ns": ended - began,
            "cpu_ns": thread_time_ns() - cpu,
            "latency": histogram(&self._loop.latency),
        }


def group_commit(int fd, *, size, int writers, double seconds, uint64_t max_bytes):
    """`writers` threads that append and share their syncs; see probe.pyi."""
    cdef pd_group group
    cdef uint64_t began
    cdef int running
    _check_size(size)
    if not 1 <= writers <= PD_MAX_WRITERS:
        raise ValueError(f"between 1 and {PD_MAX_WRITERS} writers are possible")
    memset(&group, 0, sizeof(group))
    group.fd = fd
    group.size = size
    group.writers = writers
    group.max_writes = max_bytes // group.size
    group.buffer = pb_buffer(size, SEED)
    if group.buffer == NULL:
        raise MemoryError()
    lg_hist_clear(&group.latency)
    began = pb_now()
    group.until_ns = began + <uint64_t>(seconds * 1e9)
    running = pd_group_start(&group)
    if running < 0:
        free(group.buffer)
        raise failure(-running)
    try:
        while running > 0:
            with nogil:
                running = pd_group_running(&group)
            PyErr_CheckSignals()
    finally:
        group.stop = 1
        with nogil:
            pd_group_join(&group)
        free(group.buffer)
    if group.error:
        raise failure(group.error)
    return {
        "writes": group.latency.count,
        "syncs": group.syncs,
        "elapsed_ns": group.ended_ns - began if group.ended_ns else 0,
        "latency": histogram(&group.latency),
    }


cdef class Stream:
    """A loop on a connected, blocking socket; see probe.pyi."""

    def __cinit__(self):
        memset(&self._stream, 0, sizeof(self._stream))

    def __init__(
        self, int fd, kind, *, size, window=1, int file=-1, span=0, bint wrap=False
    ):
        _check_size(size)
        if self._stream.buffer != NULL:
            raise RuntimeError("already initialised")
        number = KINDS[kind]
        capacity = size
        if number == PN_PING:
            if not 1 <= window <= PN_MAX_WINDOW or window * size > MAX_WINDOW_BYTES:
                raise ValueError(f"at most {MAX_WINDOW_BYTES} bytes may be in flight")
            capacity = 2 * window * size
        elif number in (PN_ECHO, PN_SINK):
            capacity = max(size, SINK_BYTES)
        elif number in (PN_SENDFILE, PN_READ_SEND) and (file < 0 or span < size):
            raise ValueError("a file that holds one message is needed")
        self._stream.fd = fd
        self._stream.kind = number
        self._stream.file = file
        self._stream.size = size
        self._stream.window = window
        self._stream.capacity = capacity
        self._stream.span = span
        self._stream.wrap = wrap
        self._stream.buffer = pb_buffer(capacity, SEED)
        if self._stream.buffer == NULL:
            raise MemoryError()
        lg_hist_clear(&self._stream.latency)

    def __dealloc__(self):
        free(self._stream.buffer)

    cdef int _slices(self, uint64_t until_ns, uint64_t max_bytes) except -1:
        cdef int status = PB_AGAIN
        cdef uint64_t end
        while status == PB_AGAIN and pb_now() < until_ns:
            with nogil:
                end = slice_end(until_ns)
                status = pn_run_slice(&self._stream, end, max_bytes)
            if status < 0:
                raise failure(-status)
            PyErr_CheckSignals()
        return status

    def run(self, *, double seconds, uint64_t max_bytes, double grace_s=0.0):
        cdef uint64_t began = pb_now()
        cpu = thread_time_ns()
        self._slices(began + <uint64_t>(seconds * 1e9), max_bytes)
        if grace_s > 0:
            self._stream.closing = 1
            if self._slices(pb_now() + <uint64_t>(grace_s * 1e9), max_bytes) != PB_DONE:
                raise TimeoutError("the other side does not go on")
        return {
            "messages": self._stream.messages,
            "bytes": self._stream.bytes,
            "elapsed_ns": pb_now() - began,
            "cpu_ns": thread_time_ns() - cpu,
            "ended": bool(self._stream.ended),
            "latency": histogram(&self._stream.latency),
        }
