"""The cleaner's table of keys, and the hash that it is keyed by."""

from __future__ import annotations

import os
import random

import pytest
import xxhash

from tidelog._native.offset_map import OffsetMap, xxh3_128


@pytest.mark.parametrize("kind", ["zeros", "random", "ones"])
def test_every_length_hashes_as_the_library_does(kind: str) -> None:
    rng = random.Random(4)
    for size in [*range(1100), 2047, 2048, 2049, 4096, 10_001]:
        data = {"zeros": bytes(size), "ones": b"\xff" * size, "random": rng.randbytes(size)}[kind]
        assert xxh3_128(data) == xxhash.xxh3_128_digest(data), size


def test_the_last_offset_of_a_key_is_found() -> None:
    keys = OffsetMap(10, 1.0)
    assert keys.find(b"a") == -1
    assert keys.add(b"a", 0)
    assert keys.find(b"a") == 0
    assert keys.add(b"", 3)
    assert keys.add(b"a", 7)
    assert (keys.find(b"a"), keys.find(b""), keys.find(b"b")) == (7, 3, -1)
    assert keys.add(b"a", 5)
    assert keys.find(b"a") == 7
    assert (keys.size, keys.latest_offset) == (2, 7)


def test_a_full_map_takes_known_keys_only_and_stays_as_it_is() -> None:
    keys = OffsetMap(10, 0.5)
    for i in range(5):
        assert keys.add(b"%d" % i, i)
    assert not keys.add(b"new", 9)
    assert (keys.size, keys.latest_offset, keys.find(b"new")) == (5, 4, -1)
    assert keys.add(b"3", 10)
    assert keys.find(b"3") == 10
    assert keys.utilization == 0.5


@pytest.mark.parametrize("slots", [1, 2, 3, 1000])
def test_a_map_that_is_filled_to_the_last_slot_finds_everything(slots: int) -> None:
    keys = OffsetMap(slots, 1.0)
    for i in range(slots):
        assert keys.add(b"key-%d" % i, i)
    assert not keys.add(b"one more", slots)
    assert [keys.find(b"key-%d" % i) for i in range(slots)] == list(range(slots))
    assert keys.find(b"missing") == -1


def test_what_is_reached_only_grows() -> None:
    keys = OffsetMap(3)
    assert keys.latest_offset == -1
    keys.reach_to(50)
    keys.reach_to(20)
    assert keys.latest_offset == 50


def test_sizes_without_sense_are_refused() -> None:
    for slots, load_factor in ((0, 0.9), (10, 0.0), (10, 1.5)):
        with pytest.raises(ValueError, match="a map of"):
            OffsetMap(slots, load_factor)
    if os.environ.get("TIDELOG_TEST_MODE") not in ("address", "fuzz"):  # which ends there
        with pytest.raises(MemoryError):
            OffsetMap(2**55)
