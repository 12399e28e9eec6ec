"""Tests of opening a log: what is believed, what is verified, cut, rebuilt, tidied and told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.native.log_harness import NOW, batch
from tests.unit.storage.loader_fixtures import bases, content, flip, load, log_path, write_log
from tidelog._native import log_file
from tidelog.errors import StorageError
from tidelog.storage.leader_epochs import EpochEntry
from tidelog.storage.segment_files import path_of
from tidelog.storage.written_positions import Written


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path)


# ---- the ordinary ways


def test_an_empty_folder(directory: str) -> None:
    loaded = load(directory)
    assert (loaded.segments, loaded.log_start_offset, loaded.log_end_offset) == ([], 0, 0)
    assert os.listdir(directory) == []


def test_an_empty_folder_with_a_known_start(directory: str) -> None:
    """Every segment was removed by hand: offsets are not given again."""
    loaded = load(directory, log_start_offset=12)
    assert (loaded.log_start_offset, loaded.log_end_offset) == (12, 12)
    assert loaded.producers.map_end_offset == 12


def test_after_a_clean_stop_everything_is_believed(directory: str) -> None:
    written = write_log(directory)
    loaded = load(directory, clean=True)
    assert content(loaded) == b"".join(written)
    assert (loaded.log_end_offset, loaded.recovery_point) == (30, 30)
    assert loaded.report.verified_bytes == 0
    assert not loaded.report.eventful
    assert len(loaded.segments) > 2
    assert [s.sealed for s in loaded.segments] == [True] * (len(loaded.segments) - 1) + [False]
    assert loaded.epochs.entries == [EpochEntry(0, 0), EpochEntry(1, 15)]
    entry = loaded.producers.entry(5)
    assert entry is not None
    assert [kept[0] for kept in entry.retained] == [29]  # of the snapshot


def test_a_process_that_had_just_rolled_had_written_all_of_the_segment_before(
    directory: str,
) -> None:
    written = write_log(directory, clean=False)
    for suffix in (".log", ".index", ".timeindex"):
        Path(path_of(directory, 30, suffix)).touch()
    loaded = load(directory, written=Written(30, 0))
    assert content(loaded) == b"".join(written)
    assert (loaded.log_end_offset, loaded.report.verified_bytes) == (30, 0)
    assert bases(directory)[-1] < 30


def test_after_a_crash_only_what_may_be_unsynced_is_read(directory: str) -> None:
    written = write_log(directory, clean=False)
    starts = bases(directory)
    loaded = load(directory, recovery_point=starts[2] + 1)
    assert content(loaded) == b"".join(written)
    assert loaded.report.verified_bytes == sum(
        os.path.getsize(log_path(directory, base)) for base in starts[2:]
    )
    assert loaded.recovery_point == starts[2] + 1
    assert not loaded.report.eventful


def test_a_segment_that_ends_at_the_recovery_point_is_believed(directory: str) -> None:
    write_log(directory, clean=False)
    starts = bases(directory)
    loaded = load(directory, recovery_point=starts[1])
    assert loaded.report.verified_bytes == sum(
        os.path.getsize(log_path(directory, base)) for base in starts[1:]
    )


def test_a_recovery_point_behind_the_end_is_corrected(directory: str) -> None:
    write_log(directory, clean=False)
    assert load(directory, recovery_point=1000).recovery_point == 30


# ---- torn tails


@pytest.mark.parametrize("left", [0, 1, 11, 60, 61, 80])
def test_a_torn_batch_is_cut(directory: str, left: int) -> None:
    written = write_log(directory, clean=False)
    last = bases(directory)[-1]
    size = os.path.getsize(log_path(directory, last))
    os.truncate(log_path(directory, last), size - len(written[-1]) + left)
    loaded = load(directory)
    assert content(loaded) == b"".join(written[:-1])
    assert (loaded.log_end_offset, loaded.report.cut_bytes) == (29, left)
    assert loaded.report.cut_at_offset == (29 if left else -1)
    assert not loaded.report.lost_synced_bytes
    entry = loaded.producers.entry(5)
    assert entry is not None
    assert entry.retained[-1][0] == 28


def test_what_follows_a_bad_batch_goes(directory: str) -> None:
    written = write_log(directory, clean=False)
    starts = bases(directory)
    with open(log_path(directory, starts[1]), "r+b") as file:
        file.seek(len(written[0]) + 80)
        file.write(b"\xff")
    loaded = load(directory)
    assert loaded.log_end_offset == starts[1] + 1
    assert content(loaded) == b"".join(written[: starts[1] + 1])
    assert loaded.report.removed_segments == starts[2:]
    assert loaded.report.cut_reason == "wrong checksum"
    assert bases(directory) == starts[:2]
    assert len(loaded.deleted_files) == 3 * len(starts[2:])
    assert loaded.epochs.latest_epoch == (0 if loaded.log_end_offset <= 15 else 1)
    # And the next opening finds a log in order.
    again = load(directory)
    assert content(again) == content(loaded)
    assert not again.report.eventful


def test_recovery_may_be_repeated(directory: str) -> None:
    write_log(directory, clean=False)
    last = bases(directory)[-1]
    with open(log_path(directory, last), "ab") as file:
        file.write(b"tail")
    first = load(directory)
    before = content(first)
    for _ in range(2):
        assert content(load(directory)) == before


def test_a_hole_between_segments_ends_the_log(directory: str) -> None:
    written = write_log(directory, clean=False)
    starts = bases(directory)
    size = os.path.getsize(log_path(directory, starts[0]))
    os.truncate(log_path(directory, starts[0]), size - len(written[0]))
    loaded = load(directory)
    assert loaded.log_end_offset == starts[1] - 1
    assert loaded.report.removed_segments == starts[1:]
    assert "nothing between" in loaded.report.cut_reason


def test_a_hole_is_kept_where_gaps_are_usual(directory: str) -> None:
    written = write_log(directory, clean=False)
    starts = bases(directory)
    size = os.path.getsize(log_path(directory, starts[0]))
    os.truncate(log_path(directory, starts[0]), size - len(written[0]))
    loaded = load(directory, gaps_allowed=True)
    assert loaded.log_end_offset == 30
    assert not loaded.report.eventful


def test_overlapping_segments_are_an_error(directory: str) -> None:
    write_log(directory, clean=False)
    starts = bases(directory)
    with open(log_path(directory, starts[0]), "ab") as file:
        file.write(batch(base_offset=starts[1] + 5))
    with pytest.raises(StorageError):
        load(directory)


# ---- what can be rebuilt


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("suffix", [".index", ".timeindex", ".snapshot", "leader-epoch-checkpoint"])
@pytest.mark.parametrize("how", ["gone", "empty", "garbage"])
def test_lost_files_change_no_answer(directory: str, clean: bool, suffix: str, how: str) -> None:
    written = write_log(directory, clean=clean)
    before = load(directory, clean=clean, recovery_point=17)
    wanted = [
        (s.base_offset, s.offset_index.find(2**40), s.time_index.find(2**60), s.max_timestamp)
        for s in before.segments[:-1]
    ]
    for name in os.listdir(directory):
        if name.endswith(suffix):
            path = Path(directory, name)
            if how == "gone":
                path.unlink()
            else:
                path.write_bytes(b"" if how == "empty" else b"\x7f" * 111)
    loaded = load(directory, clean=clean, recovery_point=17)
    assert content(loaded) == b"".join(written)
    assert [
        (s.base_offset, s.offset_index.find(2**40), s.time_index.find(2**60), s.max_timestamp)
        for s in loaded.segments[:-1]
    ] == wanted
    assert loaded.segments[-1].max_timestamp == NOW + 29
    assert loaded.epochs.entries == [EpochEntry(0, 0), EpochEntry(1, 15)]
    entry = loaded.producers.entry(5)
    assert entry is not None
    assert entry.retained[-1][:2] == (29, 29)


def test_orphaned_indexes_are_removed(directory: str) -> None:
    write_log(directory)
    for suffix in (".index", ".timeindex", ".txnindex"):
        Path(path_of(directory, 999, suffix)).write_bytes(b"")
    loaded = load(directory, clean=True)
    assert sorted(loaded.report.removed_files) == [
        f"{999:020d}{suffix}" for suffix in (".index", ".timeindex", ".txnindex")
    ]


def test_snapshots_beyond_the_end_are_removed(directory: str) -> None:
    write_log(directory)
    for offset in (31, 1000):
        Path(path_of(directory, offset, ".snapshot")).write_bytes(b"")
    load(directory, clean=True)
    assert max(int(n[:20]) for n in os.listdir(directory) if n.endswith(".snapshot")) == 30


def test_idle_producers_are_not_loaded(directory: str) -> None:
    write_log(directory)
    assert load(directory, clean=True, now_ms=NOW + 10**9).producers.entry(5) is None


def test_leader_epochs_before_a_log_start_that_was_lost(directory: str) -> None:
    """The checkpoint was cut for a DeleteRecords whose log start never got to the disk."""
    write_log(directory, clean=False)
    Path(directory, "leader-epoch-checkpoint").write_bytes(b"0\n1\n1 20\n")
    assert load(directory).epochs.entries == [EpochEntry(0, 0), EpochEntry(1, 15)]


def test_leader_epochs_of_segments_that_a_killed_process_wrote(directory: str) -> None:
    write_log(directory, clean=False)
    Path(directory, "leader-epoch-checkpoint").write_bytes(b"0\n1\n0 0\n")
    size = os.path.getsize(log_path(directory, bases(directory)[-1]))
    written = Written(bases(directory)[-1], size)
    loaded = load(directory, written=written)
    assert loaded.report.verified_bytes == 0
    assert loaded.epochs.entries == [EpochEntry(0, 0), EpochEntry(1, 15)]


def test_a_log_of_many_segments_holds_few_descriptors(directory: str) -> None:
    written = write_log(directory, 60)
    log_file.set_limit(2)
    try:
        for clean in (True, False):
            loaded = load(directory, clean=clean, recovery_point=60)
            closed = [segment for segment in loaded.segments if segment.fd < 0]
            assert len(loaded.segments) >= 6
            assert len(closed) >= len(loaded.segments) - 3
            assert loaded.segments[-1].fd >= 0
            assert content(loaded) == b"".join(written)
    finally:
        log_file.set_limit(512)


# ---- empty segments


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("gaps_allowed", [True, False])
@pytest.mark.parametrize("recovery_point", [0, 30])
def test_an_empty_segment_does_not_hide_what_the_one_before_holds(
    directory: str, clean: bool, gaps_allowed: bool, recovery_point: int
) -> None:
    """A roll found no room and left it; appends that fitted went on in the old segment."""
    written = write_log(directory)
    last = bases(directory)[-1]
    Path(log_path(directory, last + 2)).write_bytes(b"")
    loaded = load(directory, clean=clean, gaps_allowed=gaps_allowed, recovery_point=recovery_point)
    assert content(loaded) == b"".join(written)
    assert loaded.log_end_offset == 30
    assert bases(directory)[-1] == last


def test_an_empty_segment_in_the_middle(directory: str) -> None:
    written = write_log(directory)
    Path(log_path(directory, bases(directory)[0] + 2)).write_bytes(b"")
    for clean in (False, True):
        assert content(load(directory, clean=clean)) == b"".join(written)


def test_an_empty_segment_behind_a_gap_is_the_end_of_a_compacted_log(directory: str) -> None:
    write_log(directory)
    for suffix in (".log", ".index", ".timeindex"):
        Path(path_of(directory, 40, suffix)).write_bytes(b"")
    assert load(directory, clean=True, gaps_allowed=True).log_end_offset == 40
    assert load(directory, clean=False, gaps_allowed=True).log_end_offset == 40
    assert load(directory, clean=True).log_end_offset == 30


def test_leader_epochs_follow_the_log(directory: str) -> None:
    """Epochs that the checkpoint lacks are found in the batches; those behind the end go."""
    write_log(directory, clean=False)
    path = Path(directory, "leader-epoch-checkpoint")
    path.write_bytes(b"0\n1\n0 0\n")
    assert load(directory).epochs.entries == [EpochEntry(0, 0), EpochEntry(1, 15)]
    path.write_bytes(b"0\n3\n0 0\n1 15\n7 30\n")
    assert load(directory).epochs.entries == [EpochEntry(0, 0), EpochEntry(1, 15)]
    assert path.read_bytes() == b"0\n2\n0 0\n1 15\n"
    assert load(directory, log_start_offset=20).epochs.entries == [EpochEntry(1, 20)]


# ---- log start


def test_the_log_start_is_the_checkpoint_or_the_first_segment(directory: str) -> None:
    write_log(directory)
    assert load(directory, clean=True, log_start_offset=4).log_start_offset == 4
    first = bases(directory)[1]
    for suffix in (".log", ".index", ".timeindex"):
        os.unlink(path_of(directory, 0, suffix))
    assert load(directory, clean=True, log_start_offset=4).log_start_offset == first


def test_a_log_that_ends_before_its_start_begins_anew_there(directory: str) -> None:
    write_log(directory)
    loaded = load(directory, clean=True, log_start_offset=100)
    assert (loaded.segments, loaded.log_start_offset, loaded.log_end_offset) == ([], 100, 100)
    assert loaded.report.notes
    assert bases(directory) == []
    assert all(os.path.exists(path) for path in loaded.deleted_files)


# ---- what a crash left half done


def test_deleted_cleaned_and_temporary_files_are_removed(directory: str) -> None:
    write_log(directory)
    kept = set(os.listdir(directory))
    for name in (
        "00000000000000000000.log.deleted",
        "00000000000000000000.index.deleted",
        "00000000000000000003.log.cleaned",
        "leader-epoch-checkpoint.tmp",
    ):
        Path(directory, name).write_bytes(b"x")
    loaded = load(directory, clean=True)
    assert set(os.listdir(directory)) == kept
    assert len(loaded.report.removed_files) == 4


def test_other_files_are_left_alone(directory: str) -> None:
    Path(directory, "partition.metadata").write_bytes(b"x")
    Path(directory, "notes.txt").write_bytes(b"x")
    Path(directory, "folder.deleted").mkdir()
    load(directory)
    assert sorted(os.listdir(directory)) == ["folder.deleted", "notes.txt", "partition.metadata"]


def test_a_complete_swap_is_finished(directory: str) -> None:
    """Compaction wrote one segment in place of the first two and was about to rename it."""
    written = write_log(directory)
    starts = bases(directory)
    compacted = written[0] + written[starts[2] - 1]
    Path(log_path(directory, 0) + ".swap").write_bytes(compacted)
    loaded = load(directory, clean=True)
    assert bases(directory) == [0, *starts[2:]]
    assert content(loaded) == compacted + b"".join(written[starts[2] :])
    assert loaded.segments[0].find(5) is not None


def test_a_swap_beside_unfinished_output_is_dropped(directory: str) -> None:
    written = write_log(directory)
    Path(log_path(directory, 0) + ".cleaned").write_bytes(b"")
    Path(log_path(directory, 0) + ".swap").write_bytes(written[0])
    loaded = load(directory, clean=True)
    assert content(loaded) == b"".join(written)


def test_a_folder_that_is_not_there_is_an_error(directory: str) -> None:
    with pytest.raises(OSError):
        load(os.path.join(directory, "none"))


# ---- written positions of a killed process


def test_what_a_killed_process_wrote_is_not_verified(directory: str) -> None:
    written = write_log(directory, clean=False)
    last = bases(directory)[-1]
    size = os.path.getsize(log_path(directory, last))
    flip(log_path(directory, 0), 70)  # which nobody looks for
    flip(log_path(directory, last), 70)
    loaded = load(directory, written=Written(last, size))
    assert (loaded.log_end_offset, loaded.recovery_point) == (30, 0), "it may not be on the disk"
    assert (loaded.report.verified_bytes, loaded.report.eventful) == (0, False)
    assert len(content(loaded)) == sum(map(len, written))
    entry = loaded.producers.entry(5)
    assert entry is not None
    assert entry.retained[-1][1] == 29


def test_what_stands_behind_the_written_position_is_verified(directory: str) -> None:
    written = write_log(directory, clean=False)
    last = bases(directory)[-1]
    path = log_path(directory, last)
    size = os.path.getsize(path)
    flip(path, size - 1)
    loaded = load(directory, written=Written(last, size - len(written[-1])))
    assert (loaded.log_end_offset, loaded.report.cut_bytes) == (29, len(written[-1]))
    assert loaded.report.cut_reason == "wrong checksum"


def test_a_segment_behind_the_written_one_is_verified(directory: str) -> None:
    write_log(directory, clean=False)
    *_, before, last = bases(directory)
    flip(log_path(directory, last), 70)
    loaded = load(directory, written=Written(before, os.path.getsize(log_path(directory, before))))
    assert loaded.log_end_offset == last
    assert loaded.report.cut_bytes


def test_a_file_that_is_shorter_than_was_written_is_verified(directory: str) -> None:
    write_log(directory, clean=False)
    last = bases(directory)[-1]
    path = log_path(directory, last)
    size = os.path.getsize(path)
    os.truncate(path, size - 3)
    flip(path, 70)
    loaded = load(directory, written=Written(last, size))
    assert loaded.log_end_offset == last
