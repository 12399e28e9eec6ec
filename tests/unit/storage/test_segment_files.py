"""Tests of a segment's files: names, opening what is believed, rebuilding, trimming, removing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.unit.native.log_harness import NOW, SETTINGS, batch, filled_segment, new_segment
from tidelog._native.index import CorruptIndexError
from tidelog._native.segment import Segment
from tidelog.storage.files import SYSTEM_FILES, Files
from tidelog.storage.segment_files import (
    MAX_SEGMENT_BYTES,
    SegmentSettings,
    activate,
    create_segment,
    file_name,
    mark_deleted,
    open_segment,
    parse_name,
    path_of,
    rebuild_segment,
    reopen_segment,
    trim_segment,
)


def sealed(directory: Path, batches: int = 50) -> Segment:
    segment, _ = filled_segment(directory, batches)
    segment.seal()
    trim_segment(SYSTEM_FILES, segment)
    return segment


def opened(directory: Path, next_offset: int | None = None) -> Segment:
    return open_segment(SYSTEM_FILES, str(directory), 0, SETTINGS, NOW + 5, next_offset=next_offset)


def rebuilt(directory: Path, **options: bool) -> tuple[Segment, int, str]:
    options = {"verify": True, "cut": True} | options
    result = rebuild_segment(SYSTEM_FILES, str(directory), 0, SETTINGS, NOW, **options)
    return result.segment, result.cut_bytes, result.reason


def entries(segment: Segment) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    one, other = segment.offset_index, segment.time_index
    return (
        [one.entry(i) for i in range(one.entries)],
        [other.entry(i) for i in range(other.entries)],
    )


def test_names() -> None:
    assert file_name(42, ".log") == "00000000000000000042.log"
    assert parse_name("00000000000000000042.log") == (42, ".log")
    assert parse_name("00000000000000000042.timeindex.deleted") == (42, ".timeindex.deleted")
    for name in ("42.log", "partition.metadata", "0000000000000000004x.log", "", "0" * 20):
        assert parse_name(name) is None


def test_index_sizes_are_whole_entries() -> None:
    settings = SegmentSettings(max_index_bytes=100)
    assert (settings.offset_index_bytes, settings.time_index_bytes) == (96, 96)
    settings = SegmentSettings(max_index_bytes=4)
    assert (settings.offset_index_bytes, settings.time_index_bytes) == (8, 24)


def test_create_makes_sparse_files_of_full_size(tmp_path: Path) -> None:
    segment = new_segment(tmp_path, 7, SegmentSettings())
    sizes = {p.name: (p.stat().st_size, p.stat().st_blocks) for p in tmp_path.iterdir()}
    assert sizes == {
        "00000000000000000007.log": (0, 0),
        "00000000000000000007.index": (10485760, 0),
        "00000000000000000007.timeindex": (10485756, 0),
    }
    assert (segment.base_offset, segment.next_offset, segment.size) == (7, 7, 0)


def test_create_empties_what_a_crash_left(tmp_path: Path) -> None:
    for suffix in (".log", ".index", ".timeindex"):
        Path(path_of(str(tmp_path), 7, suffix)).write_bytes(b"old" * 100)
    segment = new_segment(tmp_path, 7)
    assert (segment.size, segment.offset_index.entries) == (0, 0)
    assert Path(segment.log_path).read_bytes() == b""


def test_create_leaves_no_descriptor_when_it_fails(tmp_path: Path) -> None:
    class Failing(Files):
        def truncate(self, fd: int, size: int) -> None:
            raise OSError("no room")

    with pytest.raises(OSError):
        create_segment(Failing(), str(tmp_path), 0, SETTINGS, NOW)
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    open_files = [os.readlink(link) for link in links if os.path.lexists(link)]
    assert not [path for path in open_files if path.startswith(str(tmp_path))]


@pytest.mark.parametrize("which", [1, 2])
def test_create_takes_back_what_it_made_when_it_finds_no_room(tmp_path: Path, which: int) -> None:
    class Full(Files):
        made = 0

        def create(self, path: str) -> int:
            self.made += 1
            if self.made > which:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            return super().create(path)

    with pytest.raises(OSError, match="No space"):
        create_segment(Full(), str(tmp_path), 7, SETTINGS, NOW)
    assert os.listdir(tmp_path) == []


def test_open_finds_what_was_sealed(tmp_path: Path) -> None:
    old = sealed(tmp_path)
    segment = opened(tmp_path)
    assert entries(segment) == entries(old)
    for name in (
        "size", "next_offset", "max_timestamp", "offset_of_max_timestamp",
        "rolling_based_timestamp",
    ):  # fmt: skip
        assert getattr(segment, name) == getattr(old, name), name
    assert segment.sealed
    assert segment.trimmed
    assert segment.created_ms == NOW + 5
    assert segment.last_modified_ms == os.stat(segment.log_path).st_mtime_ns // 10**6


def test_open_believes_what_follows(tmp_path: Path) -> None:
    sealed(tmp_path)
    assert opened(tmp_path, next_offset=77).next_offset == 77


def test_open_of_an_empty_segment(tmp_path: Path) -> None:
    segment = new_segment(tmp_path)
    segment.seal()
    trim_segment(SYSTEM_FILES, segment)
    again = opened(tmp_path)
    assert (again.size, again.next_offset, again.rolling_based_timestamp) == (0, 0, -1)


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
def test_open_wants_both_indexes(tmp_path: Path, suffix: str) -> None:
    sealed(tmp_path)
    os.unlink(path_of(str(tmp_path), 0, suffix))
    with pytest.raises(CorruptIndexError):
        opened(tmp_path)


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
@pytest.mark.parametrize("change", ["odd", "zeros", "other"])
def test_open_refuses_bad_indexes(tmp_path: Path, suffix: str, change: str) -> None:
    sealed(tmp_path)
    path = Path(path_of(str(tmp_path), 0, suffix))
    data = path.read_bytes()
    assert data
    path.write_bytes(
        {
            "odd": data[:-1],
            "zeros": data + bytes(24 * 10),
            "other": data[-12:] + data if suffix == ".timeindex" else data[-8:] + data,
        }[change]
    )
    with pytest.raises(CorruptIndexError):
        opened(tmp_path)


def test_open_refuses_an_index_that_leaves_the_log(tmp_path: Path) -> None:
    segment = sealed(tmp_path)
    os.truncate(segment.log_path, 100)
    with pytest.raises(CorruptIndexError):
        opened(tmp_path)


def test_open_tells_of_a_tail_that_is_no_batch(tmp_path: Path) -> None:
    segment = sealed(tmp_path)
    with open(segment.log_path, "ab") as file:
        file.write(b"x" * 70)
    with pytest.raises(ValueError):
        opened(tmp_path)


def test_open_refuses_a_giant_without_reading_it(tmp_path: Path) -> None:
    segment = sealed(tmp_path)
    os.truncate(segment.log_path, MAX_SEGMENT_BYTES + 1)
    with pytest.raises(OSError):
        opened(tmp_path)
    os.truncate(segment.log_path, segment.size)
    os.truncate(segment.offset_index.path, 2**33)
    with pytest.raises(CorruptIndexError):
        opened(tmp_path)


@pytest.mark.parametrize("kept", [0, 1])
def test_open_refuses_indexes_that_reach_behind_the_log(tmp_path: Path, kept: int) -> None:
    """The file lost batches at its end: with the old indexes nothing could be appended."""
    segment = sealed(tmp_path, 2)
    size = segment.size // 2 * kept
    Path(segment.log_path).write_bytes(Path(segment.log_path).read_bytes()[:size])
    with pytest.raises(CorruptIndexError, match="reaches behind the end of the log"):
        opened(tmp_path)


def test_rebuild_gives_the_same_indexes(tmp_path: Path) -> None:
    old = sealed(tmp_path)
    wanted = entries(old)
    for damage in ("keep", "remove", "garbage"):
        for suffix in (".index", ".timeindex"):
            path = Path(path_of(str(tmp_path), 0, suffix))
            if damage == "remove":
                path.unlink()
            elif damage == "garbage":
                path.write_bytes(b"\xff" * 30_000)
        segment, cut_bytes, reason = rebuilt(tmp_path)
        assert (entries(segment), cut_bytes, reason) == (wanted, 0, "")
        trim_segment(SYSTEM_FILES, segment)
        # Nothing of an older index is left behind the entries.
        for index in (segment.offset_index, segment.time_index):
            assert os.stat(index.path).st_size == index.size_bytes
        assert entries(opened(tmp_path)) == wanted


def test_a_rebuilt_index_has_zeros_behind_its_entries(tmp_path: Path) -> None:
    sealed(tmp_path)
    for suffix in (".index", ".timeindex"):
        Path(path_of(str(tmp_path), 0, suffix)).write_bytes(b"\xff" * 30_000)
    segment, _, _ = rebuilt(tmp_path)
    for index, size in (
        (segment.offset_index, SETTINGS.offset_index_bytes),
        (segment.time_index, SETTINGS.time_index_bytes),
    ):
        data = Path(index.path).read_bytes()
        assert len(data) == size
        assert not any(data[index.size_bytes :])


def test_rebuild_cuts_a_torn_tail(tmp_path: Path) -> None:
    segment, written = filled_segment(tmp_path, 10)
    os.truncate(segment.log_path, segment.size - 5)
    again, cut_bytes, reason = rebuilt(tmp_path)
    assert (again.size, again.next_offset) == (sum(map(len, written[:9])), 9)
    assert (cut_bytes, reason) == (len(written[9]) - 5, "less than a batch is left")
    assert os.stat(segment.log_path).st_size == again.size


def test_rebuild_without_cutting_keeps_the_file(tmp_path: Path) -> None:
    segment, written = filled_segment(tmp_path, 10)
    os.pwrite(segment.fd, b"y", len(written[0]) * 4 - 5)
    again, cut_bytes, reason = rebuilt(tmp_path, cut=False)
    assert (again.size, cut_bytes, reason) == (segment.size, 0, "wrong checksum")
    assert again.next_offset == 3


def test_rebuild_reads_epochs(tmp_path: Path) -> None:
    segment = new_segment(tmp_path)
    for i, epoch in enumerate([1, 1, 4]):
        segment.append_batch(batch(base_offset=i, epoch=epoch), i, NOW, NOW)
    epochs: list[tuple[int, int]] = []
    rebuild_segment(
        SYSTEM_FILES, str(tmp_path), 0, SETTINGS, NOW, verify=True, cut=True, epochs=epochs
    )
    assert epochs == [(1, 0), (4, 2)]


def test_the_last_segment_gets_no_final_time_entry(tmp_path: Path) -> None:
    filled_segment(tmp_path, 2)
    result = rebuild_segment(
        SYSTEM_FILES, str(tmp_path), 0, SETTINGS, NOW, verify=True, cut=True, last=True
    )
    assert (result.segment.time_index.entries, result.segment.max_timestamp) == (0, NOW + 10)
    assert not result.segment.sealed


def test_activate_makes_room_again(tmp_path: Path) -> None:
    sealed(tmp_path, 20)
    segment = opened(tmp_path)
    assert segment.offset_index.full()
    activate(SYSTEM_FILES, segment, SETTINGS)
    assert segment.offset_index.max_entries == SETTINGS.offset_index_bytes // 8
    assert not segment.sealed
    data = batch(base_offset=20, timestamp=NOW + 10**6, size=300)
    segment.append_batch(data, 20, NOW + 10**6, NOW)
    segment.append_batch(batch(base_offset=21), 21, NOW, NOW)
    assert segment.offset_index.last_offset == 21


def test_trim_may_run_twice(tmp_path: Path) -> None:
    segment, _ = filled_segment(tmp_path, 20)
    segment.seal()
    for _ in range(2):
        trim_segment(SYSTEM_FILES, segment)
        assert os.stat(segment.offset_index.path).st_size == segment.offset_index.size_bytes
        assert os.stat(segment.time_index.path).st_size == segment.time_index.size_bytes
    assert segment.find(15) is not None


def test_reopen_shares_the_files(tmp_path: Path) -> None:
    old, _ = filled_segment(tmp_path, 30)
    segment = reopen_segment(SYSTEM_FILES, old, SETTINGS, NOW)
    assert entries(segment) == entries(old)
    segment.offset_index.truncate_to(10)
    assert old.find(29) is not None
    assert os.stat(old.offset_index.path).st_size == SETTINGS.offset_index_bytes


RESERVING = SegmentSettings(4096, 200, reserve_bytes=64 << 20, reserve_entries=300)


def test_preallocation_keeps_the_size_and_ends_with_the_segment(tmp_path: Path) -> None:
    segment = new_segment(tmp_path, settings=RESERVING)
    if not segment.allocated_bytes:
        pytest.skip("this file system cannot reserve blocks")
    assert segment.allocated_bytes == 64 << 20
    assert os.stat(segment.log_path).st_blocks * 512 >= 64 << 20
    assert os.stat(segment.offset_index.path).st_blocks * 512 >= 300 * 8
    segment.append_batch(batch(), 0, NOW, NOW)
    assert os.stat(segment.log_path).st_size == segment.size
    segment.seal()
    trim_segment(SYSTEM_FILES, segment)
    assert os.stat(segment.log_path).st_blocks * 512 <= 65536
    assert os.stat(segment.offset_index.path).st_blocks * 512 <= 65536


def test_without_room_to_preallocate_the_segment_is_made_and_holds_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(Files):
        def reserve(self, fd: int, position: int, size: int) -> bool:
            """As fallocate does it: takes what there is, and then says that it is not enough."""
            super().reserve(fd, position, size // 2)
            raise OSError(errno.ENOSPC, "no room")

    segment = create_segment(Full(), str(tmp_path), 0, RESERVING, NOW)
    assert not segment.allocated_bytes
    assert os.stat(segment.log_path).st_blocks == 0
    assert "cannot preallocate" in caplog.text
    segment.append_batch(batch(), 0, NOW, NOW)


def test_blocks_that_a_killed_process_reserved_are_given_back_in_the_end(tmp_path: Path) -> None:
    first = new_segment(tmp_path, settings=RESERVING)
    if not first.allocated_bytes:
        pytest.skip("this file system cannot reserve blocks")
    first.append_batch(batch(), 0, NOW, NOW)
    path = first.log_path
    del first
    segment = rebuilt(tmp_path)[0]
    activate(SYSTEM_FILES, segment, SegmentSettings(4096, 200))
    assert segment.allocated_bytes >= 64 * 1024 * 1024
    segment.seal()
    trim_segment(SYSTEM_FILES, segment)
    assert os.stat(path).st_blocks * 512 <= 65536
    activate(SYSTEM_FILES, segment, SegmentSettings(4096, 200))
    segment.set_allocated_bytes(0)
    activate(SYSTEM_FILES, segment, SegmentSettings(4096, 200))
    assert segment.allocated_bytes == 0


def test_mark_deleted(tmp_path: Path) -> None:
    new_segment(tmp_path, 0)
    new_segment(tmp_path, 10)
    paths = mark_deleted(SYSTEM_FILES, str(tmp_path), [0])
    assert sorted(os.path.basename(path) for path in paths) == [
        "00000000000000000000.index.deleted",
        "00000000000000000000.log.deleted",
        "00000000000000000000.timeindex.deleted",
    ]
    assert all(os.path.exists(path) for path in paths)
    assert not os.path.exists(path_of(str(tmp_path), 0, ".log"))
    assert os.path.exists(path_of(str(tmp_path), 10, ".log"))
    assert mark_deleted(SYSTEM_FILES, str(tmp_path), [0]) == []


@pytest.mark.parametrize(("suffix", "batches"), [(".index", 20), (".timeindex", 1)])
def test_open_refuses_indexes_that_are_too_empty(tmp_path: Path, suffix: str, batches: int) -> None:
    sealed(tmp_path, batches)
    Path(path_of(str(tmp_path), 0, suffix)).write_bytes(b"")
    with pytest.raises(CorruptIndexError):
        opened(tmp_path)


def test_one_large_batch_needs_no_offset_entry(tmp_path: Path) -> None:
    segment = new_segment(tmp_path)
    segment.append_batch(batch(size=5000), 0, NOW, NOW)
    segment.seal()
    trim_segment(SYSTEM_FILES, segment)
    assert opened(tmp_path).offset_index.entries == 0
