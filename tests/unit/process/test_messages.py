"""Every message between supervisor and worker comes back as what it was, with all that it may
carry.
"""

from __future__ import annotations

import typing

import msgspec
import pytest

from tidelog.controller.requests import CreateTopics, CreateTopicsAnswer, NewTopic
from tidelog.metadata.records import ConfigRecord, PartitionRecord, RemoveTopicRecord, TopicRecord
from tidelog.process import messages as m
from tidelog.process.metrics.samples import Buckets, NodeState, Samples

RECORDS = (
    TopicRecord(bytes(16), "t"),
    PartitionRecord(bytes(16), 0, (1,), (1,), 1, 0, 0),
    ConfigRecord(2, "t", "k", None),
    RemoveTopicRecord(bytes(16)),
)
TO_WORKER: list[msgspec.Struct] = [
    m.Configure(1, 2, "c" * 22, ("/d",), {"a": "b"}, ("PLAINTEXT",), 2000, "warning"),
    m.Snapshot(7, RECORDS, True),
    m.Delta(8, RECORDS),
    m.Answer(3, CreateTopicsAnswer(())),
    m.Serve(),
    m.Stop(100),
    m.Poll(True),
]
FROM_WORKER: list[msgspec.Struct] = [
    m.Hello(1),
    m.Heartbeat(),
    m.Applied(3),
    m.Ready(3),
    m.Serving(),
    m.Ask(1, CreateTopics((NewTopic("t"),))),
    m.SnapshotWanted(),
    m.Failed("why"),
    m.Polled(False, NodeState(True, 3, 1, 0), None),
    m.Polled(
        True,
        NodeState(),
        Samples({"a": [(("x", "y"), 1.5), ((), 2)]}, {"b": [Buckets(("x",), [1, 2], 0.5)]}),
    ),
]


@pytest.mark.parametrize(
    ("message", "union"),
    [(message, m.ToWorker) for message in TO_WORKER]
    + [(message, m.FromWorker) for message in FROM_WORKER],
)
def test_there_and_back(message: msgspec.Struct, union: object) -> None:
    data = msgspec.msgpack.encode(message)
    assert msgspec.msgpack.Decoder(union).decode(data) == message  # type: ignore[arg-type]


def test_every_kind_is_tested() -> None:
    assert {type(message) for message in TO_WORKER} == set(typing.get_args(m.ToWorker))
    assert {type(message) for message in FROM_WORKER} == set(typing.get_args(m.FromWorker))
