"""Where the state of a group lies; expected values from Java (String.hashCode, Utils.abs)."""

from __future__ import annotations

import pytest

from tidelog.coordinator.partitioning import coordinator_partition, java_hash


@pytest.mark.parametrize(
    ("key", "value", "partition"),
    [
        ("", 0, 0),
        ("g1", 3242, 42),
        ("group-ä", 293427478, 28),
        ("my-group-7", 1806687560, 10),
        ("\N{GRINNING FACE}x", 54959989, 39),
        ("zzzzzzzz", -1910022912, 12),
        ("polygenelubricants", -(1 << 31), 0),
    ],
)
def test_partitions(key: str, value: int, partition: int) -> None:
    assert java_hash(key) == value
    assert coordinator_partition(key, 50) == partition
    assert coordinator_partition(key, 1) == 0
