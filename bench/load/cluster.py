"""What a load run needs besides load: versions, leaders, topics, offsets, producer ids.

Blocking sockets, one request at a time, hand-made encoders for old fixed versions that every broker
still answers (ApiVersions 0, Metadata 1, CreateTopics 2, DeleteTopics 1, ListOffsets 1,
InitProducerId 0). It doesn't use the broker's codec: the generator must be able to drive any broker
and to notice when Tidelog's own tables are wrong. Never used while a run is measured.
"""

import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

from bench.load.requests import CLIENT_ID

API_LIST_OFFSETS = 2
API_METADATA = 3
API_VERSIONS = 18
API_CREATE_TOPICS = 19
API_DELETE_TOPICS = 20
API_INIT_PRODUCER_ID = 22

COORDINATOR_LOAD_IN_PROGRESS = 14
TOPIC_ALREADY_EXISTS = 36
RETRIABLE = {3, 5, 6, 7}  # no such topic yet, no leader yet, not the leader, timed out
MAX_ANSWER_BYTES = 64 << 20

Address = tuple[str, int]


class KafkaError(Exception):
    """The broker answered with an error code."""

    def __init__(self, request: str, error_code: int) -> None:
        super().__init__(f"{request}: Kafka error code {error_code}")
        self.error_code = error_code


@dataclass(frozen=True)
class TopicLayout:
    """Leader address of each partition."""

    name: str
    leaders: Mapping[int, Address]


class Reader:
    """Bounds-checked cursor over an answer; struct.error or ValueError when it ends too early."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def unpack(self, layout: str) -> tuple[int, ...]:
        values = struct.unpack_from(">" + layout, self.data, self.at)
        self.at += struct.calcsize(">" + layout)
        return values

    def one(self, layout: str) -> int:
        return self.unpack(layout)[0]

    def string(self) -> str | None:
        length = self.one("h")
        if length < 0:
            return None
        if self.at + length > len(self.data):
            raise ValueError("string beyond the end of the answer")
        self.at += length
        return self.data[self.at - length : self.at].decode()


def text(value: str | None) -> bytes:
    if value is None:
        return struct.pack(">h", -1)
    raw = value.encode()
    return struct.pack(">h", len(raw)) + raw


def parse_address(bootstrap: str) -> Address:
    """First entry of HOST:PORT[,HOST:PORT...]."""
    host, _, port = bootstrap.split(",")[0].rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"not HOST:PORT: {bootstrap!r}")
    return host.strip("[]"), int(port)


class Control:
    """One blocking connection for requests with non-flexible headers."""

    def __init__(self, address: Address, timeout: float = 30.0) -> None:
        self._socket = socket.create_connection(address, timeout=timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._correlation_id = 0

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> "Control":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def request(self, api_key: int, version: int, body: bytes) -> Reader:
        self._correlation_id += 1
        head = struct.pack(">hhi", api_key, version, self._correlation_id) + text(CLIENT_ID)
        self._socket.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
        (size,) = struct.unpack(">i", self._receive(4))
        if not 4 <= size <= MAX_ANSWER_BYTES:
            raise ValueError(f"answer of {size} bytes")
        answer = Reader(self._receive(size))
        if answer.one("i") != self._correlation_id:
            raise ValueError("answer with another correlation id")
        return answer

    def _receive(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self._socket.recv(size - len(parts))
            if not part:
                raise ConnectionError("the broker closed the connection")
            parts += part
        return bytes(parts)


class Cluster:
    """A broker (or several) behind a bootstrap address."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = parse_address(bootstrap)
        self._control = Control(self.bootstrap)
        self._versions = self._api_versions()

    def close(self) -> None:
        self._control.close()

    def _api_versions(self) -> dict[int, tuple[int, int]]:
        answer = self._control.request(API_VERSIONS, 0, b"")
        error_code = answer.one("h")
        if error_code:
            raise KafkaError("ApiVersions", error_code)
        versions = {}
        for _ in range(answer.one("i")):
            api_key, lowest, highest = answer.unpack("hhh")
            versions[api_key] = (lowest, highest)
        return versions

    def version(self, api_key: int, wanted: int) -> int:
        """The highest version up to `wanted` that the broker has."""
        if api_key not in self._versions:
            raise ValueError(f"the broker has no API {api_key}")
        lowest, highest = self._versions[api_key]
        if lowest > wanted:
            raise ValueError(f"the broker has API {api_key} only from version {lowest} on")
        return min(wanted, highest)

    def layout(self, topic: str, deadline_s: float = 30.0) -> TopicLayout:
        """Waits until every partition of the topic has a leader."""
        until = time.monotonic() + deadline_s
        while True:
            error_code, leaders = self._metadata(topic)
            if error_code == 0:
                return TopicLayout(topic, leaders)
            if error_code not in RETRIABLE or time.monotonic() > until:
                raise KafkaError(f"Metadata of {topic}", error_code)
            time.sleep(0.05)

    def _metadata(self, topic: str) -> tuple[int, dict[int, Address]]:
        """First error of the topic or of a partition, and the leaders."""
        answer = self._control.request(API_METADATA, 1, struct.pack(">i", 1) + text(topic))
        nodes: dict[int, Address] = {}
        for _ in range(answer.one("i")):
            node_id = answer.one("i")
            host = answer.string()
            nodes[node_id] = (host or "", answer.one("i"))
            answer.string()
        answer.one("i")
        error_code = 0
        leaders: dict[int, Address] = {}
        for _ in range(answer.one("i")):
            error_code = error_code or answer.one("h")
            answer.string()
            answer.one("b")
            for _ in range(answer.one("i")):
                partition_error, partition, leader = answer.unpack("hii")
                error_code = error_code or partition_error
                answer.unpack("i" * answer.one("i"))
                answer.unpack("i" * answer.one("i"))
                if leader in nodes:
                    leaders[partition] = nodes[leader]
        if not error_code and not leaders:
            error_code = 3
        return error_code, leaders

    def create_topic(
        self, topic: str, partitions: int = 1, configs: Mapping[str, str] | None = None
    ) -> TopicLayout:
        """Creates the topic with one replica and waits until its leaders serve."""
        body = struct.pack(">i", 1) + text(topic) + struct.pack(">ihi", partitions, 1, 0)
        body += struct.pack(">i", len(configs or {}))
        for name, value in (configs or {}).items():
            body += text(name) + text(value)
        body += struct.pack(">ib", 30_000, 0)
        answer = self._control.request(API_CREATE_TOPICS, 2, body)
        answer.one("i")
        for _ in range(answer.one("i")):
            answer.string()
            error_code = answer.one("h")
            answer.string()
            if error_code not in (0, TOPIC_ALREADY_EXISTS):
                raise KafkaError(f"CreateTopics of {topic}", error_code)
        layout = self.layout(topic)
        self._wait_serving(layout)
        return layout

    def _wait_serving(self, layout: TopicLayout, deadline_s: float = 30.0) -> None:
        """Apache Kafka names a leader in Metadata before that broker takes requests for it."""
        until = time.monotonic() + deadline_s
        for partition in layout.leaders:
            while True:
                try:
                    self.offsets(layout, partition)
                    break
                except KafkaError as error:
                    if error.error_code not in RETRIABLE or time.monotonic() > until:
                        raise
                    time.sleep(0.02)

    def delete_topic(self, topic: str) -> None:
        body = struct.pack(">i", 1) + text(topic) + struct.pack(">i", 30_000)
        answer = self._control.request(API_DELETE_TOPICS, 1, body)
        answer.one("i")
        for _ in range(answer.one("i")):
            answer.string()
            error_code = answer.one("h")
            if error_code not in (0, 3):
                raise KafkaError(f"DeleteTopics of {topic}", error_code)

    def offsets(self, layout: TopicLayout, partition: int) -> tuple[int, int]:
        """(log start offset, log end offset), asked from the leader."""
        with Control(layout.leaders[partition]) as control:
            return (
                _list_offset(control, layout.name, partition, -2),
                _list_offset(control, layout.name, partition, -1),
            )

    def new_producer_id(self, deadline_s: float = 30.0) -> tuple[int, int]:
        """(producer id, epoch) of a fresh idempotent producer. Kafka's first needs a moment."""
        until = time.monotonic() + deadline_s
        body = text(None) + struct.pack(">i", 0)
        while True:
            answer = self._control.request(API_INIT_PRODUCER_ID, 0, body)
            _, error_code, producer_id, epoch = answer.unpack("ihqh")
            if not error_code:
                return producer_id, epoch
            if error_code != COORDINATOR_LOAD_IN_PROGRESS or time.monotonic() > until:
                raise KafkaError("InitProducerId", error_code)
            time.sleep(0.05)


def _list_offset(control: Control, topic: str, partition: int, timestamp: int) -> int:
    body = struct.pack(">ii", -1, 1) + text(topic) + struct.pack(">iiq", 1, partition, timestamp)
    answer = control.request(API_LIST_OFFSETS, 1, body)
    answer.one("i")
    answer.string()
    answer.one("i")
    _, error_code, _, offset = answer.unpack("ihqq")
    if error_code:
        raise KafkaError(f"ListOffsets of {topic}-{partition}", error_code)
    return offset
