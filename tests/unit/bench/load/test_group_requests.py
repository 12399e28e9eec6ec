"""Hand-made requests of members are read by the broker's codec, and its answers by them."""

from __future__ import annotations

from typing import Any

from bench.load import group_requests as wire
from tidelog.benchmarks.cluster import Reader
from tidelog.protocol.codec import decode, encode
from tidelog.protocol.messages.consumer_group_heartbeat import (
    Assignment,
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
    TopicPartitions,
)
from tidelog.protocol.messages.heartbeat import HeartbeatRequest
from tidelog.protocol.messages.join_group import (
    JoinGroupRequest,
    JoinGroupResponse,
    JoinGroupResponseMember,
)
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from tidelog.protocol.messages.sync_group import SyncGroupRequest
from tidelog.protocol.records.consumer_protocol import decode_assignment, decode_subscription


def read(message: type, api_key: int, body: bytes, skip: int = 0) -> Any:
    return decode(message, wire.VERSIONS[api_key], body[skip:])


def answer(message: Any, api_key: int, tags: bytes = b"") -> Reader:
    return Reader(tags + bytes(encode(message, wire.VERSIONS[api_key])))


def test_join_and_sync() -> None:
    asked = read(JoinGroupRequest, wire.JOIN_GROUP, wire.join_group("g", "m", "t", 10_000))
    assert (asked.group_id, asked.member_id, asked.session_timeout_ms) == ("g", "m", 10_000)
    (protocol,) = asked.protocols
    assert (protocol.name, decode_subscription(protocol.metadata).topics) == ("range", ["t"])
    members = [JoinGroupResponseMember(member_id=m, metadata=b"xyz") for m in ("a", "b")]
    told = JoinGroupResponse(
        generation_id=4, protocol_name="range", leader="a", member_id="a", members=members
    )
    found = wire.joined(answer(told, wire.JOIN_GROUP))
    assert found == wire.Joined(0, 4, "a", "a", ("a", "b"))
    parts = {"a": wire.assignment("t", [0, 2])}
    synced = read(SyncGroupRequest, wire.SYNC_GROUP, wire.sync_group("g", 4, "a", parts))
    (part,) = synced.assignments
    (topic,) = decode_assignment(part.assignment).assigned_partitions
    assert (part.member_id, topic.topic, topic.partitions) == ("a", "t", [0, 2])


def test_heartbeat_and_commit() -> None:
    beat = read(HeartbeatRequest, wire.HEARTBEAT, wire.heartbeat("g", 3, "m"))
    assert (beat.group_id, beat.generation_id, beat.member_id) == ("g", 3, "m")
    body = wire.offset_commit("g", 3, "m", "t", 1, 77)
    (topic,) = read(OffsetCommitRequest, wire.OFFSET_COMMIT, body).topics
    (partition,) = topic.partitions
    assert (topic.name, partition.partition_index, partition.committed_offset) == ("t", 1, 77)
    told = OffsetCommitResponse(
        topics=[
            OffsetCommitResponseTopic(
                name="t",
                partitions=[OffsetCommitResponsePartition(partition_index=1, error_code=22)],
            )
        ]
    )
    assert wire.offset_committed(answer(told, wire.OFFSET_COMMIT)) == 22


def test_heartbeats_of_the_consumer_protocol() -> None:
    key = wire.CONSUMER_HEARTBEAT
    full = wire.consumer_heartbeat("g", "", 0, "t")
    joins = read(ConsumerGroupHeartbeatRequest, key, full, skip=1)
    assert (joins.member_epoch, joins.subscribed_topic_names, joins.topic_partitions) == (
        0,
        ["t"],
        [],
    )
    stays = read(
        ConsumerGroupHeartbeatRequest, key, wire.consumer_heartbeat("g", "m", 5, None), skip=1
    )
    assert (stays.member_id, stays.member_epoch, stays.topic_partitions) == ("m", 5, None)
    owns = wire.consumer_heartbeat_owning("g", "m", 5, [(b"i" * 16, (1, 2))])
    (topic,) = read(ConsumerGroupHeartbeatRequest, key, owns, skip=1).topic_partitions
    assert (topic.topic_id, topic.partitions) == (b"i" * 16, [1, 2])
    told = ConsumerGroupHeartbeatResponse(
        member_id="m",
        member_epoch=6,
        assignment=Assignment(
            topic_partitions=[TopicPartitions(topic_id=b"i" * 16, partitions=[1, 2])]
        ),
    )
    beat = wire.consumer_beat(answer(told, key, b"\0"))
    assert beat == wire.Beat(0, "m", 6, ((b"i" * 16, (1, 2)),))
    told.assignment = None
    assert wire.consumer_beat(answer(told, key, b"\0")).assigned is None
