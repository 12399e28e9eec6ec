"""Produce and Fetch requests as templates for the native generator: the bytes of a frame, and where
in it the generator patches.

Pure. Versions: Produce 3-12 and Fetch 4-12, which name topics; the layouts follow the public
protocol description (flexible from Produce 9 and Fetch 12 on, KIP-482).
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tidelog._native.loadgen import FENCE_CORRELATION_ID
from tidelog.benchmarks.batches import Batch, unsigned_varint

API_PRODUCE = 0
API_FETCH = 1
API_METADATA = 3
API_VERSIONS = 18
CLIENT_ID = "load"


@dataclass(frozen=True)
class PlacedBatch:
    position: int
    length: int
    record_count: int
    base_sequence: int


@dataclass(frozen=True)
class Cursor:
    """A fetch offset in a frame; it runs through [start, end)."""

    position: int
    partition: int
    start: int
    end: int


@dataclass(frozen=True)
class Template:
    frame: bytes
    expected_partitions: int
    payload_bytes: int = 0
    payload_records: int = 0
    batches: Sequence[PlacedBatch] = field(default=())
    cursors: Sequence[Cursor] = field(default=())

    @property
    def body(self) -> bytes:
        """Behind length, header and client id, in a version that is not flexible."""
        return self.frame[4 + 8 + 2 + len(CLIENT_ID) :]


class _Writer:
    """Appends wire primitives; `compact` follows the version."""

    def __init__(self, flexible: bool) -> None:
        self.data = bytearray(4)  # the length prefix
        self.flexible = flexible

    def pack(self, layout: str, *values: int) -> None:
        self.data += struct.pack(">" + layout, *values)

    def count(self, value: int) -> None:
        if self.flexible:
            self.data += unsigned_varint(value + 1)
        else:
            self.pack("i", value)

    def string(self, value: str | None) -> None:
        raw = None if value is None else value.encode()
        if self.flexible:
            self.data += unsigned_varint(0 if raw is None else len(raw) + 1)
        else:
            self.pack("h", -1 if raw is None else len(raw))
        self.data += raw or b""

    def tags(self) -> None:
        if self.flexible:
            self.data.append(0)

    def header(self, api_key: int, version: int, correlation_id: int = 0) -> None:
        self.pack("hhi", api_key, version, correlation_id)
        self.pack("h", len(CLIENT_ID))  # never compact, in header v2 too
        self.data += CLIENT_ID.encode()
        self.tags()

    def frame(self) -> bytes:
        struct.pack_into(">i", self.data, 0, len(self.data) - 4)
        return bytes(self.data)


def produce_request(
    version: int,
    batches: Mapping[str, Mapping[int, Batch]],
    *,
    acks: int = 1,
    timeout_ms: int = 30_000,
    transactional_id: str | None = None,
) -> Template:
    """One request with a batch for each (topic, partition) of `batches`."""
    if not 3 <= version <= 12:
        raise ValueError(f"Produce version {version} is not built here")
    out = _Writer(version >= 9)
    out.header(API_PRODUCE, version)
    out.string(transactional_id)
    out.pack("hi", acks, timeout_ms)
    out.count(len(batches))
    placed: list[PlacedBatch] = []
    for topic, partitions in batches.items():
        out.string(topic)
        out.count(len(partitions))
        for partition, batch in partitions.items():
            out.pack("i", partition)
            out.count(len(batch.data))
            placed.append(
                PlacedBatch(len(out.data), len(batch.data), batch.record_count, batch.base_sequence)
            )
            out.data += batch.data
            out.tags()
        out.tags()
    out.tags()
    return Template(
        out.frame(),
        expected_partitions=len(placed),
        payload_bytes=sum(batch.length for batch in placed),
        payload_records=sum(batch.record_count for batch in placed),
        batches=tuple(placed),
    )


def fetch_request(
    version: int,
    ranges: Mapping[str, Mapping[int, tuple[int, int]]],
    *,
    max_bytes: int,
    partition_max_bytes: int,
    max_wait_ms: int = 500,
    min_bytes: int = 1,
    isolation_level: int = 0,
) -> Template:
    """A sessionless fetch (KIP-227: session 0, epoch -1); `ranges` gives (start, end) for each
    (topic, partition)."""
    if not 4 <= version <= 12:
        raise ValueError(f"Fetch version {version} is not built here")
    out = _Writer(version >= 12)
    out.header(API_FETCH, version)
    out.pack("iiiib", -1, max_wait_ms, min_bytes, max_bytes, isolation_level)
    if version >= 7:
        out.pack("ii", 0, -1)
    out.count(len(ranges))
    cursors: list[Cursor] = []
    for topic, partitions in ranges.items():
        out.string(topic)
        out.count(len(partitions))
        for partition, (start, end) in partitions.items():
            out.pack("i", partition)
            if version >= 9:
                out.pack("i", -1)
            cursors.append(Cursor(len(out.data), partition, start, end))
            out.pack("q", start)
            if version >= 12:
                out.pack("i", -1)
            if version >= 5:
                out.pack("q", -1)
            out.pack("i", partition_max_bytes)
            out.tags()
        out.tags()
    if version >= 7:
        out.count(0)
    if version >= 11:
        out.string("")
    out.tags()
    return Template(out.frame(), expected_partitions=len(cursors), cursors=tuple(cursors))


def fence_request() -> bytes:
    """ApiVersions v0: what the generator sends behind the last request with acks=0."""
    out = _Writer(False)
    out.header(API_VERSIONS, 0, FENCE_CORRELATION_ID)
    return out.frame()


def metadata_request(topic: str) -> Template:
    """Metadata version 1 for one topic."""
    out = _Writer(False)
    out.header(API_METADATA, 1)
    out.count(1)
    out.string(topic)
    return Template(out.frame(), expected_partitions=0)
