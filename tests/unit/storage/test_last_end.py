"""How a log directory was left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidelog.storage import last_end
from tidelog.storage.clean_shutdown import write_clean_shutdown
from tidelog.storage.files import SYSTEM_FILES
from tidelog.storage.last_end import may_lack_records
from tidelog.storage.meta_properties import META_PROPERTIES
from tidelog.storage.written_positions import WRITTEN_FILE, WrittenPositions, boot_id


def used(directory: Path, boot: bytes) -> str:
    (directory / META_PROPERTIES).write_text("version=1")
    WrittenPositions.open(SYSTEM_FILES, str(directory), boot).close()
    return str(directory)


def test_a_new_directory_lacks_nothing(tmp_path: Path) -> None:
    assert not may_lack_records([str(tmp_path)])
    assert not may_lack_records([str(tmp_path / "none")])


def test_a_killed_process_leaves_everything_with_the_kernel(tmp_path: Path) -> None:
    assert not may_lack_records([used(tmp_path, boot_id())])


def test_another_boot_may_have_cost_what_was_not_synced(tmp_path: Path) -> None:
    directory = used(tmp_path, b"x" * 16)
    assert may_lack_records([directory])
    write_clean_shutdown(directory, 3)
    assert not may_lack_records([directory])


def test_what_is_not_known_counts_as_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = used(tmp_path, boot_id())
    (tmp_path / WRITTEN_FILE).write_bytes(b"TL")
    assert may_lack_records([directory])
    (tmp_path / WRITTEN_FILE).unlink()
    assert may_lack_records([directory])
    used(tmp_path, boot_id())
    monkeypatch.setattr(last_end, "boot_id", lambda: b"")
    assert may_lack_records([directory])
