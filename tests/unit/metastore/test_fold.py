"""The latest record of every key is what is left."""

from __future__ import annotations

from tidelog.metadata.records import (
    ConfigRecord,
    FeatureRecord,
    PartitionRecord,
    RemoveNodeRecord,
    RemoveTopicRecord,
    TopicRecord,
)
from tidelog.metastore.fold import Fold


def partition(topic: int, index: int, epoch: int = 0) -> PartitionRecord:
    return PartitionRecord(bytes([topic]) * 16, index, (1,), (1,), 1, epoch, epoch)


def test_the_latest_record_counts() -> None:
    fold = Fold([partition(1, 0), partition(1, 1)])
    fold.apply([partition(1, 0, 1)])
    assert set(fold) == {partition(1, 0, 1), partition(1, 1)}
    assert len(fold) == 2


def test_a_topic_ends_its_partitions_and_no_other() -> None:
    keep = [TopicRecord(bytes([2]) * 16, "b"), partition(2, 0), ConfigRecord(2, "a", "k", "v")]
    fold = Fold([TopicRecord(bytes([1]) * 16, "a"), partition(1, 0), partition(1, 11), *keep])
    fold.apply([RemoveTopicRecord(bytes([1]) * 16)])
    assert set(fold) == set(keep)
    fold.apply([partition(1, 1)])
    assert set(fold) == {*keep, partition(1, 1)}


def test_a_removal_of_what_is_not_there_is_nothing() -> None:
    fold = Fold([RemoveNodeRecord(1), FeatureRecord("f", 0), ConfigRecord(2, "a", "k", None)])
    assert not list(fold)
    assert len(fold) == 0
