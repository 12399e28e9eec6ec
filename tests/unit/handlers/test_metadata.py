"""Metadata: topics by name and id, auto creation, addresses, errors, the cache."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from tests.unit.controller.worlds import node as node_record
from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import CreateTopics, NewTopic, ReportOffline
from tidelog.metadata.records import Endpoint, PartitionRecord
from tidelog.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic

UNKNOWN_ID = b"\x01" * 16


def ask_for(*names: str | None, ids: tuple[bytes, ...] = (), **words: Any) -> MetadataRequest:
    topics = [MetadataRequestTopic(name=name) for name in names]
    topics += [MetadataRequestTopic(name=None, topic_id=topic_id) for topic_id in ids]
    return MetadataRequest(topics=topics, **words)


def codes(answer: Any) -> dict[str, int]:
    return {topic.name: topic.error_code for topic in answer.topics}


@pytest.mark.parametrize("version", range(14))
async def test_a_topic_in_every_version(version: int) -> None:
    node = Node(nodes=2)
    await node.create(NewTopic("t", 2, 1))
    answer = await node.ask(ask_for("t"), version)
    assert [(b.node_id, b.host, b.port) for b in answer.brokers] == [
        (1, "127.0.0.1", 9092),
        (2, "127.0.0.1", 9093),
    ]
    (topic,) = answer.topics
    assert (topic.error_code, topic.name, topic.is_internal) == (0, "t", False)
    known = node.image.topics["t"]
    assert topic.topic_id == (known.topic_id if version >= 10 else bytes(16))
    for found, expected in zip(topic.partitions, known.partitions, strict=True):
        assert (found.error_code, found.partition_index) == (0, expected.index)
        assert (found.leader_id, found.replica_nodes) == (expected.leader, [expected.leader])
        assert found.leader_epoch == (0 if version >= 7 else -1)
    assert answer.controller_id == (1 if version >= 1 else -1)


@pytest.mark.parametrize(("version", "count"), [(0, 2), (1, 0), (13, 0)])
async def test_an_empty_list_means_all_in_version_0_only(version: int, count: int) -> None:
    node = Node()
    await node.create(NewTopic("a", 1, 1), NewTopic("b", 1, 1))
    assert len((await node.ask(ask_for(), version)).topics) == count
    if version:
        assert len((await node.ask(MetadataRequest(topics=None), version)).topics) == 2


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("none", 3),
        ("bad name", 17),
        ("", 17),
        (".", 17),
        ("x" * 250, 17),
        ("__transaction_state", 3),
    ],
)
async def test_missing_topics(name: str, code: int) -> None:
    answer = await Node().ask(ask_for(name, name, allow_auto_topic_creation=False), 9)
    (topic,) = answer.topics
    assert (topic.error_code, topic.name, topic.partitions) == (code, name, [])
    assert topic.is_internal == name.startswith("__")
    assert answer.brokers


async def test_topic_ids() -> None:
    node = Node()
    await node.create(NewTopic("t", 1, 1))
    topic_id = node.image.topics["t"].topic_id
    answer = await node.ask(ask_for("ignored", ids=(topic_id, UNKNOWN_ID)), 12)
    assert [(t.error_code, t.name, t.topic_id) for t in answer.topics] == [
        (0, "t", topic_id),
        (100, None, UNKNOWN_ID),
    ]


@pytest.mark.parametrize(
    ("request_", "version"),
    [
        (ask_for(ids=(UNKNOWN_ID,)), 10),
        (ask_for(None), 11),
        (ask_for(None), 13),
        (MetadataRequest(topics=[MetadataRequestTopic(name="t", topic_id=UNKNOWN_ID)]), 11),
    ],
)
async def test_requests_that_make_no_sense(request_: MetadataRequest, version: int) -> None:
    answer = await Node().ask(request_, version)
    assert [topic.error_code for topic in answer.topics] == [42]
    assert (answer.brokers, answer.error_code) == ([], 42 if version >= 13 else 0)


async def test_authorized_operations_without_an_authorizer() -> None:
    node = Node()
    await node.create(NewTopic("t", 1, 1))
    request = ask_for(
        "t",
        include_topic_authorized_operations=True,
        include_cluster_authorized_operations=True,
    )
    answer = await node.ask(request, 8)
    assert answer.topics[0].topic_authorized_operations == 3576
    assert answer.cluster_authorized_operations == 8096
    answer = await node.ask(ask_for("t"), 8)
    assert answer.topics[0].topic_authorized_operations == -(1 << 31)


# --- creation by use ---------------------------------------------------------------------------


async def test_a_missing_topic_is_created_and_its_leaders_named() -> None:
    node = Node(static={"num.partitions": "3"})
    answer = await node.ask(ask_for("new", "bad name"), 9)
    assert codes(answer) == {"new": 0, "bad name": 17}
    assert len(answer.topics[0].partitions) == 3
    assert all(p.leader_id > 0 and p.error_code == 0 for p in answer.topics[0].partitions)
    assert node.requests == [CreateTopics((NewTopic("new"),), automatic=True)]


@pytest.mark.parametrize("setting", ["request", "broker"])
async def test_creation_can_be_off(setting: str) -> None:
    off = setting == "broker"
    node = Node(static={"auto.create.topics.enable": "false"} if off else {})
    answer = await node.ask(ask_for("new", allow_auto_topic_creation=off), 9)
    assert codes(answer) == {"new": 3}
    assert not node.requests


async def test_versions_before_4_always_allow_creation() -> None:
    assert codes(await Node().ask(ask_for("new"), 3)) == {"new": 0}


async def test_all_topics_create_nothing() -> None:
    node = Node()
    assert (await node.ask(MetadataRequest(topics=None), 9)).topics == []
    assert not node.requests


async def test_clients_that_want_the_same_topic_share_its_creation() -> None:
    node = Node()
    answers = await asyncio.gather(*(node.ask(ask_for("new"), 9) for _ in range(5)))
    assert all(codes(answer) == {"new": 0} for answer in answers)
    assert len(node.requests) == 1


async def test_a_new_topic_that_this_node_does_not_know_yet() -> None:
    node = Node()
    await node.follow()
    node.lagging = True
    assert codes(await node.ask(ask_for("new"), 9)) == {"new": 5}
    assert codes(await node.ask(ask_for("new"), 9)) == {"new": 5}  # exists already, still unknown
    node.lagging = False
    assert codes(await node.ask(ask_for("new"), 9)) == {"new": 0}


async def test_creation_that_fails_or_takes_too_long() -> None:
    node = Node(static={"default.replication.factor": "9"})
    assert codes(await node.ask(ask_for("new"), 9)) == {"new": 38}
    node.silent = True
    assert codes(await node.ask(ask_for("new"), 9)) == {"new": 7}


async def test_a_name_that_collides_is_refused() -> None:
    node = Node()
    await node.create(NewTopic("a.b", 1, 1))
    assert codes(await node.ask(ask_for("a_b"), 9)) == {"a_b": 17}


# --- nodes -------------------------------------------------------------------------------------


async def test_a_partition_whose_leader_is_gone() -> None:
    node = Node(nodes=2)
    await node.create(NewTopic("t", 2, 1))
    node.controller.apply(node_record(2, fenced=True, epoch=1))
    answer = await node.ask(ask_for("t"), 9)
    assert [broker.node_id for broker in answer.brokers] == [1]
    lost = next(p for p in answer.topics[0].partitions if p.replica_nodes == [2])
    assert (lost.error_code, lost.leader_id, lost.offline_replicas) == (5, -1, [2])
    topic = node.image.topics["t"]
    node.controller.apply(PartitionRecord(topic.topic_id, 0, (1,), (1,), -1, 1, 1))
    answer = await node.ask(ask_for("t"), 9)
    assert (answer.topics[0].partitions[0].error_code, answer.controller_id) == (5, 1)


async def test_a_replica_whose_disk_is_gone() -> None:
    node = Node(nodes=1)
    await node.create(NewTopic("t", 2, 1))
    topic = node.image.topics["t"]
    node.controller.ask(ReportOffline(1, node.image.nodes[1].epoch, ((topic.topic_id, 1),)))
    first, second = (await node.ask(ask_for("t"), 9)).topics[0].partitions
    assert (first.error_code, first.leader_id, first.offline_replicas) == (0, 1, [])
    assert (second.error_code, second.leader_id, second.offline_replicas) == (5, -1, [1])


@pytest.mark.parametrize(("version", "code"), [(5, 5), (6, 72)])
async def test_a_leader_without_the_connections_listener(version: int, code: int) -> None:
    node = Node(nodes=2)
    await node.create(NewTopic("t", 2, 1))
    other = msgspec.structs.replace(node_record(2, epoch=1), endpoints=(Endpoint("OTHER", "", 1),))
    node.controller.apply(other)
    answer = await node.ask(ask_for("t"), version)
    assert [broker.node_id for broker in answer.brokers] == [1]
    assert {p.error_code for p in answer.topics[0].partitions} == {0, code}


# --- the cache ---------------------------------------------------------------------------------


async def test_answers_are_kept_until_the_metadata_changes() -> None:
    node = Node()
    await node.create(NewTopic("t", 1, 1))
    first = await node.ask(ask_for("t"), 9)
    assert node.services.metadata_cache._bodies
    assert await node.ask(ask_for("t"), 9) == first
    await node.create(NewTopic("u", 1, 1))
    assert codes(await node.ask(MetadataRequest(topics=None), 9)) == {"t": 0, "u": 0}


async def test_answers_with_errors_are_not_kept() -> None:
    node = Node()
    await node.ask(ask_for("t", allow_auto_topic_creation=False), 9)
    assert not node.services.metadata_cache._bodies


async def test_the_cache_tells_apart_what_answers_depend_on() -> None:
    node = Node()
    await node.create(NewTopic("t", 1, 1))
    plain = await node.ask(ask_for("t"), 9)
    node.connection.local_host = "10.1.1.1"
    assert (await node.ask(ask_for("t"), 9)).brokers[0].host == "10.1.1.1"
    node.connection.local_host = "127.0.0.1"
    node.connection.listener = "NONE"
    assert (await node.ask(ask_for("t"), 9)).brokers == []
    node.connection.listener = "PLAINTEXT"
    with_operations = ask_for("t", include_topic_authorized_operations=True)
    assert (await node.ask(with_operations, 9)).topics[0].topic_authorized_operations == 3576
    assert await node.ask(ask_for("t"), 9) == plain
