"""The native half of the load generator: replays pre-encoded requests, and the floor server.

For: `tidelog.benchmarks` and `bench/load`, which encode the requests and read the results. Owned by
whichever thread calls run() or serve(); both release the GIL for their whole loop (a generator that
shared it with another Python thread would measure the interpreter, not the broker) and take it back
every 50 ms to look for signals. Must never become part of a broker: nothing else imports it.
"""

from libc.stdint cimport int16_t, int32_t, uint8_t, uint32_t, uint64_t, INT32_MAX
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset, strerror
from posix.unistd cimport close
from cpython.exc cimport PyErr_CheckSignals

from tidelog._native.crc32c cimport crc32c

cdef extern from "sys/epoll.h" nogil:
    int epoll_create1(int flags)
    int EPOLL_CLOEXEC

cdef enum:
    SLICE_NS = 50_000_000
    MAX_IN_FLIGHT = 65536
    MAX_CONNECTIONS = 65536

KINDS = {"raw": LG_RAW, "produce": LG_PRODUCE, "fetch": LG_FETCH}
FETCH_MODES = {"fixed": LG_FIXED, "stream": LG_STREAM, "tail": LG_TAIL}
FENCE_CORRELATION_ID = LG_FENCE
MAX_FLOOR_PARTITIONS = LF_MAX_LOGS


class LoadError(Exception):
    """A run that was ended by a wrong answer or a broken connection.

    reason: a short word (see REASONS); kafka_error: the broker's error code or 0; connection: index
    of the connection; request: number of the request on that connection.
    """

    def __init__(self, message, reason, kafka_error, connection, request):
        super().__init__(message)
        self.reason = reason
        self.kafka_error = kafka_error
        self.connection = connection
        self.request = request


REASONS = {
    LG_E_IO: "io",
    LG_E_CLOSED: "closed",
    LG_E_SIZE: "size",
    LG_E_CORRELATION: "correlation",
    LG_E_MALFORMED: "malformed",
    LG_E_BROKER: "broker",
    LG_E_PARTITIONS: "partitions",
    LG_E_OFFSET: "offset",
    LG_E_BATCH: "batch",
    LG_E_CRC: "crc",
    LG_E_EMPTY: "empty",
    LG_E_STALLED: "stalled",
    LG_E_MEMORY: "memory",
}


cdef str _describe(const lg_error *e):
    """One sentence for people; the numbers mean what loadgen_client.h says beside each code."""
    if e.code == LG_E_IO:
        return strerror(<int>e.a).decode()
    texts = {
        LG_E_CLOSED: "the broker closed the connection",
        LG_E_SIZE: f"an answer of {e.a} bytes is out of bounds",
        LG_E_CORRELATION: f"correlation id {e.b} came where {e.a} was due",
        LG_E_MALFORMED: f"a malformed answer (wire status {e.a})",
        LG_E_BROKER: f"Kafka error code {e.a} for partition {e.b}",
        LG_E_PARTITIONS: f"{e.b} partitions in the answer where {e.a} were due",
        LG_E_OFFSET: f"base offset {e.b} below {e.a}, which was the lowest possible",
        LG_E_BATCH: f"records of partition {e.a} that hold no further batch",
        LG_E_CRC: f"a batch of partition {e.a} with a wrong CRC",
        LG_E_EMPTY: "nothing to fetch in the whole range",
        LG_E_STALLED: f"no answer for {e.a} seconds",
        LG_E_MEMORY: f"no memory for an answer of {e.a} bytes",
    }
    return texts.get(e.code, f"failure {e.code}")


cdef class Histogram:
    """Log-linear histogram of nanoseconds: buckets at most 1/128 wide, exact extremes."""

    def __cinit__(self):
        self._hist = <lg_hist *>malloc(sizeof(lg_hist))
        if self._hist == NULL:
            raise MemoryError()
        lg_hist_clear(self._hist)

    def __dealloc__(self):
        free(self._hist)

    cpdef void record(self, uint64_t nanoseconds) except *:
        lg_hist_record(self._hist, nanoseconds)

    cpdef void merge(self, Histogram other) except *:
        lg_hist_merge(self._hist, other._hist)

    cpdef uint64_t percentile(self, double percent) except? 0:
        """Bound that `percent` (0..100) of the values do not exceed; 0 when empty."""
        if not 0.0 <= percent <= 100.0:
            raise ValueError("percent must lie between 0 and 100")
        return lg_hist_percentile(self._hist, percent / 100.0)

    def buckets(self):
        """[(lowest, highest, count)] of the buckets that are not empty, in nanoseconds."""
        cdef uint32_t i
        return [
            (lg_hist_lower(i), lg_hist_upper(i), self._hist.buckets[i])
            for i in range(LG_HIST_BUCKETS)
            if self._hist.buckets[i] != 0
        ]

    @property
    def count(self):
        return self._hist.count

    @property
    def min(self):
        return self._hist.min if self._hist.count else 0

    @property
    def max(self):
        return self._hist.max

    @property
    def mean(self):
        return <double>self._hist.sum / <double>self._hist.count if self._hist.count else 0.0


cdef class LoadGenerator:
    """Connections that replay templates; see loadgen.pyi for the arguments."""

    def __cinit__(self):
        memset(&self._generator, 0, sizeof(self._generator))
        self._generator.epoll_fd = -1

    def __init__(
        self,
        kind,
        int api_version,
        *,
        int in_flight=1,
        bint acks0=False,
        fetch_mode="stream",
        bint discard=False,
        bint verify_crc=False,
        Py_ssize_t max_response_bytes=64 << 20,
        int stall_seconds=30,
        int error_position=-1,
    ):
        if self._generator.epoll_fd >= 0:
            raise RuntimeError("already initialised")
        if not 1 <= in_flight <= MAX_IN_FLIGHT:
            raise ValueError(f"in_flight must lie between 1 and {MAX_IN_FLIGHT}")
        if max_response_bytes < 16 or max_response_bytes > INT32_MAX:
            raise ValueError("max_response_bytes must lie between 16 and 2^31 - 1")
        if stall_seconds < 1:
            raise ValueError("stall_seconds must be at least 1")
        if KINDS[kind] == LG_PRODUCE and not 3 <= api_version <= 13:
            raise ValueError("Produce is known in versions 3 to 13")
        if KINDS[kind] == LG_FETCH and not 4 <= api_version <= 18:
            raise ValueError("Fetch is known in versions 4 to 18")
        if acks0 and KINDS[kind] != LG_PRODUCE:
            raise ValueError("only a produce request can have acks=0")
        if discard and (KINDS[kind] != LG_FETCH or verify_crc):
            raise ValueError("discard is for fetching, and leaves nothing to verify")
        self._kept = []
        self._generator.kind = KINDS[kind]
        self._generator.version = api_version
        self._generator.in_flight = in_flight
        self._generator.acks0 = acks0
        self._generator.fetch_mode = FETCH_MODES[fetch_mode]
        self._generator.discard = discard
        if verify_crc:
            self._generator.verify_crc = crc32c
        self._generator.max_response = max_response_bytes
        self._generator.stall_ns = <uint64_t>stall_seconds * 1_000_000_000
        self._generator.error_at = error_position
        self._generator.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        if self._generator.epoll_fd < 0:
            raise OSError("epoll_create1 failed")

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(self._generator.connection_count):
            lg_connection_free(&self._generator.connections[i])
        free(self._generator.connections)
        if self._generator.epoll_fd >= 0:
            close(self._generator.epoll_fd)

    def add_connection(
        self,
        int fd,
        templates,
        fence=b"",
        *,
        uint64_t interval_ns=0,
        uint64_t offset_ns=0,
        schedules=(),
    ):
        """Lends a connected blocking socket (the caller keeps it open) and what to send on it."""
        kept = [
            (
                bytes(t.frame),
                int(t.expected_partitions),
                int(t.payload_bytes),
                int(t.payload_records),
                list(t.batches),
                list(t.cursors),
            )
            for t in templates
        ]
        if self._running:
            raise RuntimeError("a run is going on")
        if not kept:
            raise ValueError("a connection needs at least one template")
        if self._generator.kind == LG_FETCH and (len(kept) != 1 or not kept[0][5]):
            raise ValueError("a fetching connection has one template with at least one cursor")
        if self._generator.discard and len(kept[0][5]) != 1:
            raise ValueError("discard is for one partition per request")
        if self._generator.acks0 and len(fence) < 12:
            raise ValueError("acks=0 needs a fence request")
        if self._generator.connection_count >= MAX_CONNECTIONS:
            raise ValueError("too many connections")
        if self._generator.connection_count and self._generator.scheduled != (interval_ns > 0):
            raise ValueError("all connections have an interval, or none has")
        times = [(int(first), int(period), int(records)) for first, period, records in schedules]
        if times and (
            len(times) != len(kept[0][5]) or self._generator.discard
            or any(first < 0 or period < 1 or records < 1 for first, period, records in times)
        ):
            raise ValueError("a schedule is for each cursor, and not for discarded records")
        self._append_connection(
            fd, kept, fence if self._generator.acks0 else b"", interval_ns, offset_ns, times
        )
        self._generator.scheduled = interval_ns > 0

    cdef int _append_connection(
        self, int fd, list templates, bytes fence, uint64_t interval_ns, uint64_t offset_ns,
        list schedules
    ) except -1:
        cdef lg_generator *g = &self._generator
        cdef lg_connection *c
        cdef size_t wanted = (g.connection_count + 1) * sizeof(lg_connection)
        cdef void *grown = realloc(g.connections, wanted)
        if grown == NULL:
            raise MemoryError()
        g.connections = <lg_connection *>grown
        c = &g.connections[g.connection_count]
        memset(c, 0, sizeof(lg_connection))
        c.fd = fd
        c.interval_ns = interval_ns
        c.offset_ns = offset_ns
        c.templates = <lg_template *>calloc(len(templates), sizeof(lg_template))
        if c.templates == NULL:
            raise MemoryError()
        try:
            for template in templates:
                c.template_count += 1
                self._fill_template(&c.templates[c.template_count - 1], template)
            self._set_schedules(&c.templates[0], schedules)
            if fence:
                self._kept.append(fence)
                c.fence = <const uint8_t *><const char *>fence
                c.fence_length = len(fence)
            if lg_connection_prepare(g, c) != 0:
                raise MemoryError()
        except BaseException:
            lg_connection_free(c)
            raise
        g.connection_count += 1
        return 0

    cdef int _fill_template(self, lg_template *t, tuple template) except -1:
        cdef bytes frame
        frame, expected_partitions, payload_bytes, payload_records, batches, cursors = template
        if len(frame) < 12 or int.from_bytes(frame[:4], "big") != len(frame) - 4:
            raise ValueError("a frame must start with its own length")
        self._kept.append(frame)
        t.frame = <const uint8_t *><const char *>frame
        t.frame_length = len(frame)
        t.expected_partitions = expected_partitions
        t.payload_bytes = payload_bytes
        t.payload_records = payload_records
        self._fill_batches(t, frame, batches)
        self._fill_cursors(t, frame, cursors)
        return 0

    cdef int _fill_batches(self, lg_template *t, bytes frame, list batches) except -1:
        """Only idempotent batches (base_sequence >= 0) need anything; others go out as they are."""
        cdef uint8_t *scratch
        cdef lg_batch *b
        patched = [batch for batch in batches if batch.base_sequence >= 0]
        if not patched:
            return 0
        t.batches = <lg_batch *>calloc(len(patched), sizeof(lg_batch))
        scratch = <uint8_t *>malloc(len(frame))
        try:
            if t.batches == NULL or scratch == NULL:
                raise MemoryError()
            for batch in patched:
                end = batch.position + batch.length
                if batch.length < 61 or batch.position < 12 or end > len(frame):
                    raise ValueError("a batch must lie within its frame")
                b = &t.batches[t.batch_count]
                b.position = batch.position
                b.length = batch.length
                b.record_count = batch.record_count
                b.next_sequence = batch.base_sequence
                lg_batch_prepare(b, t.frame, crc32c, scratch)
                t.batch_count += 1
        finally:
            free(scratch)
        return 0

    cdef int _fill_cursors(self, lg_template *t, bytes frame, list cursors) except -1:
        if not cursors:
            return 0
        t.cursors = <lg_cursor *>calloc(len(cursors), sizeof(lg_cursor))
        if t.cursors == NULL:
            raise MemoryError()
        for cursor in cursors:
            if cursor.position < 12 or cursor.position + 8 > len(frame):
                raise ValueError("a fetch offset must lie within its frame")
            if cursor.start < 0 or cursor.end < cursor.start:
                raise ValueError("a cursor needs 0 <= start <= end")
            t.cursors[t.cursor_count].position = cursor.position
            t.cursors[t.cursor_count].partition = cursor.partition
            t.cursors[t.cursor_count].start = cursor.start
            t.cursors[t.cursor_count].end = cursor.end
            t.cursor_count += 1
        return 0

    cdef int _set_schedules(self, lg_template *t, list schedules) except -1:
        for i, (first_due_ns, period_ns, batch_records) in enumerate(schedules):
            t.cursors[i].first_due_ns = first_due_ns
            t.cursors[i].period_ns = period_ns
            t.cursors[i].batch_records = batch_records
        return 0

    def run(
        self,
        *,
        uint64_t max_requests=0,
        double seconds=0.0,
        uint64_t start_at_ns=0,
        uint64_t grace_ns=0,
    ):
        """Runs until so many answers or so much time; then drains what is in flight."""
        cdef int status
        if self._failed:
            raise RuntimeError("an earlier run of this generator failed")
        if self._running:
            raise RuntimeError("a run is going on")
        if self._generator.connection_count == 0:
            raise RuntimeError("no connection was added")
        if max_requests == 0 and seconds <= 0.0:
            raise ValueError("a run needs a bound: max_requests or seconds")
        self._running = True
        try:
            lg_run_begin(
                &self._generator,
                max_requests if max_requests else <uint64_t>-1,
                <uint64_t>(seconds * 1e9) if seconds > 0.0 else 0,
                start_at_ns,
                grace_ns,
            )
            while True:
                with nogil:
                    status = lg_run_slice(&self._generator, SLICE_NS)
                if status != LG_AGAIN:
                    break
                try:
                    PyErr_CheckSignals()
                except BaseException:
                    self._failed = True  # requests are still in flight
                    raise
            lg_run_end(&self._generator)
        finally:
            self._running = False
        if status == LG_FAILED:
            self._failed = True
            raise self._failure()
        return self._result()

    def stop(self):
        """Ends a run that goes on in another thread, as its time bound would."""
        self._generator.stop = 1

    @property
    def progress(self):
        cdef lg_stats *s = &self._generator.stats
        return s.requests, s.records, s.record_bytes

    cdef object _failure(self):
        cdef lg_error *e = &self._generator.error
        return LoadError(
            f"connection {e.connection}, request {e.request}: {_describe(e)}",
            REASONS.get(e.code, "unknown"),
            e.a if e.code == LG_E_BROKER else 0,
            e.connection,
            e.request,
        )

    cdef object _result(self):
        cdef lg_stats *s = &self._generator.stats
        cdef Histogram latency = Histogram()
        cdef Histogram delays = Histogram()
        lg_hist_merge(latency._hist, &self._generator.latency)
        lg_hist_merge(delays._hist, &self._generator.delays)
        return {
            "requests": s.requests,
            "bytes_sent": s.bytes_sent,
            "bytes_received": s.bytes_received,
            "record_bytes": s.record_bytes,
            "records": s.records,
            "batches": s.batches,
            "empty_responses": s.empty_responses,
            "wraps": s.wraps,
            "throttled_responses": s.throttled_responses,
            "send_calls": s.send_calls,
            "receive_calls": s.receive_calls,
            "elapsed_ns": s.elapsed_ns,
            "user_ns": s.user_ns,
            "system_ns": s.system_ns,
            "unsent": s.unsent,
            "last_base_offset": s.last_base_offset,
            "latency": latency,
            "delays": delays,
        }


cdef class FloorServer:
    """The least that a broker must do (loadgen_floor.h). `listener`: a listening socket."""

    def __cinit__(self):
        memset(&self._server, 0, sizeof(self._server))
        self._server.epoll_fd = -1

    def __init__(
        self,
        listener,
        directory,
        *,
        bint preallocate=False,
        bint check_crc=True,
        bint answer_each=False,
    ):
        cdef bytes path = directory.encode()
        cdef int status
        if self._started:
            raise RuntimeError("already initialised")
        if len(path) > 3000:
            raise ValueError("the directory's path is too long")
        listener.setblocking(False)
        self._socket = listener
        self._server.listen_fd = listener.fileno()
        self._server.preallocate = preallocate
        self._server.check_crc = check_crc
        self._server.answer_each = answer_each
        self._server.crc = crc32c
        for i in range(len(path)):
            self._server.directory[i] = path[i]
        self._started = True
        status = lf_start(&self._server)
        if status < 0:
            raise OSError(-status, strerror(-status).decode())

    def __dealloc__(self):
        if self._started:
            lf_free(&self._server)

    def serve(self):
        """Serves until stop() is called or a signal handler raises."""
        cdef int status = 0
        while not self._server.stop:
            with nogil:
                status = lf_run_slice(&self._server, lg_now() + SLICE_NS, lg_now)
            if status < 0:
                raise OSError(-status, strerror(-status).decode())
            PyErr_CheckSignals()

    def stop(self):
        self._server.stop = 1

    @property
    def requests(self):
        return self._server.requests


def parse_produce_response(bytes data, int version):
    """What the generator reads of a Produce answer (from behind the correlation id on):
    ([(partition, error_code, base_offset)], throttle_time_ms). ValueError when malformed."""
    cdef lg_answer a
    cdef lg_produced part
    cdef int32_t throttle_time_ms = 0
    cdef int status = lg_produce_begin(&a, <const uint8_t *><const char *>data, len(data), version)
    parts = []
    if status == 0:
        status = lg_produce_next(&a, &part)
        while status == 1:
            parts.append((part.partition, part.error_code, part.base_offset))
            status = lg_produce_next(&a, &part)
    if status == 0:
        status = lg_produce_end(&a, &throttle_time_ms)
    if status != 0:
        raise ValueError(f"malformed produce answer (wire status {status})")
    return parts, throttle_time_ms


def parse_fetch_response(bytes data, int version):
    """What the generator reads of a Fetch answer (from behind the correlation id on):
    (error_code, [(partition, error_code, high_watermark, log_start_offset, records)]).
    ValueError when malformed."""
    cdef lg_answer a
    cdef lg_fetched part
    cdef int32_t throttle_time_ms = 0
    cdef int16_t error_code = 0
    cdef const uint8_t *start = <const uint8_t *><const char *>data
    cdef Py_ssize_t begin
    cdef int status = lg_fetch_begin(&a, start, len(data), version, &error_code, &throttle_time_ms)
    parts = []
    if status == 0:
        status = lg_fetch_next(&a, &part)
        while status == 1:
            begin = a.at.pos - start
            status = lg_fetch_skip_records(&a, &part)
            if status != 0:
                break
            records = None if part.records_length < 0 else data[begin : begin + part.records_length]
            offsets = (part.high_watermark, part.log_start_offset)
            parts.append((part.partition, part.error_code, *offsets, records))
            status = lg_fetch_next(&a, &part)
    if status == 0:
        status = lg_fetch_end(&a)
    if status != 0:
        raise ValueError(f"malformed fetch answer (wire status {status})")
    return error_code, parts


def walk_batches(bytes records, *, bint verify_crc=False):
    """(next_offset or -1, batches, records, bytes) of the whole batches in a record set; markers of
    transactions are no records."""
    cdef lg_walk walk
    cdef lg_crc_function crc = NULL
    cdef int status
    if verify_crc:
        crc = crc32c
    walk.next_offset = -1
    walk.batches = walk.records = walk.bytes = 0
    status = lg_walk_batches(
        <const uint8_t *><const char *>records, len(records), crc, &walk
    )
    if status != LG_WALK_OK:
        raise ValueError("wrong CRC" if status == LG_WALK_BAD_CRC else "not a batch of version 2")
    return walk.next_offset, walk.batches, walk.records, walk.bytes
