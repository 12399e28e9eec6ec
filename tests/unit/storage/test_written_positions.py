"""Tests of the written positions: what is believed of them, and when nothing is."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import pytest

from tidelog._native.log import LogCore
from tidelog._native.producer_state import ProducerStates
from tidelog.storage import written_positions
from tidelog.storage.files import SYSTEM_FILES
from tidelog.storage.written_positions import (
    PAIR_AT,
    WRITTEN_FILE,
    Written,
    WrittenPositions,
    boot_id,
)

BOOT = b"b" * 16
ONE = b"1" * 16
TWO = b"2" * 16


def opened(directory: Path, boot: bytes = BOOT) -> WrittenPositions:
    return WrittenPositions.open(SYSTEM_FILES, str(directory), boot)


def put(positions: WrittenPositions, topic_id: bytes, index: int, base: int, size: int) -> None:
    """What a log does natively."""
    assert positions.slot(topic_id, index) is not None
    at = positions._slots[topic_id, index] * 64 + 64
    struct.pack_into("=qq", positions._mapping, at + PAIR_AT, base, size + 1)


def test_a_later_process_finds_what_one_left(tmp_path: Path) -> None:
    positions = opened(tmp_path)
    assert positions.find(ONE, 0) is None
    put(positions, ONE, 0, 100, 0)
    put(positions, ONE, 1, 7, 4096)
    put(positions, TWO, 0, 0, 55)
    positions.slot(TWO, 1)  # used, and nothing is known of it
    positions.close()
    positions = opened(tmp_path)
    assert positions.find(ONE, 0) == Written(100, 0)
    assert positions.find(ONE, 1) == Written(7, 4096)
    assert positions.find(TWO, 0) == Written(0, 55)
    assert positions.find(TWO, 1) is positions.find(TWO, 2) is None


def test_after_another_boot_nothing_is_believed(tmp_path: Path) -> None:
    put(opened(tmp_path), ONE, 0, 0, 10)
    assert opened(tmp_path, b"c" * 16).find(ONE, 0) is None
    assert opened(tmp_path).find(ONE, 0) is None, "it was made anew"


def test_without_a_boot_id_nothing_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(opened(tmp_path, b""), ONE, 0, 0, 10)
    assert opened(tmp_path, b"").find(ONE, 0) is None
    assert len(boot_id()) == 16
    assert boot_id() == boot_id()
    for path in (str(tmp_path / "none"), os.devnull):
        monkeypatch.setattr(written_positions, "BOOT_ID_PATH", path)
        assert boot_id() == b""


def test_a_copy_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    put(opened(tmp_path), ONE, 0, 0, 10)
    shutil.copy(tmp_path / WRITTEN_FILE, tmp_path / "copy" / WRITTEN_FILE)
    assert opened(tmp_path / "copy").find(ONE, 0) is None
    assert opened(tmp_path).find(ONE, 0) == Written(0, 10)


@pytest.mark.parametrize("at", range(0, 40, 3))
def test_a_damaged_header_is_not_believed(tmp_path: Path, at: int) -> None:
    put(opened(tmp_path), ONE, 0, 0, 10)
    with open(tmp_path / WRITTEN_FILE, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))
    assert opened(tmp_path).find(ONE, 0) is None


@pytest.mark.parametrize("size", [0, 10, 64, 128, 1 << 30])
def test_a_file_of_another_size_is_not_believed(tmp_path: Path, size: int) -> None:
    put(opened(tmp_path), ONE, 0, 0, 10)
    os.truncate(tmp_path / WRITTEN_FILE, size)
    positions = opened(tmp_path)
    assert positions.find(ONE, 0) is None
    put(positions, ONE, 0, 0, 11)
    assert opened(tmp_path).find(ONE, 0) == Written(0, 11)


def test_odd_slots_are_not_believed(tmp_path: Path) -> None:
    positions = opened(tmp_path)
    put(positions, ONE, 0, -1, 10)
    put(positions, ONE, 1, 0, -5)
    put(positions, ONE, 2, 0, 10)
    put(positions, TWO, 0, 0, 10)
    at = positions._slots[TWO, 0] * 64 + 64
    positions._mapping[at : at + 20] = ONE + struct.pack("=i", 2)  # the same log twice
    positions = opened(tmp_path)
    assert [positions.find(ONE, index) for index in range(3)] == [None] * 3
    assert positions.find(TWO, 0) is None


def test_a_count_that_is_too_large_has_nothing_written(tmp_path: Path) -> None:
    """Free slots stay holes of the sparse file, and are taken."""
    positions = opened(tmp_path)
    put(positions, ONE, 0, 0, 10)
    struct.pack_into("=q", positions._mapping, 40, 2**62)
    positions.close()
    positions = opened(tmp_path)
    assert positions.find(ONE, 0) == Written(0, 10)
    put(positions, TWO, 0, 5, 20)
    positions.close()
    assert os.stat(tmp_path / WRITTEN_FILE).st_blocks * 512 < 1 << 20
    assert opened(tmp_path).find(TWO, 0) == Written(5, 20)


def test_slots_are_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written_positions, "WRITTEN_SLOTS_MAX", 3)
    monkeypatch.setattr(written_positions, "_SIZE", 64 * 4)
    positions = opened(tmp_path)
    for index in range(3):
        put(positions, ONE, index, 0, index)
    assert positions.slot(ONE, 3) is None, "all are taken"
    positions.release(ONE, 1)
    positions.release(ONE, 1)
    assert positions.find(ONE, 1) is None
    assert positions.slot(TWO, 0) is not None
    assert positions.find(TWO, 0) is None, "what the slot held before is forgotten"
    positions.keep_only({(ONE, 2)})
    positions = opened(tmp_path)
    assert positions.find(ONE, 0) is None
    assert positions.find(ONE, 2) == Written(0, 2)
    assert [positions.slot(TWO, index) is not None for index in range(3)] == [True, True, False]


def test_a_log_that_still_has_its_slot_keeps_the_memory(tmp_path: Path) -> None:
    positions = opened(tmp_path)
    core = LogCore(ProducerStates())
    slot = positions.slot(ONE, 0)
    assert slot is not None
    core.keep_written(slot)
    positions.close()
    core.fence()  # stores into it
