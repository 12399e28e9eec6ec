"""The records that `work` of the Go and the Node client writes, and what must come of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

RECORD_TIME_MS = 1_700_000_000_000
LARGEST_PADDING = 4000

Line = dict[str, Any]


def value(number: int) -> str:
    """A value that compresses well, as the programs build it."""
    return f"v{number} " + "tide" * (number * 97 % LARGEST_PADDING // 4)


def wanted(count: int) -> list[tuple[str, str]]:
    """(key, value) of each record as written: the last has no key, the one before no value."""
    pairs = [(f"k{number}", value(number)) for number in range(count)]
    pairs[-1] = ("", pairs[-1][1])
    pairs[-2] = (pairs[-2][0], "")
    return pairs


def pairs(lines: Sequence[Line]) -> list[tuple[str, str]]:
    return [(line["key"], line["value"]) for line in lines]


def by_place(lines: Sequence[Line]) -> dict[tuple[int, int], tuple[str, str]]:
    """(partition, offset) -> (key, value); fails if a place comes twice."""
    places = {(line["partition"], line["offset"]): (line["key"], line["value"]) for line in lines}
    assert len(places) == len(lines)
    return places


def counts(lines: Sequence[Line], partitions: int) -> dict[str, int]:
    """How many records each partition has; by JSON's text keys."""
    found = dict.fromkeys(map(str, range(partitions)), 0)
    for line in lines:
        found[str(line["partition"])] += 1
    return found


def next_offsets(lines: Sequence[Line]) -> dict[str, int]:
    """The offset after the last record of each partition that was read."""
    found: dict[str, int] = {}
    for line in lines:
        partition = str(line["partition"])
        found[partition] = max(found.get(partition, 0), line["offset"] + 1)
    return found


def assert_in_order(lines: Sequence[Line]) -> None:
    """Within each partition, offsets go up by one."""
    last: dict[int, int] = {}
    for line in lines:
        partition, offset = line["partition"], line["offset"]
        assert offset == last.get(partition, offset - 1) + 1
        last[partition] = offset
