"""Which folders are set aside, under which name, and that nothing in them is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.storage.log_fixtures import FaultyFiles
from tidelog.storage.directory import LogFolder
from tidelog.storage.files import SYSTEM_FILES
from tidelog.storage.partition_metadata import write_partition_metadata
from tidelog.storage.strays import holds_log, original_folder, set_stray_aside

ID = bytes(range(16))


@pytest.mark.parametrize(
    ("files", "is_log"),
    [
        ([], False),
        (["notes.txt", "00000000000000000000.index", "1.log"], False),
        (["partition.metadata"], True),
        (["notes.txt", "00000000000000000007.log"], True),
    ],
)
def test_a_log_has_an_id_or_a_segment(tmp_path: Path, files: list[str], is_log: bool) -> None:
    for name in files:
        (tmp_path / name).write_bytes(b"")
    assert holds_log(SYSTEM_FILES, str(tmp_path)) is is_log


def test_a_log_is_set_aside_durably_with_all_that_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.b-3").mkdir()
    write_partition_metadata(str(tmp_path / "a.b-3" / "partition.metadata"), ID)
    (tmp_path / "a.b-3" / "00000000000000000000.log").write_bytes(b"records")
    files = FaultyFiles()
    name = set_stray_aside(files, str(tmp_path), LogFolder("a.b-3", "a.b", 3, ID), b"\1\x23")
    assert name == "a.b-3.0123-stray"
    assert files.calls == ["rename", "sync_directory"]
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name / "00000000000000000000.log").read_bytes() == b"records"
    assert original_folder(name) == "a.b-3"


def test_what_is_no_log_stays(tmp_path: Path) -> None:
    (tmp_path / "backup-2024").mkdir()
    folder = LogFolder("backup-2024", "backup", 2024, None)
    assert set_stray_aside(SYSTEM_FILES, str(tmp_path), folder, b"0") is None
    folder = LogFolder("notes", "", -1, None)
    assert set_stray_aside(SYSTEM_FILES, str(tmp_path), folder, b"0") is None
    assert os.listdir(tmp_path) == ["backup-2024"]


@pytest.mark.parametrize("name", ["t-0", "t-0.12-delete", "-stray", "t-stray", ".12-stray"])
def test_other_names_were_not_set_aside(name: str) -> None:
    assert original_folder(name) is None
