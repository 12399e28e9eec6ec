"""Committed offsets: kept by group, topic and partition until they are removed."""

from __future__ import annotations

from tidelog.coordinator.group.offsets import CommittedOffsets
from tidelog.coordinator.group.records import CommittedOffset


def test_kept_by_group_topic_and_partition_until_removed() -> None:
    offsets = CommittedOffsets()
    one, two = (CommittedOffset(n, -1, "", 0) for n in (1, 2))
    offsets.put("g", "t", 0, one)
    offsets.put("g", "t", 1, two)
    offsets.put("h", "t", 0, two)
    assert offsets.get("g", "t", 0) is one
    assert offsets.get("g", "t", 2) is None
    assert dict(offsets.topics("g")) == {"t": {0: one, 1: two}}
    assert (offsets.count("g"), offsets.count("nobody")) == (2, 0)
    assert offsets.partitions("g", "t") == {0: one, 1: two}
    assert offsets.partitions("g", "other") == offsets.partitions("nobody", "t") == {}
    offsets.remove("g", "t", 0)
    assert offsets.has_group("g")
    offsets.remove("g", "t", 1)
    offsets.remove("g", "t", 1)
    assert not offsets.has_group("g")
    assert offsets.has_group("h")
    assert list(offsets.topics("g")) == []
