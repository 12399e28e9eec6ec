"""Fuzz target: the native parsers of Produce and Fetch, against the table codec.

Input: one byte for API and version, then the body of the request; several requests are parted by
four bytes (SEPARATOR), each with such a byte in front. They are sent at once, each in a frame with
a right header. What must hold stands in tests/fuzz/lanes/lane_model.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.fuzz.lanes.lane_model import check, exchange, lane_frame
from tests.unit.native.lane_harness import batch, topic_id_of
from tests.unit.native.test_fetch_lane import fetch
from tests.unit.native.test_produce_lane import produce
from tidelog.protocol.api import ApiKey
from tidelog.protocol.codec import encode
from tidelog.protocol.messages.fetch import FetchRequest
from tidelog.protocol.messages.produce import ProduceRequest

MAX_INPUT_BYTES = 2048
SEPARATOR = b"\xfe\xed\xfe\xed"
REQUESTS_MAX = 4
CHOICES = [(key, v) for key in (ApiKey.PRODUCE, ApiKey.FETCH) for v in
           range(key.versions.low, key.versions.high + 1)]  # fmt: skip


def run(data: bytes) -> None:
    """One input."""
    frames = []
    for part in data.split(SEPARATOR)[:REQUESTS_MAX]:
        if part:
            key, version = CHOICES[part[0] % len(CHOICES)]
            frames.append(lane_frame(key, version, part[1:]))
    stream = b"".join(frames)
    check(stream, exchange([stream]))


def seeds() -> Iterator[tuple[str, bytes]]:
    """Requests of both kinds in every version; sessions, and one behind the other."""
    for version in range(ApiKey.PRODUCE.versions.low, ApiKey.PRODUCE.versions.high + 1):
        yield f"produce-{version}", as_input(_produce(), version)
        yield f"produce-0-{version}", as_input(_produce(acks=0), version)
    for version in range(ApiKey.FETCH.versions.low, ApiKey.FETCH.versions.high + 1):
        yield f"fetch-{version}", as_input(_fetch(), version)
        if version >= 7:
            opened = as_input(_fetch((0, 0)), version)
            again = as_input(_fetch((1, 1), forgotten=True), version)
            yield f"sessions-{version}", SEPARATOR.join([opened, again])
    yield "both", SEPARATOR.join([as_input(_produce(), 9), as_input(_fetch(), 12)] * 2)


def as_input(request: ProduceRequest | FetchRequest, version: int) -> bytes:
    """The input that has this request sent."""
    return bytes([CHOICES.index((request.API, version))]) + encode(request, version)


def _produce(acks: int = 1) -> ProduceRequest:
    request = produce(batch([b"value"]))
    request.acks = acks
    request.topic_data[0].topic_id = topic_id_of("t")
    request.topic_data += produce(b"", topic="gone", index=3).topic_data
    return request


def _fetch(session: tuple[int, int] = (0, -1), forgotten: bool = False) -> FetchRequest:
    return fetch(
        ("t", 0, 0),
        ("t", 1, 0),
        ("remote", 0, 0),
        session=session,
        forgotten=[("t", 1)] if forgotten else None,
    )
