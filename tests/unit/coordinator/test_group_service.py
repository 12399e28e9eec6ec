"""The group coordinator of a node: a real log behind it, requests as handlers make them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.coordinator.test_runtime import Replicas
from tests.unit.native.lane_harness import topic_id_of
from tidelog._native.partition import Partition
from tidelog.clock import ManualClock
from tidelog.config import BrokerConfig
from tidelog.coordinator.group_service import GroupService
from tidelog.errors import KafkaError
from tidelog.limits import GROUP_LOG_LINES_PER_SECOND
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import PartitionRecord, TopicRecord
from tidelog.protocol.codec import encode
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from tidelog.protocol.messages.heartbeat import HeartbeatRequest
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from tidelog.protocol.messages.leave_group import LeaveGroupRequest
from tidelog.protocol.messages.list_groups import ListGroupsRequest
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from tidelog.protocol.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
)
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
)
from tidelog.protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment


@dataclass
class Context:
    api_version: int
    client_id: str | None = "me"

    @property
    def connection(self) -> Any:
        return SimpleNamespace(client_host="127.0.0.1")


def image_with(*topics: str) -> MetadataImage:
    records: list[Any] = []
    for name in topics:
        records.append(TopicRecord(topic_id=topic_id_of(name), name=name))
        records.append(
            PartitionRecord(
                topic_id=topic_id_of(name),
                partition=0,
                replicas=(1,),
                isr=(1,),
                leader=1,
                leader_epoch=0,
                partition_epoch=0,
            )
        )
    return MetadataImage().apply(records, 1)


class GroupReplicas(Replicas):
    """Leads __consumer_offsets-0."""

    async def lead_offsets(self) -> None:
        await self.owner.roll()
        partition = Partition(
            b"__consumer_offsets", topic_id_of("__consumer_offsets"), 0, self.progress
        )
        partition.open_as_leader(self.owner.core)
        for listener in self.leadership_listeners:
            listener(partition, 0)


Started = Callable[..., Any]


@pytest.fixture
async def replicas(tmp_path: Path) -> GroupReplicas:
    return GroupReplicas(tmp_path)


@pytest.fixture
async def started(replicas: GroupReplicas) -> Any:
    image = image_with("__consumer_offsets", "t")
    service = GroupService(
        replicas,  # type: ignore[arg-type]
        ManualClock(),
        random.Random(1),
        image=lambda: image,
        config=BrokerConfig.resolve,
    )
    await replicas.lead_offsets()
    yield service
    await service.close()


def join(member_id: str = "", group: str = "g") -> JoinGroupRequest:
    return JoinGroupRequest(
        group_id=group,
        session_timeout_ms=10_000,
        rebalance_timeout_ms=10_000,
        member_id=member_id,
        protocol_type="consumer",
        protocols=[JoinGroupRequestProtocol(name="range", metadata=b"m")],
    )


@pytest.mark.parametrize("version", range(10))
async def test_one_consumer_through_its_life_in_every_version(
    started: GroupService, version: int
) -> None:
    context = Context(version)
    answer = await started.join_group(join(), context)
    encode(answer, version)
    if version >= 4:
        assert answer.error_code == 79
        answer = await started.join_group(join(answer.member_id), context)
        encode(answer, version)
    assert answer.error_code == 0
    member = answer.member_id
    assert member.startswith("me-")
    synced = await started.sync_group(
        SyncGroupRequest(
            group_id="g",
            generation_id=answer.generation_id,
            member_id=member,
            assignments=[SyncGroupRequestAssignment(member_id=member, assignment=b"all")],
        ),
        context,
    )
    assert synced.assignment == b"all"
    beat = await started.heartbeat(
        HeartbeatRequest(group_id="g", generation_id=answer.generation_id, member_id=member),
        context,
    )
    assert beat.error_code == 0
    committed = await started.commit_offsets(
        OffsetCommitRequest(
            group_id="g",
            generation_id_or_member_epoch=answer.generation_id,
            member_id=member,
            topics=[
                OffsetCommitRequestTopic(
                    name="t",
                    partitions=[
                        OffsetCommitRequestPartition(
                            partition_index=0, committed_offset=9, committed_metadata=None
                        )
                    ],
                )
            ],
        ),
        context,
    )
    assert committed.topics[0].partitions[0].error_code == 0
    fetched = await started.fetch_offsets(
        OffsetFetchRequestGroup(
            group_id="g", topics=[OffsetFetchRequestTopics(name="t", partition_indexes=[0])]
        ),
        False,
        context,
    )
    assert fetched.topics[0].partitions[0].committed_offset == 9
    left = await started.leave_group(LeaveGroupRequest(group_id="g", member_id=member), Context(1))
    assert left.error_code == 0


@pytest.mark.parametrize("version", [0, 6, 7, 9])
async def test_refusals_can_be_written_in_every_version(
    started: GroupService, version: int
) -> None:
    answer = await started.join_group(join(group=""), Context(version))
    assert answer.error_code == 24
    assert encode(answer, version)


async def committed(service: GroupService, group: str) -> list[int]:
    """Commits an offset for the group, which is none yet; what it has then."""
    partition = OffsetCommitRequestPartition(
        partition_index=0, committed_offset=9, committed_metadata=None
    )
    topics = [OffsetCommitRequestTopic(name="t", partitions=[partition])]
    await service.commit_offsets(OffsetCommitRequest(group_id=group, topics=topics), Context(8))
    return await offsets_of(service, group)


async def offsets_of(service: GroupService, group: str) -> list[int]:
    asked = OffsetFetchRequestGroup(group_id=group, topics=None)
    answer = await service.fetch_offsets(asked, False, Context(8))
    return [each.committed_offset for topic in answer.topics for each in topic.partitions]


async def test_groups_are_listed_described_and_deleted(started: GroupService) -> None:
    assert await committed(started, "g") == [9]
    (listed,) = started.list_groups(ListGroupsRequest(), Context(5)).groups
    assert (listed.group_id, listed.group_state, listed.group_type) == ("g", "Empty", "classic")
    assert started.list_groups(ListGroupsRequest(states_filter=["Stable"]), Context(5)).groups == []
    described = started.describe_classic("g", Context(6))
    assert (described.error_code, described.group_state) == (0, "Empty")
    request = OffsetDeleteRequest(
        group_id="g",
        topics=[
            OffsetDeleteRequestTopic(
                name="t", partitions=[OffsetDeleteRequestPartition(partition_index=0)]
            )
        ],
    )
    answer = await started.delete_offsets(request, Context(0))
    assert answer.topics[0].partitions[0].error_code == 0
    assert await offsets_of(started, "g") == []
    await started.delete_group("g", Context(2))
    assert started.describe_classic("g", Context(6)).error_code == 69
    with pytest.raises(KafkaError):
        await started.delete_group("g", Context(2))


async def test_offsets_end_with_their_topic(started: GroupService, replicas: GroupReplicas) -> None:
    for group in ("g", "h"):
        assert await committed(started, group) == [9]
    topic = image_with("t").topics["t"]
    for listener in replicas.deletion_listeners:
        listener(topic)
        listener(topic)
    while await offsets_of(started, "g") or await offsets_of(started, "h"):
        await asyncio.sleep(0.001)


async def test_offsets_of_a_deleted_topic_that_cannot_be_removed_are_told(
    started: GroupService, replicas: GroupReplicas, caplog: pytest.LogCaptureFixture
) -> None:
    assert await committed(started, "g") == [9]
    replicas.refuse = 56
    with caplog.at_level("WARNING"):
        for listener in replicas.deletion_listeners:
            listener(image_with("t").topics["t"])
        while not caplog.messages:
            await asyncio.sleep(0.001)
    assert caplog.messages == [
        "coordinator sweep ended topic=__consumer_offsets partition=0 error_code=16"
    ]
    assert await offsets_of(started, "g") == [9]


async def test_a_heartbeat_is_taken_while_the_group_is_loaded(
    started: GroupService, replicas: GroupReplicas
) -> None:
    """As in Kafka: aiokafka's consumer ends when it is told that the coordinator loads."""
    assert await committed(started, "g") == [9]
    for node_leads in (None, 1):
        partition = Partition(
            b"__consumer_offsets", topic_id_of("__consumer_offsets"), 0, replicas.progress
        )
        partition.open_as_leader(replicas.owner.core)
        for listener in replicas.leadership_listeners:
            listener(partition, node_leads)
    beat = HeartbeatRequest(group_id="g", generation_id=1, member_id="m")
    assert started.runtime.is_loading()
    assert (await started.heartbeat(beat, Context(4))).error_code == 0
    while started.runtime.is_loading():
        await asyncio.sleep(0.001)
    with pytest.raises(KafkaError):
        await started.heartbeat(beat, Context(4))


async def test_without_the_topic_there_is_no_coordinator(tmp_path: Path) -> None:
    service = GroupService(
        GroupReplicas(tmp_path),  # type: ignore[arg-type]
        ManualClock(),
        random.Random(1),
        image=lambda: image_with("t"),
        config=BrokerConfig.resolve,
    )
    assert (await service.join_group(join(), Context(9))).error_code == 16
    with pytest.raises(KafkaError):
        await service.heartbeat(HeartbeatRequest(group_id="g"), Context(4))


async def test_what_is_too_large_is_refused_and_told_in_the_log(
    started: GroupService, caplog: pytest.LogCaptureFixture
) -> None:
    group = "g" * 1000
    large = join(group=group)
    large.protocols[0].metadata = bytes(12 << 20)
    for _ in range(20):
        answer = await started.join_group(large, Context(9, "loud"))
        assert answer.error_code == ErrorCode.MESSAGE_TOO_LARGE
        encode(answer, 9)
    assert len(caplog.messages) == GROUP_LOG_LINES_PER_SECOND
    assert caplog.messages[0].startswith(f"group member refused group={'g' * 255} client=127.0.0.1")
    assert "client_id=loud reason=The member needs 1258" in caplog.messages[0]
    heartbeat = ConsumerGroupHeartbeatRequest(
        group_id="k",
        member_id="m",
        rebalance_timeout_ms=1000,
        subscribed_topic_names=[f"{i:01000d}" for i in range(5000)],
        topic_partitions=[],
    )
    with pytest.raises(KafkaError, match="more than the 4194304 of one member") as caught:
        await started.consumer_heartbeat(heartbeat, Context(1))
    assert caught.value.error_code == ErrorCode.INVALID_REQUEST
    assert (await started.join_group(join(group=group), Context(0))).error_code == 0


async def test_a_request_that_waits_keeps_no_reason(started: GroupService) -> None:
    request = join()
    request.reason = "x" * 1_000_000
    await started.join_group(request, Context(9))
    assert request.reason is None
