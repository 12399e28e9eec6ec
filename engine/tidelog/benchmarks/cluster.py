"""What a load run needs besides load: versions, leaders, topics, offsets, producer ids.

Blocking sockets, one request at a time, hand-made encoders for old fixed versions that every broker
still answers (ApiVersions 0, Metadata 1, CreateTopics 2, DeleteTopics 1, ListOffsets 1,
InitProducerId 0). It doesn't use the broker's codec: the generator must be able to drive any broker
and to notice when Tidelog's own tables are wrong. Never used while a run is measured.
"""

import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from tidelog.benchmarks.requests import CLIENT_ID
from tidelog.protocol.error_codes import ErrorCode

API_LIST_OFFSETS = 2
API_METADATA = 3
API_FIND_COORDINATOR = 10
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

    def __init__(self, request: str, error_code: int, detail: str = "") -> None:
        text = f"{request}: {error_name(error_code)} (Kafka error code {error_code})"
        super().__init__(f"{text}: {detail}" if detail else text)
        self.error_code = error_code


def error_name(error_code: int) -> str:
    try:
        return ErrorCode(error_code).name
    except ValueError:
        return "an unknown error"


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

    def __init__(self, bootstrap: str, timeout_s: float = 30.0) -> None:
        self.bootstrap = parse_address(bootstrap)
        self._timeout_s = timeout_s
        self._control = Control(self.bootstrap, timeout_s)
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
        self,
        topic: str,
        partitions: int = 1,
        configs: Mapping[str, str] | None = None,
        replication_factor: int = 1,
    ) -> TopicLayout:
        """Creates the topic and waits until its leaders serve."""
        body = struct.pack(">i", 1) + text(topic)
        body += struct.pack(">ihi", partitions, replication_factor, 0)
        body += struct.pack(">i", len(configs or {}))
        for name, value in (configs or {}).items():
            body += text(name) + text(value)
        body += struct.pack(">ib", int(self._timeout_s * 1000), 0)
        answer = self._control.request(API_CREATE_TOPICS, 2, body)
        answer.one("i")
        for _ in range(answer.one("i")):
            answer.string()
            error_code = answer.one("h")
            message = answer.string() or ""
            if error_code not in (0, TOPIC_ALREADY_EXISTS):
                raise KafkaError(f"CreateTopics of {topic}", error_code, message)
        layout = self.layout(topic, self._timeout_s)
        self._wait_serving(layout, self._timeout_s)
        return layout

    def _wait_serving(self, layout: TopicLayout, deadline_s: float = 30.0) -> None:
        """Apache Kafka names a leader in Metadata before that broker takes requests for it."""
        until = time.monotonic() + deadline_s
        while True:
            try:
                self.log_ends(layout)
                return
            except KafkaError as error:
                if error.error_code not in RETRIABLE or time.monotonic() > until:
                    raise
                time.sleep(0.02)

    def delete_topic(self, topic: str) -> None:
        body = struct.pack(">i", 1) + text(topic) + struct.pack(">i", int(self._timeout_s * 1000))
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
            (start,) = _list_offsets(control, layout.name, [partition], -2).values()
            (end,) = _list_offsets(control, layout.name, [partition], -1).values()
            return start, end

    def log_ends(self, layout: TopicLayout) -> dict[int, int]:
        """The log end offset of every partition: one request to each leader."""
        by_leader: dict[Address, list[int]] = {}
        for partition, leader in layout.leaders.items():
            by_leader.setdefault(leader, []).append(partition)
        ends: dict[int, int] = {}
        for leader, partitions in by_leader.items():
            with Control(leader) as control:
                ends |= _list_offsets(control, layout.name, partitions, -1)
        return ends

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


def _list_offsets(
    control: Control, topic: str, partitions: Sequence[int], timestamp: int
) -> dict[int, int]:
    """Offset by partition. Raises KafkaError for the first that has none."""
    body = struct.pack(">ii", -1, 1) + text(topic) + struct.pack(">i", len(partitions))
    body += b"".join(struct.pack(">iq", partition, timestamp) for partition in partitions)
    answer = control.request(API_LIST_OFFSETS, 1, body)
    found: dict[int, int] = {}
    for _ in range(answer.one("i")):
        answer.string()
        for _ in range(answer.one("i")):
            partition, error_code, _, offset = answer.unpack("ihqq")
            if error_code:
                raise KafkaError(f"ListOffsets of {topic}-{partition}", error_code)
            found[partition] = offset
    return found
