"""The contract of every metadata store as tests: a store's test module derives `StoreSuite`."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tidelog.errors import StorageError
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import (
    ChangeRecord,
    ClusterRecord,
    ConfigRecord,
    Endpoint,
    FeatureRecord,
    NodeRecord,
    PartitionRecord,
    ProducerIdsRecord,
    RemoveNodeRecord,
    RemoveTopicRecord,
    TopicRecord,
)
from tidelog.metastore.contract import Metastore, VersionConflictError


def topic_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def partition(number: int, index: int, epoch: int = 0) -> PartitionRecord:
    return PartitionRecord(topic_id(number), index, (1,), (1,), 1, epoch, epoch)


def as_set(records: list[ChangeRecord]) -> set[ChangeRecord]:
    found = set(records)
    assert len(found) == len(records), "a key has more than one record"
    return found


class StoreSuite:
    """Run against a store: `open_store` opens the same store again and again."""

    @pytest.fixture
    def open_store(self) -> Callable[[], Metastore]:
        raise NotImplementedError

    def test_a_new_store_is_empty(self, open_store: Callable[[], Metastore]) -> None:
        store = open_store()
        assert store.load() == (0, [])
        store.close()

    def test_records_of_every_kind_come_back(self, open_store: Callable[[], Metastore]) -> None:
        records: list[ChangeRecord] = [
            ClusterRecord("c" * 22),
            NodeRecord(1, 0, None, (Endpoint("PLAINTEXT", "ü", 1),), "127.0.0.1", 1, False, "n"),
            TopicRecord(topic_id(1), "a"),
            partition(1, 0),
            partition(1, 1),
            ConfigRecord(2, "a", "retention.ms", "'; DROP TABLE entity; --\x00"),
            ConfigRecord(32, "a/b", "k", ""),
            ProducerIdsRecord(2**63 - 1),
            FeatureRecord("f", 1),
        ]
        store = open_store()
        assert store.commit(records, 0) == 1
        assert store.load()[0] == 1
        assert as_set(store.load()[1]) == set(records)
        store.close()
        again = open_store()
        assert again.load()[0] == 1
        assert as_set(again.load()[1]) == set(records)
        again.close()

    def test_the_latest_record_of_a_key_counts(self, open_store: Callable[[], Metastore]) -> None:
        store = open_store()
        store.commit([TopicRecord(topic_id(1), "a"), partition(1, 0)], 0)
        store.commit([partition(1, 0, 1), partition(1, 0, 2)], 1)
        assert as_set(store.load()[1]) == {TopicRecord(topic_id(1), "a"), partition(1, 0, 2)}
        store.close()

    def test_removals_end_their_key(self, open_store: Callable[[], Metastore]) -> None:
        store = open_store()
        keep: list[ChangeRecord] = [TopicRecord(topic_id(2), "b"), partition(2, 0)]
        store.commit(
            [
                *keep,
                TopicRecord(topic_id(1), "a"),
                *[partition(1, index) for index in range(12)],
                ConfigRecord(2, "a", "k", "v"),
                FeatureRecord("f", 1),
                NodeRecord(1, 0, None, (), "", 0, False),
            ],
            0,
        )
        store.commit(
            [
                ConfigRecord(2, "a", "k", None),
                RemoveTopicRecord(topic_id(1)),
                FeatureRecord("f", 0),
                RemoveNodeRecord(1),
            ],
            1,
        )
        assert as_set(store.load()[1]) == set(keep)
        store.close()

    def test_removed_and_made_again_in_one_transaction(
        self, open_store: Callable[[], Metastore]
    ) -> None:
        store = open_store()
        store.commit([TopicRecord(topic_id(1), "a"), partition(1, 0)], 0)
        store.commit([RemoveTopicRecord(topic_id(1)), TopicRecord(topic_id(2), "a")], 1)
        assert store.load() == (2, [TopicRecord(topic_id(2), "a")])
        store.close()

    def test_an_old_view_cannot_write(self, open_store: Callable[[], Metastore]) -> None:
        store = open_store()
        store.commit([FeatureRecord("f", 1)], 0)
        for wrong in (0, 2):
            with pytest.raises(VersionConflictError):
                store.commit([FeatureRecord("f", 2), FeatureRecord("g", 2)], wrong)
        assert store.load() == (1, [FeatureRecord("f", 1)])
        assert store.commit([FeatureRecord("f", 2)], 1) == 2
        store.close()

    def test_two_writers_exclude_each_other(self, open_store: Callable[[], Metastore]) -> None:
        one, other = open_store(), open_store()
        one.commit([FeatureRecord("f", 1)], 0)
        with pytest.raises(VersionConflictError):
            other.commit([FeatureRecord("f", 2)], 0)
        assert other.load() == (1, [FeatureRecord("f", 1)])
        other.commit([FeatureRecord("f", 2)], 1)
        assert one.load() == (2, [FeatureRecord("f", 2)])
        one.close()
        other.close()

    def test_a_failed_transaction_leaves_nothing(self, open_store: Callable[[], Metastore]) -> None:
        store = open_store()

        class Broken:
            store_key = ("topic", "x")

        with pytest.raises((TypeError, AttributeError, StorageError)):
            store.commit([FeatureRecord("f", 1), Broken()], 0)  # type: ignore[list-item]
        assert store.load() == (0, [])
        assert store.commit([FeatureRecord("f", 1)], 0) == 1
        store.close()

    def test_an_empty_transaction_counts(self, open_store: Callable[[], Metastore]) -> None:
        store = open_store()
        assert store.commit([], 0) == 1
        assert store.load() == (1, [])
        store.close()

    def test_closing_twice_is_harmless(self, open_store: Callable[[], Metastore]) -> None:
        store = open_store()
        store.close()
        store.close()

    def test_the_store_equals_the_image(self, open_store: Callable[[], Metastore]) -> None:
        """A random history: what the store gives back is the image that the same records made."""
        rng = random.Random(7)
        store = open_store()
        image = MetadataImage()
        for step in range(60):
            records = _random_change(rng, image, step)
            image = image.apply(records, image.version + 1)
            store.commit(records, image.version - 1)
        store.close()
        again = open_store()
        version, found = again.load()
        assert MetadataImage.from_records(found, version) == image
        again.close()

    def test_ten_thousand_partitions(self, open_store: Callable[[], Metastore]) -> None:
        store = open_store()
        records = [TopicRecord(topic_id(1), "a"), *[partition(1, i) for i in range(10_000)]]
        store.commit(records, 0)
        assert len(store.load()[1]) == 10_001
        store.commit([RemoveTopicRecord(topic_id(1))], 1)
        assert store.load() == (2, [])
        store.close()


def _random_change(rng: random.Random, image: MetadataImage, step: int) -> list[ChangeRecord]:
    records: list[ChangeRecord] = []
    names = sorted(image.topics)
    match rng.choice(["create", "create", "grow", "move", "delete", "config", "ids"]):
        case "create":
            records = [TopicRecord(topic_id(step), f"t{step}"), partition(step, 0)]
        case "grow" if names:
            topic = image.topics[rng.choice(names)]
            number = int.from_bytes(topic.topic_id, "big")
            records = [partition(number, len(topic.partitions))]
        case "move" if names:
            topic = image.topics[rng.choice(names)]
            number = int.from_bytes(topic.topic_id, "big")
            records = [partition(number, 0, topic.partitions[0].leader_epoch + 1)]
        case "delete" if names:
            name = rng.choice(names)
            records = [ConfigRecord(2, name, key, None) for key in image.config(2, name)]
            records.append(RemoveTopicRecord(image.topics[name].topic_id))
        case "config" if names:
            value = rng.choice(["1", "2", None])
            records = [ConfigRecord(2, rng.choice(names), rng.choice("kl"), value)]
        case "ids":
            records = [ProducerIdsRecord(image.next_producer_id + 1000)]
    return records
