"""Tests of the slot in which a log leaves how far it is written."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.unit.native.log_harness import NOW, batch, new_core, new_segment
from tidelog._native.written import WrittenSlot
from tidelog.errors import InvariantError


def test_a_slot_needs_its_place() -> None:
    for at in (-8, 4, 56, 60, 64):
        with pytest.raises(InvariantError):
            WrittenSlot(bytearray(64), at)
    with pytest.raises(BufferError):
        WrittenSlot(bytes(64), 0)  # type: ignore[arg-type]
    WrittenSlot(bytearray(64), 48)


def test_a_slot_follows_the_active_segment(tmp_path: Path) -> None:
    core = new_core(tmp_path)
    kept = bytearray(b"\xff" * 64)

    def pair() -> tuple[int, int]:
        found: tuple[int, int] = struct.unpack_from("=qq", kept, 32)
        return found

    def size() -> int:
        assert core.active_segment is not None
        return core.active_segment.size

    def produce() -> None:
        assert core.produce(batch(), 0, 9, NOW)[1] == 0

    core.keep_written(WrittenSlot(kept, 32))
    assert (kept[:32], kept[48:]) == (b"\xff" * 32, b"\xff" * 16)
    assert pair()[1] == 0, "nothing is known yet"
    core.install([new_segment(tmp_path)], log_start_offset=0, log_end_offset=0, recovery_point=0)
    assert pair() == (0, 1)
    produce()
    assert pair() == (0, size() + 1)
    assert core.append_fetched(batch(2, base_offset=1) + batch(base_offset=3), NOW)[1] == 0
    assert pair() == (0, size() + 1)
    core.begin_roll()
    core.install_segment(new_segment(tmp_path, 4))
    assert pair() == (4, 1)
    produce()
    core.limit_end(2)
    assert pair() == (4, 0), "not known while the log is cut"
    core.install([new_segment(tmp_path, 9)], log_start_offset=9, log_end_offset=9, recovery_point=9)
    assert pair() == (9, 1)
    core.fence()
    assert pair() == (9, 0), "a log that failed is not believed"
    core.retire()
    assert pair() == (9, 0)
