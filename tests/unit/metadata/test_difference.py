"""What changed between two images."""

from __future__ import annotations

from tidelog.metadata.difference import ImageDifference, difference
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import (
    ChangeRecord,
    ConfigRecord,
    PartitionRecord,
    ProducerIdsRecord,
    RemoveTopicRecord,
    TopicRecord,
)

A, B, C = bytes(15) + b"a", bytes(15) + b"b", bytes(15) + b"c"


def image(*records: ChangeRecord) -> MetadataImage:
    first: list[ChangeRecord] = [
        TopicRecord(A, "a"),
        PartitionRecord(A, 0, (1,), (1,), 1, 0, 0),
        TopicRecord(B, "b"),
        PartitionRecord(B, 0, (1,), (1,), 1, 0, 0),
        ConfigRecord(2, "a", "k", "v"),
        ConfigRecord(4, "", "k", "v"),
    ]
    return MetadataImage().apply(first, 1).apply(list(records), 2)


def test_nothing() -> None:
    assert difference(image(), image()) == ImageDifference((), (), (), ())
    one = image()
    assert difference(one, one.apply([ProducerIdsRecord(1)], 3)) == ImageDifference((), (), (), ())


def test_topics() -> None:
    old = image()
    new = old.apply(
        [
            RemoveTopicRecord(A),
            TopicRecord(C, "c"),
            PartitionRecord(B, 0, (1,), (1,), 1, 1, 1),
        ],
        3,
    )
    found = difference(old, new)
    assert found.created == (new.topics["c"],)
    assert found.deleted == (old.topics["a"],)
    assert found.changed == ((old.topics["b"], new.topics["b"]),)
    assert found.configs == ()


def test_a_topic_made_again_is_both() -> None:
    old = image()
    new = old.apply([RemoveTopicRecord(A), TopicRecord(C, "a")], 3)
    found = difference(old, new)
    assert found.created == (new.topics["a"],)
    assert found.deleted == (old.topics["a"],)
    assert found.changed == ()


def test_configs() -> None:
    old = image()
    new = old.apply(
        [
            ConfigRecord(2, "a", "k", None),
            ConfigRecord(4, "", "k", "w"),
            ConfigRecord(4, "1", "k", "v"),
        ],
        3,
    )
    assert set(difference(old, new).configs) == {(2, "a"), (4, ""), (4, "1")}


def test_from_nothing() -> None:
    new = image()
    found = difference(MetadataImage(), new)
    assert {topic.name for topic in found.created} == {"a", "b"}
    assert set(found.configs) == {(2, "a"), (4, "")}
