"""Requests of the command line that no client library has: nodes, answers, and what goes wrong."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tidelog.cli.cluster import CommandError
from tidelog.cli.wire import Wire, check
from tidelog.protocol.api import ApiKey
from tidelog.protocol.codec import decode_request, encode_response_frame
from tidelog.protocol.headers import parse_request_header
from tidelog.protocol.messages.list_transactions import (
    ListTransactionsRequest,
    ListTransactionsResponse,
    TransactionState,
)
from tidelog.protocol.messages.metadata import (
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponseTopic,
)

Answer = Callable[[int, Any], bytes]


@contextmanager
def node(answer: Answer) -> Iterator[tuple[str, list[Any]]]:
    """A node 7 that answers metadata itself and all else by `answer(correlation id, request)`."""
    seen: list[Any] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while size := self.rfile.read(4):
                frame = self.rfile.read(int.from_bytes(size, "big"))
                header = parse_request_header(frame)
                request = decode_request(
                    header.api_key, header.api_version, frame, header.body_offset
                )
                seen.append(request)
                if header.api_key == ApiKey.METADATA:
                    topics = [
                        MetadataResponseTopic(name=topic.name, error_code=3)
                        for topic in request.topics or ()
                    ]
                    host, port = self.server.server_address[:2]
                    brokers = [MetadataResponseBroker(node_id=7, host=host, port=port)]
                    found = MetadataResponse(brokers=brokers, topics=topics)
                    data = encode_response_frame(found, header.api_version, header.correlation_id)
                else:
                    data = answer(header.correlation_id, request)
                if not data:
                    return
                self.wfile.write(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}", seen
        finally:
            server.shutdown()
            thread.join()


def listed(correlation_id: int, request: Any) -> bytes:
    answer = ListTransactionsResponse(
        transaction_states=[TransactionState(transactional_id=f"tx-{request.duration_filter}")]
    )
    return encode_response_frame(answer, 1, correlation_id)


def test_a_node_is_asked_by_its_id() -> None:
    with node(listed) as (bootstrap, seen), Wire(bootstrap) as wire:
        assert list(wire.nodes()) == [7]
        for duration in (1, 2):
            request = ListTransactionsRequest(duration_filter=duration)
            answer = wire.ask(7, request, 1, ListTransactionsResponse)
            assert answer.transaction_states[0].transactional_id == f"tx-{duration}"
        assert len(seen) == 3
        with pytest.raises(CommandError, match=r"node 8 does not live"):
            wire.ask(8, ListTransactionsRequest(), 1, ListTransactionsResponse)


def test_an_unknown_topic() -> None:
    with node(listed) as (bootstrap, seen), Wire(bootstrap) as wire:
        with pytest.raises(CommandError, match=r"topic nosuch: .*UNKNOWN_TOPIC_OR_PARTITION"):
            wire.metadata(["nosuch"])
        assert not seen[0].allow_auto_topic_creation


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda i, r: b"", "closed the connection"),
        (lambda i, r: listed(i + 1, r), "answer"),
        (lambda i, r: b"\x7f\xff\xff\xff", "frame"),
        (lambda i, r: b"\x00\x00\x00\x06\x00\x00\x00\x02\xff\xff", "127.0.0.1"),
    ],
    ids=["end", "another's", "too large", "garbage"],
)
def test_rubbish_is_one_clear_line(answer: Answer, hint: str) -> None:
    with node(answer) as (bootstrap, _), Wire(bootstrap) as wire:
        wire.nodes()
        with pytest.raises(CommandError, match=hint):
            wire.ask(7, ListTransactionsRequest(), 1, ListTransactionsResponse)


def test_check() -> None:
    check(0, "x")
    with pytest.raises(CommandError, match=r"x: .* \(CONCURRENT_TRANSACTIONS\)"):
        check(51, "x")
    with pytest.raises(CommandError, match=r"x: so it is \(INVALID_TXN_STATE\)"):
        check(48, "x", "so it is")
