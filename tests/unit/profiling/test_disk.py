"""The disk's part, short, on the disk of the tests: every figure, or a note that says why not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tidelog.profiling import disk
from tidelog.profiling.disk import SIZES, WRITERS, DiskProbe, plan
from tidelog.profiling.gather import Limits, ProfileError, size_name
from tidelog.profiling.place import IN_MEMORY, file_system, work_folder
from tidelog.profiling.results import Section

SHORT = Limits(2, 1.0, 480_000_000)
ONCE = Limits(1, 0.5, 100_000_000)


def probed(folder: Path, limits: Limits = SHORT) -> Section:
    told: list[float] = []
    section = DiskProbe(folder, limits, lambda _, share: told.append(share)).run()
    assert told == sorted(told)
    assert 0 <= told[0] <= told[-1] < 1
    assert [path.name for path in folder.iterdir()] == ["data"]
    return section


def test_every_figure_is_measured_or_a_note_says_why(tmp_path: Path) -> None:
    section = probed(tmp_path)
    kind = file_system(tmp_path)
    assert section.facts["file system"] == kind
    tables = {table.name: table for table in section.tables}
    append = tables["sequential append"]
    assert [row.name for row in append.rows] == [size_name(size) for size in SIZES]
    assert all(value > 0 for row in append.rows for cell in row.cells for value in cell)
    if kind in IN_MEMORY:
        assert any(f"{kind} keeps files in memory" in note for note in section.notes)
        assert {c.name for c in append.columns} == {"page cache", "page cache, fallocated"}
        return
    assert all(len(row.cells[0]) == 2 for row in append.rows)
    group = tables["group commit"]
    assert [row.at for row in group.rows] == list(WRITERS)
    assert {row.cells[2][0] for row in group.rows if row.name == "1"} == {1.0}
    assert section.histograms["append, fdatasync"].count > 0
    names = {column.name for column in append.columns}
    assert "O_DIRECT" in names or any("O_DIRECT" in note for note in section.notes)
    read = tables["sequential read"]
    uncached = "uncached" in {column.name for column in read.columns}
    assert uncached or any("forget" in note for note in section.notes)


def test_in_memory_nothing_is_called_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "file_system", lambda _: "tmpfs")
    section = probed(tmp_path, ONCE)
    columns = {column.name for table in section.tables for column in table.columns}
    assert not any(word in name for name in columns for word in ("sync", "DIRECT", "uncached"))
    assert section.histograms == {}
    assert [note for note in section.notes if "tmpfs" in note]


def test_a_cache_that_is_kept_is_no_uncached_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if file_system(tmp_path) in IN_MEMORY:
        pytest.skip("a disk is needed")
    monkeypatch.setattr(disk, "drop_cache", lambda fd: None)
    section = probed(tmp_path, ONCE)
    read = next(table for table in section.tables if table.name == "sequential read")
    assert "uncached" not in {column.name for column in read.columns}
    assert any("kept 100% of a file cached" in note for note in section.notes)


def test_what_a_file_system_cannot_do_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "x")

    def no_direct(_path: Path, _flags: int, kind: str) -> int:
        raise ProfileError(f"{kind} refuses O_DIRECT")

    monkeypatch.setattr(disk, "file_system", lambda _: "oddfs")
    monkeypatch.setattr(disk, "reserve", unknown)
    monkeypatch.setattr(disk, "open_direct", no_direct)
    section = probed(tmp_path, ONCE)
    assert {"oddfs has no fallocate", "oddfs refuses O_DIRECT"} <= set(section.notes)
    columns = {column.name for table in section.tables for column in table.columns}
    assert not any("fallocated" in name or "DIRECT" in name for name in columns)


def test_a_full_disk_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(disk, "reserve", full)
    refused = pytest.raises(ProfileError, match="No space left on device")
    with refused, work_folder(tmp_path, 1) as folder:
        DiskProbe(folder, SHORT, lambda *_: None).run()
    assert list(tmp_path.iterdir()) == []


def test_a_slow_disk_ends_it_after_a_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "PATIENCE", 0.0)
    monkeypatch.setattr(disk, "PATIENCE_MIN_S", 0.0)
    section = probed(tmp_path, Limits(3, 0.5, 300_000_000))
    assert section.facts["rounds"] == 1
    assert any("after 1 of 3 rounds" in note for note in section.notes)


def test_the_plan_keeps_to_its_limits() -> None:
    found = plan(Limits(5, 40.0, 20_000_000_000))
    assert found.step_bytes * disk.WRITING_STEPS * 5 <= 20_000_000_000
    assert found.read_bytes <= disk.READ_FILE_BYTES
    assert found.needed_bytes >= found.read_bytes + found.step_bytes
    assert found.read_bytes + found.step_bytes * disk.WRITING_STEPS * 5 <= 20_000_000_000
    assert plan(ONCE).read_bytes % max(SIZES) == 0
    with pytest.raises(ProfileError, match="too few for 10 rounds of the disk"):
        plan(Limits(10, 1.0, 100_000_000))


def test_writes_that_are_larger_than_allowed_are_left_out(tmp_path: Path) -> None:
    section = probed(tmp_path, ONCE)
    assert "writes of 4 MiB were left out: --bytes is too few for them" in section.notes
    assert [row.name for row in section.tables[0].rows] == [size_name(size) for size in SIZES[:-1]]
