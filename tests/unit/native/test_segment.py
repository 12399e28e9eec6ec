"""Tests of the native segment: appends, index interval, look-ups with and without I/O."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

from tests.unit.native.log_harness import NOW, SETTINGS, batch, filled_segment, new_segment
from tidelog._native.segment import CorruptSegmentError, Segment
from tidelog.errors import InvariantError
from tidelog.storage.files import SYSTEM_FILES
from tidelog.storage.segment_files import SegmentSettings, open_segment, trim_segment


def reopened(segment: Segment) -> Segment:
    """The same files without the memory of recent batches."""
    segment.seal()
    trim_segment(SYSTEM_FILES, segment)
    return open_segment(
        SYSTEM_FILES, segment.directory, segment.base_offset, SETTINGS, NOW, next_offset=None
    )


def test_appends_stand_in_the_file_one_after_the_other(tmp_path: Path) -> None:
    segment, written = filled_segment(tmp_path, 5)
    assert Path(segment.log_path).read_bytes() == b"".join(written)
    assert segment.size == sum(map(len, written))
    assert segment.next_offset == 5


def test_large_appends(tmp_path: Path) -> None:
    """Written without the GIL."""
    segment = new_segment(tmp_path)
    data = batch(1, size=300_000)
    segment.append_batch(data, 0, NOW, NOW)
    assert Path(segment.log_path).read_bytes() == data


def test_index_entries_by_kafkas_rule(tmp_path: Path) -> None:
    """An entry for a batch when more than the interval was appended since the last indexed one."""
    segment = new_segment(tmp_path)
    since, position, expected, times = 0, 0, [], []
    newest = (-1, -1)
    for i in range(60):
        data = batch(2, base_offset=i * 2, timestamp=NOW + (i * 37) % 100, size=i % 50)
        timestamp = NOW + (i * 37) % 100 + 1
        if timestamp > newest[0]:
            newest = (timestamp, i * 2 + 1)
        if since > SETTINGS.index_interval_bytes:
            expected.append((i * 2 + 1, position))
            if not times or newest[0] > times[-1][0]:
                times.append(newest)
            since = 0
        segment.append_batch(data, i * 2 + 1, timestamp, NOW)
        since += len(data)
        position += len(data)
    index = segment.offset_index
    assert [index.entry(i) for i in range(index.entries)] == expected
    time = segment.time_index
    assert [time.entry(i) for i in range(time.entries)] == times
    assert (segment.max_timestamp, segment.offset_of_max_timestamp) == newest
    assert segment.bytes_since_index_entry == since


def test_the_first_batch_sets_the_time_of_rolling(tmp_path: Path) -> None:
    segment = new_segment(tmp_path)
    assert segment.rolling_based_timestamp == -1
    segment.append_batch(batch(timestamp=500), 0, 500, NOW)
    segment.append_batch(batch(timestamp=900, base_offset=1), 1, 900, NOW)
    assert segment.rolling_based_timestamp == 500


def test_seal_writes_the_newest_timestamp(tmp_path: Path) -> None:
    segment, _ = filled_segment(tmp_path, 2)
    assert segment.time_index.entries == 0
    segment.seal()
    assert segment.time_index.entry(0) == (NOW + 10, 1)
    segment.seal()
    assert segment.time_index.entries == 1
    with pytest.raises(InvariantError):
        segment.append_batch(batch(base_offset=2), 2, NOW, NOW)


def test_offsets_must_ascend_within_31_bits(tmp_path: Path) -> None:
    segment = new_segment(tmp_path, 100)
    segment.append_batch(batch(base_offset=100), 100, NOW, NOW)
    for last in (100, 99, 100 + 2**31):
        with pytest.raises(InvariantError):
            segment.append_batch(batch(base_offset=last), last, NOW, NOW)
    assert segment.size == len(batch())
    segment.append_batch(batch(base_offset=100 + 2**31 - 1), 100 + 2**31 - 1, NOW, NOW)


@pytest.mark.parametrize("batches", [1, 3, 63, 64, 65, 200])
@pytest.mark.parametrize("count", [1, 3])
def test_find_agrees_with_a_linear_search(tmp_path: Path, batches: int, count: int) -> None:
    """Both from the memory of recent batches and by index and headers."""
    segment, written = filled_segment(tmp_path, batches, count=count, base_offset=50)
    positions = [sum(map(len, written[:i])) for i in range(batches)]
    targets = [0, 50, *range(51, segment.next_offset + 2)]
    expected = []
    for target in targets:
        hit = [i for i in range(batches) if 50 + (i + 1) * count - 1 >= target]
        expected.append(
            (positions[hit[0]], len(written[hit[0]]), 50 + hit[0] * count) if hit else None
        )
    assert [segment.find(target) for target in targets] == expected
    assert [segment.scan(target, 0) for target in targets] == expected
    again = reopened(segment)
    assert [again.find(target) for target in targets] == expected


def test_find_passes_gaps(tmp_path: Path) -> None:
    segment = new_segment(tmp_path)
    for offset in (5, 20, 21):
        segment.append_batch(batch(base_offset=offset), offset, NOW, NOW)
    size = len(batch())
    for one in (segment, reopened(segment)):
        assert one.find(0) == (0, size, 5)
        assert one.find(6) == (size, size, 20)
        assert one.find(22) is None


def test_large_batches_are_skipped_by_their_size(tmp_path: Path) -> None:
    segment = new_segment(tmp_path)
    for offset in range(4):
        segment.append_batch(batch(base_offset=offset, size=20_000), offset, NOW, NOW)
    again = reopened(segment)
    found = again.find(3)
    assert found is not None
    assert found[2] == 3


def with_index(segment: Segment, slot: int, offset: int, position: int) -> Segment:
    """The segment opened anew with one entry of its offset index (relative offset) replaced."""
    segment.seal()
    trim_segment(SYSTEM_FILES, segment)
    with open(segment.offset_index.path, "r+b") as file:
        file.seek(slot * 8)
        file.write(struct.pack(">ii", offset, position))
    return open_segment(
        SYSTEM_FILES,
        segment.directory,
        segment.base_offset,
        SETTINGS,
        NOW,
        next_offset=segment.next_offset,
    )


@pytest.mark.parametrize("shift", [1, -1, 110, 330, -(2**31), 2**30])
def test_a_wrong_index_entry_leads_past_nothing(tmp_path: Path, shift: int) -> None:
    """One entry that points into a batch, to a later one or out of the file: what it covers is
    found from the entry before it."""
    segment, _ = filled_segment(tmp_path, 40)
    expected = [segment.scan(target, 0) for target in range(40)]
    offset, position = segment.offset_index.entry(3)
    again = with_index(segment, 3, offset, max(-(2**31), min(position + shift, 2**31 - 1)))
    assert [again.find(target) for target in range(40)] == expected


def test_a_wrong_index_is_an_error_and_no_gap(tmp_path: Path) -> None:
    segment, _ = filled_segment(tmp_path, 40)
    expected = [segment.scan(target, 0) for target in range(40)]
    entries = [segment.offset_index.entry(i) for i in range(segment.offset_index.entries)]
    again = segment
    for slot, (offset, position) in enumerate(entries[:-1]):
        again = with_index(segment, slot, offset, position + 3 * 110)
    failed = 0
    for target in range(40):
        try:
            assert again.find(target) == expected[target]
        except CorruptSegmentError:
            failed += 1
    assert 0 < failed < 40


def test_a_batch_beyond_the_segments_end_is_an_error(tmp_path: Path) -> None:
    """Base offsets have no checksum: a reader must not be sent where nothing is."""
    segment, written = filled_segment(tmp_path, 3)
    again = reopened(segment)
    damage(again, 2 * len(written[0]), struct.pack(">q", 2**40))
    assert again.find(1) is not None
    with pytest.raises(CorruptSegmentError, match="no batch where 2 should be"):
        again.find(2)


def damage(segment: Segment, position: int, data: bytes) -> None:
    os.pwrite(segment.fd, data, position)


@pytest.mark.parametrize(
    ("at", "data"),
    [
        (8, struct.pack(">i", -1)),  # length
        (8, struct.pack(">i", 2**31 - 1)),
        (8, bytes(4)),
        (16, b"\x01"),  # magic
        (23, struct.pack(">i", -5)),  # last offset delta
    ],
)
def test_a_bad_header_is_an_error_not_a_loop(tmp_path: Path, at: int, data: bytes) -> None:
    segment, written = filled_segment(tmp_path, 3, size=1)  # too small for an index entry
    damage(segment, len(written[0]) + at, data)
    again = open_segment(SYSTEM_FILES, *_sealed(segment), SETTINGS, NOW, next_offset=3)
    assert again.find(0) is not None
    with pytest.raises(CorruptSegmentError):
        again.find(2)


def _sealed(segment: Segment) -> tuple[str, int]:
    segment.seal()
    trim_segment(SYSTEM_FILES, segment)
    return segment.directory, segment.base_offset


def test_a_shortened_file_is_an_error(tmp_path: Path) -> None:
    segment, written = filled_segment(tmp_path, 100)
    again = reopened(segment)
    os.truncate(segment.log_path, len(written[0]) + 30)
    with pytest.raises(CorruptSegmentError):
        again.find(2)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """A short write, then an error: the file is cut back to the last whole batch."""

    class Full:
        def __init__(self) -> None:
            self.calls = 0

        def pwrite(self, fd: int, data: bytes, position: int) -> int:
            self.calls += 1
            if self.calls == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return os.pwrite(fd, data[:20], position)

        def truncate(self, fd: int, size: int) -> None:
            os.ftruncate(fd, size)

    segment, written = filled_segment(tmp_path, 2)
    segment.write_hook = Full()
    with pytest.raises(OSError) as caught:
        segment.append_batch(batch(base_offset=2), 2, NOW, NOW)
    assert caught.value.errno == errno.ENOSPC
    assert Path(segment.log_path).read_bytes() == b"".join(written)
    assert (segment.size, segment.next_offset) == (sum(map(len, written)), 2)
    assert not segment.torn
    segment.write_hook = None
    segment.append_batch(batch(base_offset=2), 2, NOW, NOW)
    assert segment.find(2) == (sum(map(len, written)), len(batch()), 2)


def test_no_room_in_an_index_leaves_nothing(tmp_path: Path) -> None:
    segment, _ = filled_segment(tmp_path, 2, size=100)
    assert segment.bytes_since_index_entry > SETTINGS.index_interval_bytes
    os.unlink(segment.offset_index.path)
    size = segment.size
    with pytest.raises(OSError):
        segment.append_batch(batch(base_offset=2), 2, NOW, NOW)
    assert segment.size == size == os.stat(segment.log_path).st_size


def test_read_at_never_leaves_the_valid_bytes(tmp_path: Path) -> None:
    segment, written = filled_segment(tmp_path, 2)
    whole = b"".join(written)
    assert segment.read_at(0, 2**40) == whole
    assert segment.read_at(len(whole) - 3, 10) == whole[-3:]
    assert segment.read_at(len(whole) + 10, 10) == b""
    with pytest.raises(ValueError):
        segment.read_at(-1, 10)


def test_moved_to_follows_the_folder(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    segment, _ = filled_segment(old, 2)
    os.rename(old, tmp_path / "new")
    segment.moved_to(str(tmp_path / "new"))
    for path in (segment.log_path, segment.offset_index.path, segment.time_index.path):
        assert os.path.exists(path)


def test_the_descriptor_closes_with_the_last_reference(tmp_path: Path) -> None:
    segment, written = filled_segment(tmp_path, 2)
    fd = segment.fd
    kept = segment
    del segment
    os.unlink(kept.log_path)
    assert kept.read_at(0, 10) == written[0][:10]
    del kept
    with pytest.raises(OSError):
        os.fstat(fd)


def test_close_is_repeatable(tmp_path: Path) -> None:
    segment, _ = filled_segment(tmp_path, 1)
    segment.close()
    segment.close()
    assert segment.fd == -1
    with pytest.raises(InvariantError):
        segment.append_batch(batch(base_offset=1), 1, NOW, NOW)


def test_resize_only_before_use(tmp_path: Path) -> None:
    segment, written = filled_segment(tmp_path, 3)
    with pytest.raises(InvariantError):
        segment.resize(0, 0)
    again = reopened(segment)
    again.resize(len(written[0]), 1)
    assert (again.size, again.next_offset) == (len(written[0]), 1)
    with pytest.raises(InvariantError):
        again.resize(10**6, 1)


def test_preallocation_leaves_the_size(tmp_path: Path) -> None:
    segment = new_segment(tmp_path, settings=SegmentSettings(reserve_bytes=10**6))
    assert segment.allocated_bytes == 10**6
    assert os.stat(segment.log_path).st_size == 0


def test_short_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        new_segment(tmp_path).append_batch(b"short", 0, NOW, NOW)
