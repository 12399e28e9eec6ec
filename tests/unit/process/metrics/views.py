"""Nodes and clusters as a scrape may find them."""

from __future__ import annotations

import os
from typing import Any

from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import (
    ChangeRecord,
    Endpoint,
    NodeRecord,
    PartitionRecord,
    TopicRecord,
)
from tidelog.process.metrics.exposition import HostView, NodeView
from tidelog.process.metrics.samples import LogSample, NodeState, OffsetSample, Samples

TOPIC_ID = bytes(15) + b"\x01"


def image() -> MetadataImage:
    """Two nodes, one topic with two partitions, of which one has no leader."""
    records: list[ChangeRecord] = [
        NodeRecord(node, 1, None, (Endpoint("PLAINTEXT", "h", 1, "PLAINTEXT"),), "h", 1, False, "")
        for node in (1, 2)
    ]
    records.append(TopicRecord(TOPIC_ID, "orders"))
    records += [
        PartitionRecord(TOPIC_ID, 0, (1,), (1,), 1, 0, 0),
        PartitionRecord(TOPIC_ID, 1, (2,), (2,), -1, 0, 0),
    ]
    return MetadataImage().apply(records, 7)


SERVING = NodeState(True, 7, 0, 0)


def node(node_id: int = 1, **fields: Any) -> NodeView:
    given: dict[str, Any] = {"pid": os.getpid(), "deaths": 0, "state": SERVING} | fields
    return NodeView(node_id, **given)


def host(*nodes: NodeView) -> HostView:
    return HostView(image(), nodes, os.getpid())


def samples(values: dict[str, Any], *more: LogSample | OffsetSample, **histograms: Any) -> Samples:
    logs = [one for one in more if isinstance(one, LogSample)]
    offsets = [one for one in more if isinstance(one, OffsetSample)]
    return Samples(values, histograms, logs, offsets)
