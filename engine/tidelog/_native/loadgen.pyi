"""Load generator: pre-encoded requests over raw sockets, and the floor server. See bench/load."""

import socket
from collections.abc import Sequence
from typing import Final, Literal, Protocol, TypedDict, type_check_only

FENCE_CORRELATION_ID: Final[int]
MAX_FLOOR_PARTITIONS: Final[int]

@type_check_only
class BatchPlace(Protocol):
    """A record batch within a frame. base_sequence -1: not idempotent, sent unchanged."""

    @property
    def position(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def record_count(self) -> int: ...
    @property
    def base_sequence(self) -> int: ...

@type_check_only
class FetchCursor(Protocol):
    """A fetch offset (int64) within a frame, and the range [start, end) that it runs through."""

    @property
    def position(self) -> int: ...
    @property
    def partition(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...

@type_check_only
class RequestTemplate(Protocol):
    """One request as it goes on the wire, length prefix included; the correlation id is patched."""

    @property
    def frame(self) -> bytes: ...
    @property
    def expected_partitions(self) -> int: ...
    @property
    def payload_bytes(self) -> int: ...
    @property
    def payload_records(self) -> int: ...
    @property
    def batches(self) -> Sequence[BatchPlace]: ...
    @property
    def cursors(self) -> Sequence[FetchCursor]: ...

@type_check_only
class RunCounts(TypedDict):
    """elapsed: from the first send to the last answer; user, system: CPU of the client's thread;
    unsent: requests that were due within the run and never sent; delays: see schedules."""

    requests: int
    bytes_sent: int
    bytes_received: int
    record_bytes: int
    records: int
    batches: int
    empty_responses: int
    wraps: int
    throttled_responses: int
    send_calls: int
    receive_calls: int
    elapsed_ns: int
    user_ns: int
    system_ns: int
    unsent: int
    last_base_offset: int
    latency: Histogram
    delays: Histogram

class LoadError(Exception):
    reason: str
    kafka_error: int
    connection: int
    request: int

class Histogram:
    def record(self, nanoseconds: int) -> None: ...
    def merge(self, other: Histogram) -> None: ...
    def percentile(self, percent: float) -> int: ...
    def buckets(self) -> list[tuple[int, int, int]]: ...
    @property
    def count(self) -> int: ...
    @property
    def min(self) -> int: ...
    @property
    def max(self) -> int: ...
    @property
    def mean(self) -> float: ...

class LoadGenerator:
    """N connections with in_flight requests each.

    fetch_mode: "fixed" asks for the same offset always, "stream" runs through each cursor's range
    and starts again, "tail" follows the end of the log. discard: the kernel throws fetched records
    away (MSG_TRUNC) but for the batch headers. verify_crc: checks every received batch.
    error_position: kind "raw" only, where an int16 error code stands behind the correlation id.
    With acks0 a latency is the time until the kernel has the request, and a run ends when the
    fence (any request with an answer, correlation id FENCE_CORRELATION_ID) is answered.

    With interval_ns a connection's requests are due at start_at_ns (CLOCK_MONOTONIC; 0: now) +
    offset_ns + n * interval_ns. A latency then counts from that time on, also when the request had
    to wait for room (in_flight), so that a slow answer delays no later one out of sight
    (coordinated omission). What was due before the end may still be sent within grace_ns after it.

    schedules: for each cursor of a fetch (first due time in ns after start_at_ns, period in ns,
    records a batch) of the only producer of that partition, whose first batch stands at the
    cursor's start. `delays` of the result then tells how long after its due time each batch came.

    progress: (requests, records, bytes of record batches) of the current or the last run, from any
    thread.
    """

    def __init__(
        self,
        kind: Literal["raw", "produce", "fetch"],
        api_version: int,
        *,
        in_flight: int = 1,
        acks0: bool = False,
        fetch_mode: Literal["fixed", "stream", "tail"] = "stream",
        discard: bool = False,
        verify_crc: bool = False,
        max_response_bytes: int = ...,
        stall_seconds: int = 30,
        error_position: int = -1,
    ) -> None: ...
    def add_connection(
        self,
        fd: int,
        templates: Sequence[RequestTemplate],
        fence: bytes = b"",
        *,
        interval_ns: int = 0,
        offset_ns: int = 0,
        schedules: Sequence[tuple[int, int, int]] = (),
    ) -> None: ...
    def run(
        self,
        *,
        max_requests: int = 0,
        seconds: float = 0.0,
        start_at_ns: int = 0,
        grace_ns: int = 0,
    ) -> RunCounts: ...
    def stop(self) -> None: ...
    @property
    def progress(self) -> tuple[int, int, int]: ...

class FloorServer:
    def __init__(
        self,
        listener: socket.socket,
        directory: str,
        *,
        preallocate: bool = False,
        check_crc: bool = True,
        answer_each: bool = False,
    ) -> None: ...
    def serve(self) -> None: ...
    def stop(self) -> None: ...
    @property
    def requests(self) -> int: ...

def parse_produce_response(data: bytes, version: int) -> tuple[list[tuple[int, int, int]], int]: ...
def parse_fetch_response(
    data: bytes, version: int
) -> tuple[int, list[tuple[int, int, int, int, bytes | None]]]: ...
def walk_batches(records: bytes, *, verify_crc: bool = False) -> tuple[int, int, int, int]: ...
