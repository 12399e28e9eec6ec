"""The image: applying records copies only what changes, a snapshot gives the same image,
contradictions are refused.
"""

from __future__ import annotations

import random

import msgspec
import pytest

from tidelog.errors import InvariantError
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import (
    ChangeRecord,
    ClusterRecord,
    ConfigRecord,
    EndMoveRecord,
    Endpoint,
    FeatureRecord,
    MoveRecord,
    NodeRecord,
    PartitionRecord,
    ProducerIdsRecord,
    QuotaRecord,
    RemoveNodeRecord,
    RemoveTopicRecord,
    TopicRecord,
)


def topic_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def partition(number: int, index: int, leader: int = 1, epoch: int = 0) -> PartitionRecord:
    replicas = (leader,) if leader != -1 else (1,)
    return PartitionRecord(topic_id(number), index, replicas, replicas, leader, epoch, epoch)


def node(node_id: int, epoch: int = 0, fenced: bool = False) -> NodeRecord:
    endpoints = (Endpoint("PLAINTEXT", "", 9091 + node_id), Endpoint("OTHER", "h", 1))
    return NodeRecord(node_id, epoch, "r", endpoints, "127.0.0.1", 9091 + node_id, fenced)


BASE: list[ChangeRecord] = [
    ClusterRecord("c" * 22),
    node(1),
    node(2),
    TopicRecord(topic_id(1), "a"),
    partition(1, 0, 1),
    partition(1, 1, 2),
    TopicRecord(topic_id(2), "b"),
    partition(2, 0, 2),
    ConfigRecord(2, "a", "retention.ms", "5"),
    QuotaRecord((("user", None),), "consumer_byte_rate", 2.0),
    ProducerIdsRecord(1000),
    FeatureRecord("group.version", 1),
    MoveRecord(topic_id(1), 1, 2, 1),
]


def base() -> MetadataImage:
    return MetadataImage().apply(BASE, 1)


def test_lookups() -> None:
    image = base()
    assert image.version == 1
    assert image.cluster_id == "c" * 22
    assert image.topic_names[topic_id(2)] == "b"
    found = image.topic_by_id(topic_id(1))
    assert found is image.topics["a"]
    assert image.topic_by_id(topic_id(9)) is None
    assert image.partition("a", 1) is image.topics["a"].partitions[1]
    assert image.partition("a", 2) is None
    assert image.partition("a", -1) is None
    assert image.partition("x", 0) is None
    assert image.config(2, "a") == {"retention.ms": "5"}
    assert image.config(2, "b") == {}
    assert image.features == {"group.version": 1}
    assert image.next_producer_id == 1000
    led = [(topic.name, found.index) for topic, found in image.partitions_led_by(2)]
    assert led == [("a", 1), ("b", 0)]
    assert [t.name for t, _ in image.partitions_held_by(1)] == ["a"]
    assert image.leader_counts == {1: 1, 2: 2}
    endpoint = image.nodes[2].endpoint("PLAINTEXT")
    assert endpoint is not None and endpoint.port == 9093
    assert image.nodes[2].endpoint("SSL") is None


def test_the_controller_is_a_live_node() -> None:
    image = base()
    assert image.controller_id == 1
    image = image.apply([node(1, fenced=True)], 2)
    assert image.controller_id == 2
    assert [n.node_id for n in image.alive_nodes()] == [2]
    assert MetadataImage().controller_id == -1


def test_apply_leaves_the_old_image_and_shares_what_it_does_not_touch() -> None:
    old = base()
    before = list(old.to_records())
    new = old.apply([partition(2, 1, 1)], 2)
    assert list(old.to_records()) == before
    assert new.topics["a"] is old.topics["a"]
    assert new.topics["b"].partitions[0] is old.topics["b"].partitions[0]
    assert new.topics is not old.topics
    assert new.configs is old.configs
    assert new.nodes is old.nodes
    assert new.topic_names is old.topic_names
    assert new.leader_counts == {1: 2, 2: 2}


def test_removing_a_topic_takes_its_partitions_and_leaders() -> None:
    image = base().apply([RemoveTopicRecord(topic_id(1))], 2)
    assert set(image.topics) == {"b"}
    assert topic_id(1) not in image.topic_names
    assert image.leader_counts == {1: 0, 2: 1}
    # Created again under the same name in the same batch: another topic.
    again = base().apply(
        [RemoveTopicRecord(topic_id(1)), TopicRecord(topic_id(3), "a"), partition(3, 0, 2)], 2
    )
    assert again.topics["a"].topic_id == topic_id(3)
    assert len(again.topics["a"].partitions) == 1
    assert again.leader_counts == {1: 0, 2: 2}


def test_a_topic_created_and_removed_in_one_batch_leaves_nothing() -> None:
    image = base().apply(
        [TopicRecord(topic_id(3), "c"), partition(3, 0, 1), RemoveTopicRecord(topic_id(3))], 2
    )
    assert set(image.topics) == {"a", "b"}
    assert image.leader_counts == {1: 1, 2: 2}


def test_configs_end_one_by_one() -> None:
    image = base().apply([ConfigRecord(2, "a", "segment.ms", "1")], 2)
    assert image.config(2, "a") == {"retention.ms": "5", "segment.ms": "1"}
    image = image.apply([ConfigRecord(2, "a", "retention.ms", None)], 3)
    assert image.config(2, "a") == {"segment.ms": "1"}
    image = image.apply([ConfigRecord(2, "a", "segment.ms", None)], 4)
    assert (2, "a") not in image.configs
    assert image.apply([ConfigRecord(2, "a", "x", None)], 5).configs == {}


def test_quotas_are_set_and_end() -> None:
    entity = (("client-id", "c"), ("user", None))
    image = base().apply([QuotaRecord(entity, "producer_byte_rate", 1.0)], 2)
    image = image.apply([QuotaRecord(entity, "consumer_byte_rate", 3.0)], 3)
    assert image.quotas[entity] == {"producer_byte_rate": 1.0, "consumer_byte_rate": 3.0}
    image = image.apply([QuotaRecord(entity, "producer_byte_rate", None)], 4)
    assert image.quotas[entity] == {"consumer_byte_rate": 3.0}
    image = image.apply([QuotaRecord(entity, "consumer_byte_rate", None)], 5)
    assert image.quotas == base().quotas
    assert image.apply([QuotaRecord(entity, "none", None)], 6).quotas == base().quotas


def test_features_and_nodes_end() -> None:
    image = base().apply([FeatureRecord("group.version", 0), RemoveNodeRecord(2)], 2)
    assert image.features == {}
    assert set(image.nodes) == {1}


def test_a_snapshot_in_any_order_gives_the_same_image() -> None:
    image = base()
    rng = random.Random(1)
    for _ in range(20):
        records = list(image.to_records())
        rng.shuffle(records)
        again = MetadataImage.from_records(records, image.version)
        assert again == image
    assert MetadataImage.from_records([], 0) == MetadataImage()


@pytest.mark.parametrize(
    "records",
    [
        [TopicRecord(topic_id(9), "a")],
        [TopicRecord(topic_id(1), "z")],
        [TopicRecord(b"short", "z")],
        [partition(9, 0)],
        [partition(1, 3)],
        [RemoveTopicRecord(topic_id(9))],
        [RemoveNodeRecord(9)],
        [ClusterRecord("d" * 22)],
        [ProducerIdsRecord(999)],
        [PartitionRecord(topic_id(1), 0, (1,), (1, 2), 1, 0, 0)],
        [PartitionRecord(topic_id(1), 0, (1, 2), (1,), 2, 0, 0)],
        [PartitionRecord(topic_id(1), 0, (1,), (1,), 1, -1, 0)],
        [PartitionRecord(topic_id(1), 0, (1,), (1,), 1, 0, -1)],
        [node(1, epoch=-1)],
    ],
)
def test_contradictions_are_refused(records: list[ChangeRecord]) -> None:
    with pytest.raises(InvariantError):
        base().apply(records, 2)


def test_versions_never_go_back() -> None:
    image = base().apply([], 5)
    assert image.version == 5
    with pytest.raises(InvariantError):
        image.apply([], 4)


def test_many_topics_share_their_parts() -> None:
    records: list[ChangeRecord] = []
    for number in range(10_000):
        records += [TopicRecord(topic_id(number), f"t{number}"), partition(number, 0, number % 3)]
    image = MetadataImage().apply(records, 1)
    changed = image.apply([partition(77, 0, 77 % 3, epoch=1)], 2)
    same = sum(changed.topics[name] is topic for name, topic in image.topics.items())
    assert same == 9_999
    assert sum(image.leader_counts.values()) == 10_000


def test_moves_stand_until_they_end() -> None:
    image = base()
    assert image.moves == {(topic_id(1), 1): MoveRecord(topic_id(1), 1, 2, 1)}
    after = image.apply([EndMoveRecord(topic_id(1), 1)], 2)
    assert (after.moves, len(image.moves)) == ({}, 1)
    assert after.topics is image.topics


def test_who_may_be_elected() -> None:
    image = base()
    assert image.live_node_ids() == {1, 2}
    for field in ("fenced", "down", "shutting_down"):
        away = image.apply([msgspec.structs.replace(node(2), **{field: True})], 2)
        assert away.live_node_ids() == {1}
        assert not away.nodes[2].is_live
        again = MetadataImage.from_records(away.to_records(), 2)
        assert again.nodes == away.nodes


def test_partitions_held_by_any_of_some_nodes() -> None:
    image = base().apply(
        [TopicRecord(topic_id(3), "c"), PartitionRecord(topic_id(3), 0, (1, 2), (1,), 1, 0, 0)], 2
    )

    def held(*node_ids: int) -> list[tuple[str, int]]:
        found = image.partitions_held_by_any(frozenset(node_ids))
        return [(topic.name, partition.index) for topic, partition in found]

    assert held(1) == [("a", 0), ("c", 0)]
    assert held(1, 2) == [("a", 0), ("a", 1), ("b", 0), ("c", 0)]
    assert held() == held(9) == []
