"""The replica manager: table, gates and logs follow the metadata; internal writers."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.handlers.worlds import FakeLog, Node
from tidelog._native.log import STATUS_APPENDED, STATUS_NEEDS_ROLL, STATUS_REFUSED
from tidelog._native.partition import Partition
from tidelog.config import TopicConfig
from tidelog.controller.requests import (
    AlterConfigs,
    AlterOperation,
    ConfigChange,
    CreatePartitions,
    DeleteTopics,
    MorePartitions,
    NewTopic,
    ReplicaAssignment,
    ResourceChange,
    TopicReference,
)
from tidelog.errors import InvariantError, KafkaError
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import PartitionRecord
from tidelog.replication.replica_manager import AppendOutcome

Listened = list[tuple[str, int, int | None]]


def manual(name: str, *nodes: int) -> NewTopic:
    return NewTopic(
        name, assignments=tuple(ReplicaAssignment(i, (node,)) for i, node in enumerate(nodes))
    )


async def world(*topics: NewTopic, nodes: int = 2) -> Node:
    node = Node(nodes=nodes)
    await node.create(*topics)
    return node


def code_of(node: Node, topic: str, index: int, epoch: int = -1) -> int:
    try:
        assert node.replicas.leader(topic, index, epoch).is_leader
    except KafkaError as error:
        return error.error_code
    return 0


def listen(node: Node) -> Listened:
    heard: Listened = []
    node.replicas.leadership_listeners.append(
        lambda partition, epoch: heard.append((partition.topic.decode(), partition.index, epoch))
    )
    return heard


# --- following the metadata ----------------------------------------------------------------------


async def test_new_topics() -> None:
    node = await world(manual("t", 1, 2, 1))
    assert [code_of(node, "t", index) for index in range(4)] == [0, 6, 0, 3]
    assert code_of(node, "none", 0) == 3
    assert [(log.topic, log.index) for log in node.logs.logs()] == [("t", 0), ("t", 2)]
    assert node.log("t").epochs == [(0, 0)]
    topic_id = node.image.topics["t"].topic_id
    found = node.replicas.partition_by_id(topic_id, 1)
    assert found is node.replicas.partition("t", 1) is not None
    assert found.leader_id == 2
    assert node.replicas.partition_by_id(topic_id, 3) is None
    assert node.replicas.partition_by_id(bytes(16), 0) is None


@pytest.mark.parametrize(("epoch", "code"), [(-1, 0), (0, 0), (1, 75), (-2, 74)])
async def test_leader_epochs_are_checked(epoch: int, code: int) -> None:
    node = await world(manual("t", 1, 2))
    assert code_of(node, "t", 0, epoch) == code
    assert code_of(node, "t", 1, epoch) == 6


# --- logs that are recovered for long


async def recovering() -> tuple[Node, FakeLog]:
    """A node that follows its first image while t-0 is being recovered; the log that it will be."""
    node = Node(nodes=2)
    node.logs.opening["t", 0] = asyncio.Event()
    await node.create(manual("t", 1, 1))
    topic = node.image.topics["t"]
    return node, FakeLog("t", topic.topic_id, 0, TopicConfig.resolve())


async def until(condition: Callable[[], object]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError


async def test_the_others_are_served_meanwhile() -> None:
    node, log = await recovering()
    heard = listen(node)
    assert [code_of(node, "t", index) for index in (0, 1)] == [6, 0]
    node.logs.end_opening(log)
    await until(lambda: heard)
    assert heard == [("t", 0, 0)]
    assert code_of(node, "t", 0) == 0
    assert log.epochs == [(0, 0)]


async def test_a_late_log_serves_as_the_metadata_says_by_then() -> None:
    node, log = await recovering()
    topic_id = node.image.topics["t"].topic_id
    node.controller.apply(PartitionRecord(topic_id, 0, (1,), (1,), 1, 7, 7))
    await node.follow()
    node.logs.end_opening(log)
    await until(lambda: code_of(node, "t", 0) == 0)
    assert log.epochs == [(7, 0)]


async def test_a_topic_that_is_deleted_while_its_log_is_recovered() -> None:
    node, log = await recovering()
    node.controller.ask(DeleteTopics((TopicReference("t"),)))
    following = asyncio.ensure_future(node.follow())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not following.done()
    node.logs.end_opening(log)
    await following
    assert log.deleted
    assert node.logs.logs() == []


async def test_a_node_that_stops_serves_no_late_log() -> None:
    node, log = await recovering()
    await node.replicas.shutdown()
    node.logs.end_opening(log)
    for _ in range(10):
        await asyncio.sleep(0)
    assert code_of(node, "t", 0) == 6


async def test_deleted_topics() -> None:
    node = await world(manual("t", 1, 1), manual("u", 1))
    partition, log, heard = node.replicas.partition("t", 0), node.log("t"), listen(node)
    deleted: list[str] = []
    node.replicas.deletion_listeners.append(lambda topic: deleted.append(topic.name))
    node.controller.ask(DeleteTopics((TopicReference("t"),)))
    await node.follow()
    assert partition is not None
    assert partition.error_code == 3
    assert code_of(node, "t", 0) == 3
    assert log.deleted
    assert log.on_progress is None
    assert [each.topic for each in node.logs.logs()] == ["u"]
    assert heard == [("t", 0, None), ("t", 1, None)]
    assert deleted == ["t"]


async def test_a_topic_deleted_and_made_again_between_two_images() -> None:
    node = await world(manual("t", 1))
    old_log, old = node.log("t"), node.replicas.partition("t", 0)
    node.controller.ask(DeleteTopics((TopicReference("t"),)))
    assert node.controller.create(manual("t", 1)) == [0]
    await node.follow()
    assert old is not None
    assert (old.error_code, old_log.deleted) == (3, True)
    assert node.log("t") is not old_log
    assert code_of(node, "t", 0) == 0


async def test_more_partitions_keep_the_old_ones() -> None:
    node = await world(manual("t", 1, 2))
    old = node.replicas.partition("t", 0)
    heard = listen(node)
    node.controller.ask(CreatePartitions((MorePartitions("t", 4, ((1,), (2,))),)))
    await node.follow()
    assert node.replicas.partition("t", 0) is old
    assert [code_of(node, "t", index) for index in range(4)] == [0, 6, 0, 6]
    assert heard == [("t", 2, 0)]


async def test_a_leader_change() -> None:
    node = await world(manual("t", 1))
    topic_id = node.image.topics["t"].topic_id
    heard = listen(node)
    partition = node.replicas.partition("t", 0)
    # This node's next life: the same leader under a higher epoch, without a moment of closed gates.
    node.controller.apply(PartitionRecord(topic_id, 0, (1,), (1,), 1, 3, 1))
    await node.follow()
    assert partition is node.replicas.partition("t", 0) is not None
    assert (partition.leader_epoch, code_of(node, "t", 0, 3), code_of(node, "t", 0, 0)) == (
        3,
        0,
        74,
    )
    assert node.log("t").epochs == [(0, 0), (3, 0)]
    # Nobody leads.
    node.controller.apply(PartitionRecord(topic_id, 0, (1,), (1,), -1, 4, 2))
    await node.follow()
    assert code_of(node, "t", 0) == 6
    assert node.logs.get("t", 0) is not None
    # It leads again.
    node.controller.apply(PartitionRecord(topic_id, 0, (1,), (1,), 1, 5, 3))
    await node.follow()
    assert code_of(node, "t", 0, 5) == 0
    # The replica moves away.
    node.controller.apply(PartitionRecord(topic_id, 0, (2,), (2,), 2, 6, 4))
    await node.follow()
    assert code_of(node, "t", 0) == 6
    assert node.logs.get("t", 0) is None
    assert heard == [("t", 0, 3), ("t", 0, None), ("t", 0, 5), ("t", 0, None)]


async def test_logs_that_are_there_already_are_used() -> None:
    """A start: the log manager loaded the logs before the first image is applied."""
    node = Node(nodes=2)
    assert node.controller.create(manual("t", 1, 1)) == [0]
    topic = node.controller.image.topics["t"]
    kept = await node.logs.create("t", topic.topic_id, 0, node.node_config.topic(node.image, "t"))
    kept.set_offsets(5, 50)
    other = await node.logs.create("t", bytes(16), 1, node.node_config.topic(node.image, "t"))
    await node.follow()
    assert node.log("t", 0) is kept
    partition = node.replicas.leader("t", 0)
    assert (partition.high_watermark, partition.local_end) == (50, 50)
    assert kept.epochs == [(0, 50)]
    # A log of another topic of that name is neither served nor deleted.
    assert code_of(node, "t", 1) == 56
    assert not other.deleted


async def test_a_disk_that_fails_takes_its_partition_offline(
    caplog: pytest.LogCaptureFixture,
) -> None:
    node = Node(nodes=1)
    node.logs.broken = {"t"}
    with caplog.at_level(logging.ERROR):
        await node.create(manual("t", 1), manual("u", 1))
    assert (code_of(node, "t", 0), code_of(node, "u", 0)) == (56, 0)
    assert len(caplog.records) == 1


async def test_a_log_that_found_no_room_is_made_when_there_is_some(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidelog.replication.replica_manager.MAKE_AGAIN_S", 0.001)
    node = Node(nodes=1)
    node.logs.broken = {"t"}
    await node.create(manual("t", 1))
    heard = listen(node)
    while node.logs.tries < 4:
        await asyncio.sleep(0.001)
    assert code_of(node, "t", 0) == 56
    assert caplog.text.count("log cannot be made yet") == 1
    node.logs.broken = set()
    while not heard:
        await asyncio.sleep(0.001)
    assert (heard, code_of(node, "t", 0)) == ([("t", 0, 0)], 0)


async def test_a_log_that_fails_later() -> None:
    node = await world(manual("t", 1))
    heard, log = listen(node), node.log("t")
    node.logs.on_offline(log, OSError(5, "input/output error"))
    assert code_of(node, "t", 0) == 56
    assert heard == [("t", 0, None)]


async def test_an_isr_that_was_told_before_may_come_with_more() -> None:
    """The last ISR of a reassignment is answered to the leader before the image has it, with the
    replicas and the leader epoch that hold from then on.
    """
    copies = (ReplicaAssignment(0, (1, 2)), ReplicaAssignment(1, (1, 2)))
    node = await world(NewTopic("t", assignments=copies))
    topic_id = node.image.topics["t"].topic_id
    heard = listen(node)
    partition = node.replicas.leader("t", 0)
    partition.set_isr((1,), 5)
    # What the image says of before is not followed any more.
    node.controller.apply(PartitionRecord(topic_id, 0, (1, 2), (1, 2), 1, 0, 4))
    await node.follow()
    assert (partition.isr, partition.partition_epoch, heard) == ((1,), 5, [])
    node.controller.apply(PartitionRecord(topic_id, 0, (1,), (1,), 1, 1, 5))
    await node.follow()
    assert (partition.replicas, partition.leader_epoch) == ((1,), 1)
    assert (code_of(node, "t", 0, 1), heard) == (0, [("t", 0, 1)])


async def test_config_changes() -> None:
    node = await world(manual("t", 1), manual("u", 1))

    async def change(kind: int, name: str, key: str, value: str) -> None:
        resource = ResourceChange(kind, name, (ConfigChange(key, value),))
        node.controller.ask(AlterConfigs((resource,)))
        await node.follow()

    await change(2, "t", "segment.ms", "9000")
    for value, effective in (("2", 1), ("1", 1)):
        await change(2, "t", "min.insync.replicas", value)
        partition = node.replicas.leader("t", 0)
        assert partition.min_insync_replicas == effective
    assert (node.log("t").config.segment_ms, node.log("u").config.segment_ms) == (9000, 604800000)
    await change(4, "", "log.roll.ms", "7000")
    assert (node.log("t").config.segment_ms, node.log("u").config.segment_ms) == (9000, 7000)
    await change(4, "2", "log.roll.ms", "1")
    assert node.log("u").config.segment_ms == 7000
    untouched = node.log("u").config
    await change(2, "t", "retention.ms", "5")
    assert node.log("u").config is untouched


async def test_whose_copies_are_throttled() -> None:
    """KIP-73: this node is 1; the lists name replicas, as leaders and as followers."""
    copies = tuple(ReplicaAssignment(i, replicas) for i, replicas in enumerate(((1, 2), (2, 1))))
    node = await world(NewTopic("t", assignments=copies))
    lists = {side: f"{side}.replication.throttled.replicas" for side in ("leader", "follower")}

    async def change(side: str, value: str | None) -> list[object]:
        how = AlterOperation.DELETE if value is None else AlterOperation.SET
        resource = ResourceChange(2, "t", (ConfigChange(lists[side], value, how),))
        node.controller.ask(AlterConfigs((resource,)))
        await node.follow()
        return throttles()

    def throttles() -> list[object]:
        return [p.throttle for p in node.table.get(b"t").partitions]  # type: ignore[union-attr]

    leader, follower = node.throttles.leader, node.throttles.follower
    assert throttles() == [None, None]
    # Node 1 follows 1, and leads 0: each list is about its own role.
    assert await change("leader", "1:1,0:2") == [None, None]
    assert await change("leader", "0:1,1:2") == [leader, None]
    assert await change("follower", "0:1,1:2") == [leader, None]
    assert await change("follower", "*") == [leader, follower]
    assert await change("leader", None) == [None, follower]
    assert await change("leader", "*") == [leader, follower]
    # Another role, the other list.
    topic_id = node.image.topics["t"].topic_id
    node.controller.apply(PartitionRecord(topic_id, 1, (2, 1), (2, 1), 1, 1, 1))
    await node.follow()
    assert throttles() == [leader, leader]
    # A topic that has them from the beginning.
    assignment = (ReplicaAssignment(0, (2, 1)),)
    await node.create(NewTopic("u", assignments=assignment, configs=((lists["follower"], "0:1"),)))
    assert node.table.partition(b"u", 0).throttle is follower  # type: ignore[union-attr]
    await node.replicas.shutdown()
    assert throttles() == [None, None]


async def test_a_change_of_a_topic_that_the_table_lacks_is_our_mistake() -> None:
    node = await world(manual("t", 1))
    node.table.remove(b"t")
    node.controller.ask(CreatePartitions((MorePartitions("t", 2),)))
    with pytest.raises(InvariantError):
        await node.follow()


async def test_images_are_applied_one_after_the_other() -> None:
    node = Node(nodes=1)
    images = [MetadataImage(), node.controller.image]
    for name in "abc":
        assert node.controller.create(manual(name, 1)) == [0]
        images.append(node.controller.image)
    for name in "ab":
        node.controller.ask(DeleteTopics((TopicReference(name),)))
        images.append(node.controller.image)
    steps = itertools.pairwise(images)
    await asyncio.gather(*(node.replicas.apply(old, new) for old, new in steps))
    assert [log.topic for log in node.logs.logs()] == ["c"]
    assert [entry.name for entry in node.table.topics()] == [b"c"]


async def test_shutdown_closes_the_gates() -> None:
    node = await world(manual("t", 1, 2))
    heard = listen(node)
    await node.replicas.shutdown()
    assert (code_of(node, "t", 0), code_of(node, "t", 1)) == (6, 6)
    assert heard == [("t", 0, None)]


# --- internal writers ----------------------------------------------------------------------------


class FakePartition:
    """A partition whose log answers from a list; acknowledged up to `committed` (exclusive)."""

    def __init__(self, *results: tuple[int, int, int, int]) -> None:
        self.results = list(results)
        self.error_code = 0
        self.committed = 0
        self.topic, self.index = b"t", 0
        self.waiting: list[Any] = []
        self.appended: list[bytes] = []

    def append_built(self, batch: bytearray, now_ms: int) -> tuple[int, int, int, int]:
        self.appended.append(bytes(batch))
        return self.results.pop(0)

    def is_acknowledged(self, last_offset: int) -> bool:
        return last_offset < self.committed

    def when_acknowledged(self, end_offset: int, callback: Any) -> Any:
        partition = self

        class Waiter:
            def forget(self) -> None:
                partition.waiting.remove(self)

            def call(self) -> None:
                callback()

        waiter = Waiter()
        self.waiting.append(waiter)
        return waiter


APPENDED = (STATUS_APPENDED, 0, 7, 9)
ROLL = (STATUS_NEEDS_ROLL, 0, -1, -1)


async def append(node: Node, partition: FakePartition, **words: Any) -> AppendOutcome:
    return await node.replicas.append(partition, b"batch", **words)  # type: ignore[arg-type]


async def test_an_append() -> None:
    node, partition = await world(), FakePartition(APPENDED)
    assert await append(node, partition, acks=1) == AppendOutcome(7, 9)
    partition = FakePartition(APPENDED)
    partition.committed = 10
    assert await append(node, partition) == AppendOutcome(7, 9)
    assert partition.appended == [b"batch"]


async def test_an_append_waits_for_the_commit() -> None:
    node, partition = await world(), FakePartition(APPENDED)
    task = asyncio.create_task(append(node, partition))
    while not partition.waiting:
        await asyncio.sleep(0)
    assert not task.done()
    partition.waiting[0].call()
    assert await task == AppendOutcome(7, 9)
    assert not partition.waiting


async def test_a_wait_that_is_cancelled_leaves_no_waiter() -> None:
    node, partition = await world(), FakePartition(APPENDED)
    task = asyncio.create_task(append(node, partition))
    while not partition.waiting:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not partition.waiting


async def test_a_partition_that_is_lost_while_waiting() -> None:
    node, partition = await world(), FakePartition(APPENDED)
    task = asyncio.create_task(append(node, partition))
    while not partition.waiting:
        await asyncio.sleep(0)
    partition.error_code = 6
    partition.waiting[0].call()
    with pytest.raises(KafkaError) as caught:
        await task
    assert caught.value.error_code == 6


async def test_an_append_rolls_the_log_first() -> None:
    node = await world(manual("t", 1))
    rolls = []

    async def roll() -> None:
        rolls.append(1)

    node.log("t").roll = roll  # type: ignore[attr-defined]
    partition = FakePartition(ROLL, ROLL, APPENDED)
    assert await append(node, partition, acks=1) == AppendOutcome(7, 9)
    assert len(rolls) == 2

    async def fail() -> None:
        raise OSError(28, "no space left")

    node.log("t").roll = fail  # type: ignore[attr-defined]
    with pytest.raises(KafkaError) as caught:
        await append(node, FakePartition(ROLL), acks=1)
    assert caught.value.error_code == 56


async def test_appends_that_are_refused() -> None:
    node = await world()
    with pytest.raises(KafkaError) as caught:
        await append(node, FakePartition((STATUS_REFUSED, 10, -1, -1)))
    assert caught.value.error_code == 10
    closed = FakePartition()
    closed.error_code = 6
    with pytest.raises(KafkaError) as caught:
        await append(node, closed)
    assert caught.value.error_code == 6


# --- deletion of records -------------------------------------------------------------------------


async def test_the_log_of_a_partition_that_has_none_is_our_mistake() -> None:
    node = await world(manual("t", 2))
    partition = node.replicas.partition("t", 0)
    assert isinstance(partition, Partition)
    with pytest.raises(InvariantError):
        node.replicas.log_of(partition)


@pytest.mark.parametrize(
    ("offset", "expected"), [(-1, 20), (12, 12), (20, 20), (3, 10), (21, -1), (-5, -1)]
)
async def test_delete_records(offset: int, expected: int) -> None:
    node = await world(manual("t", 1))
    node.set_offsets("t", 0, 10, 20)
    partition = node.replicas.leader("t", 0)
    if expected == -1:
        with pytest.raises(KafkaError) as caught:
            await node.replicas.delete_records(partition, offset)
        assert caught.value.error_code == 1
    else:
        assert await node.replicas.delete_records(partition, offset) == expected
