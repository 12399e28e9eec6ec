"""What a whole node in this process tells of itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.process.test_worker import Scene
from tidelog.errors import KafkaError
from tidelog.process.metrics import node as module
from tidelog.process.metrics.definitions import BY_NAME
from tidelog.process.metrics.node import error_name
from tidelog.process.metrics.samples import OffsetSample, Samples
from tidelog.process.worker import KafkaNode, build_node
from tidelog.protocol.error_codes import ErrorCode
from tidelog.record.builder import NewRecord, build_batch


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[tuple[Scene, KafkaNode]]:
    made = Scene(tmp_path)
    node = build_node(made.setup)
    await node.start(made.image)
    made.metadata.image = made.image
    node.serve()
    yield made, node
    await node.stop(0)
    made.listening.close()


def value(samples: Samples, name: str, *labels: str) -> float:
    return dict(samples.values[name])[labels]


async def append(node: KafkaNode, count: int) -> None:
    partition = node._replicas.partition("t", 0)
    assert partition is not None
    records = build_batch([NewRecord(1, b"k", b"v")] * count)
    await node._replicas.append(partition, records, acks=1)


async def test_compactions_are_counted(scene: tuple[Scene, KafkaNode]) -> None:
    _, node = scene
    stats = node._logs.cleaner_stats()
    stats.cleanings, stats.failed, stats.busy_ms = 3, 1, 2500
    stats.bytes_before, stats.bytes_after = 900, 200
    samples = await node.samples()
    assert value(samples, "tidelog_compactions_total", "completed") == 3
    assert value(samples, "tidelog_compactions_total", "failed") == 1
    assert value(samples, "tidelog_compaction_removed_bytes_total") == 700
    assert value(samples, "tidelog_compaction_seconds_total") == 2.5


async def test_log_directories_are_counted(scene: tuple[Scene, KafkaNode]) -> None:
    _, node = scene
    samples = await node.samples()
    assert value(samples, "tidelog_offline_log_directories") == 0
    assert value(samples, "tidelog_moving_logs") == 0
    node._logs._managers[0].take_offline(OSError(5, "bad disk"))
    samples = await node.samples()
    assert value(samples, "tidelog_offline_log_directories") == 1


async def test_throttled_replication_is_counted(scene: tuple[Scene, KafkaNode]) -> None:
    _, node = scene
    node._throttles.leader.record(30)
    node._throttles.follower.record(4)
    samples = await node.samples()
    assert value(samples, "tidelog_throttled_replication_bytes_total", "leader") == 30
    assert value(samples, "tidelog_throttled_replication_bytes_total", "follower") == 4


async def test_every_sample_has_the_labels_of_its_definition(
    scene: tuple[Scene, KafkaNode],
) -> None:
    made, node = scene
    await append(node, 3)
    await made.metadata_answer()
    samples = await node.samples()
    for name, found in samples.values.items():
        labels = [label for label in BY_NAME[name].labels if label != "node"]
        assert {len(given) for given, _ in found} <= {len(labels)}, name
    assert set(samples.histograms) <= set(BY_NAME)
    assert value(samples, "kafka_server_brokertopicmetrics_messagesin_total", "t") == 3
    (log,) = samples.logs
    assert (log.topic, log.partition, log.segments) == ("t", 0, 1)
    assert (log.log_start_offset, log.high_watermark, log.log_end_offset) == (0, 3, 3)
    size = value(samples, "kafka_server_brokertopicmetrics_bytesin_total", "t")
    assert log.size == size > 0
    requests = "kafka_network_requestmetrics_requests_total"
    assert value(samples, requests, "Metadata", "12") == 1
    assert value(samples, "tidelog_connections_accepted_total") == 1
    assert value(samples, "tidelog_received_bytes_total") > 0
    assert value(samples, "tidelog_metrics_dropped_series", "partition") == 0


async def test_too_many_partitions_are_left_out_and_counted(
    scene: tuple[Scene, KafkaNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "METRICS_PARTITIONS_MAX", 0)
    samples = await scene[1].samples()
    assert samples.logs == []
    assert "kafka_server_brokertopicmetrics_bytesin_total" not in samples.values
    assert value(samples, "tidelog_metrics_dropped_series", "partition") == 1


class Shard:
    """Groups in memory, each with offsets of two partitions."""

    def __init__(self, groups: int) -> None:
        from tidelog.coordinator.group.offsets import CommittedOffsets
        from tidelog.coordinator.group.records import CommittedOffset
        from tidelog.coordinator.group.registry import GroupRegistry

        self.registry = GroupRegistry()
        self.registry.offsets = CommittedOffsets()
        for i in range(groups):
            self.registry.create_classic(f"g{i}", 0)
            for partition in (0, 1):
                committed = CommittedOffset(10 + i, -1, "", 0)
                self.registry.offsets.put(f"g{i}", "t", partition, committed)


@pytest.fixture
def shard(scene: tuple[Scene, KafkaNode], monkeypatch: pytest.MonkeyPatch) -> Shard:
    made = Shard(3)
    runtime = scene[1]._groups.runtime
    monkeypatch.setattr(runtime, "active_shards", lambda: [made])
    return made


async def test_groups(scene: tuple[Scene, KafkaNode], shard: Shard) -> None:
    samples = await scene[1].samples()
    assert value(samples, "kafka_consumergroup_members", "g1") == 0
    assert value(samples, "tidelog_consumergroup_state", "g1", "classic", "Empty") == 1
    assert OffsetSample("g2", "t", 1, 12) in samples.offsets


async def test_too_many_groups_and_offsets_are_left_out_and_counted(
    scene: tuple[Scene, KafkaNode], shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "METRICS_GROUPS_MAX", 2)
    monkeypatch.setattr(module, "METRICS_GROUP_OFFSETS_MAX", 3)
    samples = await scene[1].samples()
    assert len(samples.values["kafka_consumergroup_members"]) == 2
    assert len(samples.offsets) == 3
    assert value(samples, "tidelog_metrics_dropped_series", "group") == 1
    assert value(samples, "tidelog_metrics_dropped_series", "offset") == 1


async def test_others_have_their_turn(
    scene: tuple[Scene, KafkaNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "METRICS_SLICE", 1)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count())
    samples = await scene[1].samples()
    counting.cancel()
    assert turns >= len(samples.values) - 1


async def test_logs_that_are_not_served_are_counted(scene: tuple[Scene, KafkaNode]) -> None:
    _, node = scene
    assert node.logs_not_served() == (0, 0)
    partition = node._replicas.partition("t", 0)
    assert partition is not None
    node._replicas.log_of(partition).fence(OSError(5, "broken"))
    assert node.logs_not_served() == (0, 1)
    with pytest.raises(KafkaError):
        await append(node, 1)
    samples = await node.samples()
    assert samples.logs == []


def test_errors_have_kafkas_names() -> None:
    assert error_name(3) == "UNKNOWN_TOPIC_OR_PARTITION"
    assert error_name(-1) == ErrorCode.UNKNOWN_SERVER_ERROR.name
    assert error_name(9999) == "9999"
