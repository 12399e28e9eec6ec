"""Asks a broker and writes down what it answers, with everything masked that is a matter of chance.

A scenario is a function that asks one broker through a `Session`. Run against the reference, the
observations are facts; run against Tidelog, they have to be the same (see `differences`).
"""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from tests.compat.parity.batches import summary
from tidelog.protocol.codec import decode_response, encode_request_frame
from tidelog.protocol.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from tidelog.protocol.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopic,
)
from tidelog.protocol.schema import Request, Response, Struct

Observation = Any
TIMEOUT_S = 5.0
READY_TIMEOUT_S = 20.0

#: Fields whose value is a matter of chance or of the place: shown only as set or not.
_MASKED = {
    "cluster_id",
    "error_message",
    "host",
    "leader",
    "log_dir",
    "member_id",
    "port",
    "rack",
    "session_id",
    "topic_id",
    "total_bytes",
    "usable_bytes",
    "partition_size",
    "batch_index_error_message",
    "producer_id",
}
_LEFT_OUT = {"throttle_time_ms", "rack"}


class Closed(Exception):
    """The broker closed the connection."""


class Connection:
    """One connection; requests are sent and answers read in order."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=TIMEOUT_S)
        self._correlation = itertools.count(1)

    def send(self, message: Request, version: int, client_id: str | None = "parity") -> int:
        correlation = next(self._correlation)
        self.send_bytes(encode_request_frame(message, version, correlation, client_id))
        return correlation

    def send_bytes(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Closed from error

    def frame(self) -> bytes:
        """The next answer without its size. Raises Closed."""
        size = int.from_bytes(self._exactly(4), "big")
        return self._exactly(size)

    def answer(self, message: Request, version: int) -> Response:
        correlation, response = decode_response(message.API, version, self.frame())
        assert correlation >= 1
        return response

    def close(self) -> None:
        self._socket.close()

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                piece = self._socket.recv(size - len(data))
            except TimeoutError:
                raise
            except OSError as error:
                raise Closed from error
            if not piece:
                raise Closed
            data += piece
        return bytes(data)


R = TypeVar("R", bound=Response)


class Session:
    """Runs one scenario against the broker at `host`:`port` and keeps what it observed."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.observed: dict[str, Observation] = {}
        self._connection: Connection | None = None

    def connect(self) -> Connection:
        """A further connection, for the caller to close."""
        return Connection(self.host, self.port)

    @property
    def connection(self) -> Connection:
        if self._connection is None:
            self._connection = self.connect()
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def call(self, message: Request, version: int, kind: type[R]) -> R:
        """Asks and returns the answer unobserved. Raises Closed."""
        self.connection.send(message, version)
        answer = self.connection.answer(message, version)
        assert isinstance(answer, kind)
        return answer

    def ask(self, label: str, message: Request, version: int) -> Response | None:
        """Asks and observes the answer, that there was none, or that the connection was closed."""
        try:
            self.connection.send(message, version)
            answer = self.connection.answer(message, version)
        except Closed:
            self.close()
            self.note(label, "closed")
            return None
        except TimeoutError:
            self.close()
            self.note(label, "no answer")
            return None
        self.note(label, observe(answer, version))
        return answer

    def note(self, label: str, observation: Observation) -> None:
        assert label not in self.observed, label
        self.observed[label] = observation

    def create(self, name: str, partitions: int = 1, **configs: str) -> bytes:
        """Creates a topic and waits until its partitions are served; returns its id."""
        request = CreateTopicsRequest(
            topics=[
                CreatableTopic(
                    name=name,
                    num_partitions=partitions,
                    replication_factor=1,
                    configs=[
                        CreatableTopicConfig(name=key.replace("_", "."), value=value)
                        for key, value in configs.items()
                    ],
                )
            ]
        )
        result = self.call(request, 7, CreateTopicsResponse).topics[0]
        assert result.error_code == 0, (name, result.error_code, result.error_message)
        self.wait_served(name, partitions)
        return result.topic_id

    def wait_served(self, name: str, partitions: int = 1) -> None:
        """Returns when every partition answers ListOffsets without an error."""
        request = ListOffsetsRequest(
            replica_id=-1,
            topics=[
                ListOffsetsTopic(
                    name=name,
                    partitions=[
                        ListOffsetsPartition(partition_index=p, timestamp=-1)
                        for p in range(partitions)
                    ],
                )
            ],
        )

        def served() -> bool:
            answer = self.call(request, 5, ListOffsetsResponse)
            return all(p.error_code == 0 for t in answer.topics for p in t.partitions)

        wait_until(served, f"{name} is not served")


def wait_until(ready: Callable[[], bool], what: str) -> None:
    """Polls until `ready()`; fails with `what` when that takes too long."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not ready():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def observe(value: object, version: int) -> Observation:
    """A message as plain data with what is left to chance masked."""
    if isinstance(value, Struct):
        # An error's text is each broker's own matter.
        left_out = _LEFT_OUT | ({"error_message"} if getattr(value, "error_code", 0) else set())
        return {
            field.name: _observe_field(field.name, getattr(value, field.name), version)
            for field in value.FIELDS
            if field.versions.has(version) and field.name not in left_out
        }
    if isinstance(value, list):
        return [observe(item, version) for item in value]
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()
    return value


def _observe_field(name: str, value: object, version: int) -> Observation:
    if name in _MASKED:
        return _mask(value)
    if name == "records":
        return cast(Observation, _clock_masked(summary(cast("bytes | None", value))))
    if name in ("timestamp", "log_append_time_ms", "last_timestamp"):
        return _clock_mask(cast(int, value))
    return observe(value, version)


def _mask(value: object) -> Observation:
    if value is None or (isinstance(value, int) and value <= 0):
        return value
    if isinstance(value, bytes):
        return "set" if any(value) else "none"
    return "set" if value else ""


def _clock_mask(timestamp: int) -> Observation:
    return "now" if abs(time.time() * 1000 - timestamp) < 3_600_000 else timestamp


def _clock_masked(batches: list[dict[str, int]] | None) -> Observation:
    if batches is None:
        return None
    return [
        {
            key: _clock_mask(value) if key.endswith("timestamp") else value
            for key, value in batch.items()
        }
        for batch in batches
    ]


Scenario = Callable[[Session], None]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    """Registers a scenario under its function's name."""
    name = function.__name__
    assert name not in SCENARIOS, name
    SCENARIOS[name] = function
    return function


def run(name: str, host: str, port: int) -> dict[str, Observation]:
    """What the broker answered in one scenario, by label."""
    session = Session(host, port)
    try:
        SCENARIOS[name](session)
    finally:
        session.close()
    return session.observed


def differences(
    ours: dict[str, Observation], theirs: dict[str, Observation]
) -> dict[str, tuple[Observation, Observation]]:
    """Labels whose observations differ, with (ours, theirs)."""
    return {
        label: (ours.get(label), theirs.get(label))
        for label in [*theirs, *(set(ours) - set(theirs))]
        if ours.get(label) != theirs.get(label)
    }
