"""Addresses: advertised ones as they are, otherwise the one on which the client came in."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.controller.worlds import node as node_record
from tests.unit.handlers.worlds import Node
from tidelog.handlers.context import RequestContext
from tidelog.handlers.nodes import live_addresses
from tidelog.metadata.records import Endpoint
from tidelog.protocol.api import ApiKey

Expected = dict[int, tuple[str, int]]


@pytest.mark.parametrize(
    ("host", "internode_host", "listener", "expected"),
    [
        ("", "127.0.0.1", "PLAINTEXT", {1: ("10.0.0.5", 9092), 2: ("10.0.0.5", 7777)}),
        ("k.example", "127.0.0.1", "PLAINTEXT", {1: ("10.0.0.5", 9092), 2: ("k.example", 7777)}),
        ("", "192.0.2.9", "PLAINTEXT", {1: ("10.0.0.5", 9092), 2: ("192.0.2.9", 7777)}),
        ("", "127.0.0.1", "OTHER", {}),
    ],
)  # fmt: skip
def test_addresses(host: str, internode_host: str, listener: str, expected: Expected) -> None:
    node = Node(nodes=2)
    other = msgspec.structs.replace(
        node_record(2, epoch=1),
        endpoints=(Endpoint("PLAINTEXT", host, 7777),),
        internode_host=internode_host,
        rack="r2",
    )
    node.controller.apply(other)
    image = node.controller.image
    node.connection.local_host, node.connection.listener = "10.0.0.5", listener
    context = RequestContext(ApiKey.METADATA, 9, 1, None, node.connection, node.services)
    found = live_addresses(image, context)
    assert {n: (each.host, each.port) for n, each in found.items()} == expected
    if 2 in found:
        assert (found[2].rack, found[2].fenced) == ("r2", False)
    node.controller.apply(msgspec.structs.replace(other, fenced=True))
    assert 2 not in live_addresses(node.controller.image, context)
