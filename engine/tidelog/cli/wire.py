"""Kafka requests for which the client library has no function, one after the other. Runs in the
user's shell.

Nodes are asked by their id; a connection to each is made once. What fails is a CommandError.
"""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Final, Self, TypeVar

from tidelog.cli.cluster import CONNECT_TIMEOUT_S, TIMEOUT_S, CommandError, check_reachable
from tidelog.errors import MalformedMessageError, TidelogError
from tidelog.limits import PEER_RESPONSE_BYTES_MAX
from tidelog.protocol.codec import decode_response, encode_request_frame
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.frames import FrameSplitter
from tidelog.protocol.messages.metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
)
from tidelog.protocol.schema import Request, Response

R = TypeVar("R", bound=Response)

_METADATA_VERSION: Final = 9
_RECEIVE_BYTES: Final = 65536

Address = tuple[str, int]


class Wire:
    """The nodes of a cluster. Use it in a `with`."""

    def __init__(self, bootstrap: str) -> None:
        check_reachable(bootstrap)
        self._bootstrap = bootstrap
        self._connections: dict[Address, _Connection] = {}
        self._nodes: dict[int, Address] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for connection in self._connections.values():
            connection.close()

    def nodes(self) -> dict[int, Address]:
        """Where the live nodes are, by id."""
        if not self._nodes:
            self.metadata([])
        return self._nodes

    def metadata(self, topics: list[str]) -> MetadataResponse:
        """What the cluster says of the topics (all that are named must exist)."""
        request = MetadataRequest(
            topics=[MetadataRequestTopic(name=name) for name in topics],
            allow_auto_topic_creation=False,
        )
        return self._metadata(request)

    def all_topics(self) -> MetadataResponse:
        """What the cluster says of all its topics."""
        return self._metadata(MetadataRequest(topics=None, allow_auto_topic_creation=False))

    def _metadata(self, request: MetadataRequest) -> MetadataResponse:
        answer = self.ask_any(request, _METADATA_VERSION, MetadataResponse)
        self._nodes = {node.node_id: (node.host, node.port) for node in answer.brokers}
        for topic in answer.topics:
            check(topic.error_code, f"topic {topic.name}")
        return answer

    def ask_any(self, request: Request, version: int, answer: type[R]) -> R:
        """The answer of the first of the given addresses that gives one. Raises CommandError."""
        problem: CommandError | None = None
        for address in self._bootstrap.split(","):
            host, _, port = address.strip().rpartition(":")
            try:
                place = (host.strip("[]"), int(port))
                return self._ask(place, request, version, answer)
            except CommandError as error:
                problem = error
        assert problem is not None
        raise problem

    def ask(self, node_id: int, request: Request, version: int, answer: type[R]) -> R:
        """The node's answer. Raises CommandError."""
        if node_id not in self.nodes():
            raise CommandError(f"node {node_id} does not live")
        return self._ask(self.nodes()[node_id], request, version, answer)

    def _ask(self, address: Address, request: Request, version: int, answer: type[R]) -> R:
        try:
            connection = self._connections.get(address)
            if connection is None:
                connection = self._connections[address] = _Connection(address)
            found = connection.ask(request, version)
        except (OSError, TidelogError) as error:
            raise CommandError(f"{address[0]}:{address[1]}: {error}") from error
        assert isinstance(found, answer)
        return found


def check(code: int, what: str, message: str | None = None) -> None:
    """Raises CommandError for an error code."""
    if code:
        known = ErrorCode(code)
        raise CommandError(f"{what}: {message or known.text} ({known.name})")


class _Connection:
    def __init__(self, address: Address) -> None:
        self._socket = socket.create_connection(address, CONNECT_TIMEOUT_S)
        self._socket.settimeout(TIMEOUT_S)
        self._frames = FrameSplitter(PEER_RESPONSE_BYTES_MAX)
        self._next_id = 0

    def ask(self, request: Request, version: int) -> Response:
        self._next_id += 1
        self._socket.sendall(encode_request_frame(request, version, self._next_id, "tidelog"))
        while (frame := self._frames.next_frame()) is None:
            data = self._socket.recv(_RECEIVE_BYTES)
            if not data:
                raise ConnectionResetError("the node closed the connection")
            self._frames.feed(data)
        correlation_id, answer = decode_response(request.API, version, frame)
        if correlation_id != self._next_id:
            raise MalformedMessageError(f"answer {correlation_id} to request {self._next_id}")
        return answer

    def close(self) -> None:
        self._socket.close()
