"""Nodes as a client sees them: who is alive, and under which address.

Pure; belongs to no task. An endpoint with a host was advertised (`advertised.listeners`) and is
passed on as it is. Without one the client gets the address on which its own connection was
accepted, with the port of the node in question: whoever reached one worker of a host by that
address reaches its other workers by it too. A node of another host that advertises nothing is named
by the address that the nodes themselves use.
"""

from __future__ import annotations

from typing import NamedTuple

from tidelog.handlers.context import RequestContext
from tidelog.metadata.image import MetadataImage, NodeImage


class Address(NamedTuple):
    """Where a client reaches a node."""

    node_id: int
    host: str
    port: int
    rack: str | None
    fenced: bool


def address_of(node: NodeImage, image: MetadataImage, context: RequestContext) -> Address | None:
    """The node's address for this connection; None when it has no such listener."""
    connection = context.connection
    endpoint = node.endpoint(connection.listener)
    if endpoint is None:
        return None
    host = endpoint.host
    if not host:
        own = image.nodes.get(context.services.node_id)
        same_host = own is None or own.internode_host == node.internode_host
        host = connection.local_host if same_host else node.internode_host
    return Address(node.node_id, host, endpoint.port, node.rack, node.fenced)


def live_addresses(image: MetadataImage, context: RequestContext) -> dict[int, Address]:
    """The live nodes by id, those without the connection's listener left out."""
    found: dict[int, Address] = {}
    for node in image.alive_nodes():
        address = address_of(node, image, context)
        if address is not None:
            found[node.node_id] = address
    return found
