"""Tests of the native log core: every answer of an append, rolling rules, reads, fencing."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from tests.unit.native.log_harness import (
    NOW,
    VERSION,
    Owner,
    batch,
    new_core,
    new_segment,
    produce,
    roll,
)
from tidelog._native.batch import is_crc_ok, parse
from tidelog._native.log import (
    STATUS_APPENDED,
    STATUS_DUPLICATE,
    STATUS_NEEDS_RECOMPRESS,
    STATUS_NEEDS_ROLL,
    STATUS_REFUSED,
    LogCore,
)
from tidelog._native.producer_state import ProducerStates
from tidelog.errors import InvariantError
from tidelog.protocol.error_codes import ErrorCode
from tidelog.record.builder import NewRecord, Producer, build_batch, end_txn_marker
from tidelog.storage.files import SYSTEM_FILES
from tidelog.storage.segment_files import (
    SegmentSettings,
    create_segment,
    open_segment,
    trim_segment,
)

SIZE = len(batch())


# ---- appends of clients


def test_offsets_are_given_in_order(tmp_path: Path) -> None:
    core = new_core(tmp_path)
    assert produce(core, batch(3))[:5] == (STATUS_APPENDED, 0, 0, 2, -1)
    assert produce(core, batch(1))[:5] == (STATUS_APPENDED, 0, 3, 3, -1)
    assert core.log_end_offset == 4
    assert core.producers.map_end_offset == 4


def test_the_stamps_are_in_the_buffer_and_in_the_file(tmp_path: Path) -> None:
    core = new_core(tmp_path)
    produce(core, batch(3))
    data = bytearray(batch(2))
    core.produce(data, 7, VERSION, NOW)
    header = parse(data)
    assert header is not None
    assert (header.base_offset, header.partition_leader_epoch) == (3, 7)
    assert is_crc_ok(data)
    segment = core.active_segment
    assert segment is not None
    assert segment.read_at(segment.size - len(data), len(data)) == data


def test_a_log_without_files_wants_a_roll_first(tmp_path: Path) -> None:
    core = LogCore(ProducerStates())
    core.install([], log_start_offset=5, log_end_offset=5, recovery_point=5)
    data = batch()
    before = bytes(data)
    answer = core.produce(data, 0, VERSION, NOW)
    assert answer[0] == STATUS_NEEDS_ROLL
    assert data == before
    assert core.roll_wanted
    assert core.read_region(5, 100, 5)[:2] == (0, None)
    assert core.read_region(6, 100, 6)[0] == ErrorCode.OFFSET_OUT_OF_RANGE
    assert core.bytes_available(5, 5) == 0


def test_refusals_change_nothing(tmp_path: Path) -> None:
    core = new_core(tmp_path, max_message_bytes=200, segment_bytes=150)
    broken = bytearray(batch())
    broken[-1] ^= 1
    for data, code in [
        (broken, ErrorCode.CORRUPT_MESSAGE),
        (batch(size=300), ErrorCode.MESSAGE_TOO_LARGE),
        (batch(size=100), ErrorCode.RECORD_LIST_TOO_LARGE),
        (b"", ErrorCode.INVALID_RECORD),
    ]:
        status, error, base, last, *_ = produce(core, data)
        assert (status, error, base, last) == (STATUS_REFUSED, code, -1, -1)
    assert (core.log_end_offset, core.size_bytes) == (0, 0)


def test_recompression_is_asked_for_before_anything_else(tmp_path: Path) -> None:
    core = new_core(tmp_path, target_codec=4)
    data = batch()
    before = bytes(data)
    assert core.produce(data, 0, VERSION, NOW)[0] == STATUS_NEEDS_RECOMPRESS
    assert (data, core.log_end_offset) == (before, 0)


def test_log_append_time(tmp_path: Path) -> None:
    core = new_core(tmp_path, log_append_time=True)
    data = bytearray(batch(2, timestamp=5))
    assert core.produce(data, 0, VERSION, NOW)[:5] == (STATUS_APPENDED, 0, 0, 1, NOW)
    header = parse(data)
    assert header is not None
    assert (header.max_timestamp, header.is_log_append_time, is_crc_ok(data)) == (NOW, True, True)
    assert core.active_segment is not None
    assert core.active_segment.max_timestamp == NOW


def test_log_append_time_is_not_stamped_before_a_roll(tmp_path: Path) -> None:
    core = new_core(tmp_path, log_append_time=True, segment_bytes=SIZE)
    produce(core, batch(timestamp=5))
    data = bytearray(batch(timestamp=5))
    before = bytes(data)
    assert core.produce(data, 0, VERSION, NOW)[0] == STATUS_NEEDS_ROLL
    assert data == before


# ---- idempotent producers


def test_a_duplicate_is_answered_with_its_first_offsets(tmp_path: Path) -> None:
    core = new_core(tmp_path)
    produce(core, batch(2))
    first = batch(3, producer=Producer(9, 0, 0), timestamp=NOW)
    assert produce(core, first)[:4] == (STATUS_APPENDED, 0, 2, 4)
    size = core.size_bytes
    assert produce(core, first)[:5] == (STATUS_DUPLICATE, 0, 2, 4, NOW + 2)
    assert (core.size_bytes, core.log_end_offset) == (size, 5)


def test_a_duplicate_does_not_ask_for_a_roll(tmp_path: Path) -> None:
    core = new_core(tmp_path, segment_bytes=SIZE + 10)
    data = batch(producer=Producer(9, 0, 0))
    produce(core, data)
    assert produce(core, data)[0] == STATUS_DUPLICATE


@pytest.mark.parametrize(
    ("producer", "code"),
    [
        (Producer(9, 0, 5), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER),
        (Producer(9, 1, 3), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER),
    ],
)
def test_sequences_are_checked(tmp_path: Path, producer: Producer, code: int) -> None:
    core = new_core(tmp_path)
    produce(core, batch(producer=Producer(9, 0, 0)))
    assert produce(core, batch(producer=producer))[:4] == (STATUS_REFUSED, code, -1, -1)
    assert produce(core, batch(producer=Producer(9, 0, 1)))[:2] == (STATUS_APPENDED, 0)


def test_an_old_epoch_is_refused(tmp_path: Path) -> None:
    core = new_core(tmp_path)
    produce(core, batch(producer=Producer(9, 3, 0)))
    answer = produce(core, batch(producer=Producer(9, 2, 1)))
    assert answer[:2] == (STATUS_REFUSED, ErrorCode.INVALID_PRODUCER_EPOCH)


# ---- batches of the broker itself


def test_built_batches_skip_the_clients_checks_but_size(tmp_path: Path) -> None:
    core = new_core(tmp_path, max_message_bytes=200, timestamp_after_max_ms=0)
    assert core.append_batch(batch(2, timestamp=NOW * 2), 3, NOW) == (STATUS_APPENDED, 0, 0, 1)
    answer = core.append_batch(batch(size=300), 3, NOW)
    assert answer[:2] == (STATUS_REFUSED, ErrorCode.MESSAGE_TOO_LARGE)


def test_built_batches_must_be_whole(tmp_path: Path) -> None:
    core = new_core(tmp_path)
    for data in (bytearray(), batch()[:-1], batch() + b"x", bytearray(61)):
        with pytest.raises(InvariantError):
            core.append_batch(data, 0, NOW)


def test_a_recompressed_batch_keeps_its_sequence_check(tmp_path: Path) -> None:
    core = new_core(tmp_path)
    data = batch(producer=Producer(9, 0, 0), codec=1)
    assert core.append_batch(bytearray(data), 0, NOW)[:2] == (STATUS_APPENDED, 0)
    assert core.append_batch(bytearray(data), 0, NOW) == (STATUS_DUPLICATE, 0, 0, 0)
    gap = batch(producer=Producer(9, 0, 7), codec=1)
    answer = core.append_batch(gap, 0, NOW)
    assert answer[:2] == (STATUS_REFUSED, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)


def test_built_batches_get_the_append_time(tmp_path: Path) -> None:
    core = new_core(tmp_path, log_append_time=True)
    data = batch(timestamp=5)
    core.append_batch(data, 0, NOW)
    header = parse(data)
    assert header is not None
    assert (header.max_timestamp, header.is_log_append_time, is_crc_ok(data)) == (NOW, True, True)


def test_markers_end_transactions(tmp_path: Path) -> None:
    owner = Owner()
    core = new_core(tmp_path, owner)
    data = build_batch(
        [NewRecord(NOW, None, b"t")], producer=Producer(4, 0, 0), is_transactional=True
    )
    assert produce(core, data)[:2] == (STATUS_APPENDED, 0)
    assert core.producers.first_unstable_offset_value == 0
    marker = end_txn_marker(
        producer_id=4, producer_epoch=0, is_commit=False, coordinator_epoch=0, timestamp=NOW
    )
    assert core.append_batch(marker, 0, NOW) == (STATUS_APPENDED, 0, 1, 1)
    assert owner.aborted == [(4, 0, 1)]


# ---- leader epochs


def test_a_new_epoch_is_told_once(tmp_path: Path) -> None:
    owner = Owner()
    core = new_core(tmp_path, owner)
    for epoch in (2, 2, 5):
        produce(core, batch(), epoch)
    assert owner.epochs == [(2, 0), (5, 2)]
    assert core.leader_epoch == 5


# ---- rolling


def test_roll_by_size(tmp_path: Path) -> None:
    core = new_core(tmp_path, segment_bytes=SIZE * 2)
    assert produce(core, batch())[0] == STATUS_APPENDED
    assert produce(core, batch())[0] == STATUS_APPENDED
    assert produce(core, batch())[0] == STATUS_NEEDS_ROLL
    assert roll(core, tmp_path) is not None
    assert produce(core, batch())[2] == 2
    assert [s.base_offset for s in core.segment_list] == [0, 2]


def test_roll_by_the_timestamps_of_the_batches(tmp_path: Path) -> None:
    core = new_core(tmp_path, segment_ms=1000)
    assert produce(core, batch(timestamp=NOW))[0] == STATUS_APPENDED
    later = NOW + 10**9
    assert produce(core, batch(timestamp=NOW + 1000), now=later)[0] == STATUS_APPENDED
    assert produce(core, batch(timestamp=NOW + 1001), now=NOW)[0] == STATUS_NEEDS_ROLL


def test_roll_by_the_clock_without_timestamps(tmp_path: Path) -> None:
    core = new_core(tmp_path, segment_ms=1000)
    assert produce(core, batch(timestamp=-1))[0] == STATUS_APPENDED
    assert produce(core, batch(timestamp=-1), now=NOW + 1000)[0] == STATUS_APPENDED
    assert produce(core, batch(timestamp=-1), now=NOW + 1001)[0] == STATUS_NEEDS_ROLL


def test_jitter_rolls_earlier(tmp_path: Path) -> None:
    core = new_core(tmp_path, segment_ms=1000)
    produce(core, batch())
    roll(core, tmp_path, jitter_ms=400)
    produce(core, batch(timestamp=NOW))
    assert produce(core, batch(timestamp=NOW + 600))[0] == STATUS_APPENDED
    assert produce(core, batch(timestamp=NOW + 601))[0] == STATUS_NEEDS_ROLL


def test_an_empty_segment_is_never_rolled_by_time_or_size(tmp_path: Path) -> None:
    core = new_core(tmp_path, segment_ms=0)
    assert produce(core, batch(timestamp=-1), now=NOW + 10**9)[0] == STATUS_APPENDED


@pytest.mark.parametrize("index_bytes", [24, 40])
def test_roll_by_a_full_index(tmp_path: Path, index_bytes: int) -> None:
    """24 bytes: two time entries, one of them kept; 40: three and one."""
    core = LogCore(ProducerStates())
    core.configure()
    core.install([], log_start_offset=0, log_end_offset=0, recovery_point=0)
    settings = SegmentSettings(max_index_bytes=index_bytes, index_interval_bytes=0)
    core.install_segment(
        create_segment(SYSTEM_FILES, str(tmp_path), core.begin_roll(), settings, 0)
    )
    statuses = [produce(core, batch(timestamp=NOW + i))[0] for i in range(6)]
    entries = index_bytes // 12 - 1
    assert statuses.index(STATUS_NEEDS_ROLL) == entries + 1
    assert core.active_segment is not None
    assert core.active_segment.time_index.entries == entries


def test_roll_when_offsets_would_leave_31_bits(tmp_path: Path) -> None:
    core = new_core(tmp_path)
    assert not core.would_roll(10, NOW, 2**31 - 1, NOW)
    assert core.would_roll(10, NOW, 2**31, NOW)


def test_appends_wait_while_files_change(tmp_path: Path) -> None:
    core = new_core(tmp_path)
    produce(core, batch())
    core.begin_roll()
    assert produce(core, batch())[0] == STATUS_NEEDS_ROLL
    with pytest.raises(InvariantError):
        core.begin_roll()
    core.end_roll()
    assert not core.roll_wanted
    assert produce(core, batch())[0] == STATUS_APPENDED


def test_a_segment_must_follow_the_log(tmp_path: Path) -> None:
    core = new_core(tmp_path)
    produce(core, batch())
    core.begin_roll()
    with pytest.raises(InvariantError):
        core.install_segment(new_segment(tmp_path, 7))


# ---- appends of a follower


def test_fetched_batches_keep_offsets_and_epochs(tmp_path: Path) -> None:
    owner = Owner()
    core = new_core(tmp_path, owner)
    data = bytes(batch(2, base_offset=5, epoch=3)) + bytes(batch(1, base_offset=9, epoch=4))
    assert core.append_fetched(data, NOW) == (STATUS_APPENDED, 0, 5, 9, len(data))
    assert core.log_end_offset == 10
    assert owner.epochs == [(3, 5), (4, 9)]
    assert core.active_segment is not None
    assert core.active_segment.read_at(0, 10**6) == data


def test_a_partial_batch_at_the_end_is_left(tmp_path: Path) -> None:
    core = new_core(tmp_path)
    for extra in (0, 30, SIZE - 1):
        base = core.log_end_offset
        data = bytes(batch(base_offset=base)) + bytes(batch(base_offset=base + 1))[:extra]
        assert core.append_fetched(data, NOW)[4] == SIZE
    assert core.append_fetched(data[SIZE:], NOW)[:2] == (STATUS_APPENDED, 0)
    assert core.append_fetched(b"", NOW) == (STATUS_APPENDED, 0, -1, -1, 0)


def test_fetched_batches_are_checked(tmp_path: Path) -> None:
    core = new_core(tmp_path)
    core.append_fetched(batch(3), NOW)
    broken = bytearray(batch(base_offset=3))
    broken[-1] ^= 1
    for data, code in [
        (broken, ErrorCode.CORRUPT_MESSAGE),
        (bytes(100), ErrorCode.CORRUPT_MESSAGE),
        (batch(base_offset=2), ErrorCode.OFFSET_OUT_OF_RANGE),
    ]:
        assert core.append_fetched(data, NOW)[:2] == (STATUS_REFUSED, code)
    good = bytes(batch(base_offset=3))
    assert core.append_fetched(good + bytes(broken), NOW)[:2] == (STATUS_REFUSED, 2)
    assert core.log_end_offset == 3


def test_fetched_batches_stop_at_a_roll(tmp_path: Path) -> None:
    core = new_core(tmp_path, segment_bytes=SIZE * 2)
    data = b"".join(bytes(batch(base_offset=i)) for i in range(3))
    assert core.append_fetched(data, NOW) == (STATUS_APPENDED, 0, 0, 1, SIZE * 2)
    assert core.append_fetched(data[SIZE * 2 :], NOW)[0] == STATUS_NEEDS_ROLL
    roll(core, tmp_path)
    assert core.append_fetched(data[SIZE * 2 :], NOW) == (STATUS_APPENDED, 0, 2, 2, SIZE)


def test_fetched_batches_are_indexed_one_by_one(tmp_path: Path) -> None:
    core = new_core(tmp_path)
    data = b"".join(bytes(batch(base_offset=i, timestamp=NOW + i)) for i in range(20))
    core.append_fetched(data, NOW)
    segment = core.active_segment
    assert segment is not None
    one_by_one = new_core(tmp_path / "other" if (tmp_path / "other").mkdir() is None else "")
    for i in range(20):
        produce(one_by_one, batch(timestamp=NOW + i))
    other = one_by_one.active_segment
    assert other is not None
    assert segment.offset_index.entries == other.offset_index.entries > 2
    for i in range(other.offset_index.entries):
        assert segment.offset_index.entry(i) == other.offset_index.entry(i)
        assert segment.time_index.entry(i) == other.time_index.entry(i)


def test_fetched_sequences_are_not_checked(tmp_path: Path) -> None:
    core = new_core(tmp_path)
    core.append_fetched(batch(base_offset=0, producer=Producer(9, 0, 0)), NOW)
    core.append_fetched(batch(base_offset=1, producer=Producer(9, 0, 40)), NOW)
    entry = core.producers.entry(9)
    assert entry is not None
    assert entry.retained[-1][0] == 40


# ---- reads


def three_segments(tmp_path: Path) -> LogCore:
    core = new_core(tmp_path)
    for _ in range(3):
        produce(core, batch(2))
        produce(core, batch(2))
        roll(core, tmp_path)
    return core


def test_reads_do_not_cross_segments(tmp_path: Path) -> None:
    core = three_segments(tmp_path)
    size = len(batch(2))
    for offset, position, expected in [
        (0, 0, 2),
        (1, 0, 2),
        (2, size, 1),
        (4, 0, 2),
        (11, size, 1),
    ]:
        code, segment, at, n, start = core.read_region(offset, 10**6, 12)
        assert (code, at, n, start) == (0, position, size * expected, offset // 2 * 2)
        assert segment is not None
        assert segment.base_offset == offset // 4 * 4
    assert core.read_region(12, 10**6, 12)[:2] == (0, None)


def test_reads_end_at_the_upper_offset(tmp_path: Path) -> None:
    core = three_segments(tmp_path)
    size = len(batch(2))
    assert core.read_region(0, 10**6, 2)[3] == size
    assert core.read_region(0, 10**6, 3)[3] == size  # the batch of 2 and 3 is not whole below 3
    assert core.read_region(0, 10**6, 1)[:2] == (0, None)
    assert core.read_region(5, 10**6, 4)[:2] == (0, None)
    assert core.read_region(4, 10**6, 2**62)[3] == 2 * size


def test_at_least_one_batch(tmp_path: Path) -> None:
    core = three_segments(tmp_path)
    size = len(batch(2))
    assert core.read_region(0, 10, 12, True)[3] == size
    assert core.read_region(0, 10, 12, False)[:2] == (0, None)
    assert core.read_region(0, 0, 12, True)[3] == size
    assert core.read_region(0, size + 5, 12, False)[3] == size + 5  # as Kafka: may end in a batch


def test_out_of_range(tmp_path: Path) -> None:
    core = three_segments(tmp_path)
    core.increment_log_start_offset(3)
    for offset in (-1, 0, 2, 13, 2**62):
        assert core.read_region(offset, 100, 12)[0] == ErrorCode.OFFSET_OUT_OF_RANGE
    assert core.read_region(3, 100, 12)[0] == 0
    assert core.read_region(12, 100, 12)[0] == 0


def test_available_bytes(tmp_path: Path) -> None:
    core = three_segments(tmp_path)
    size = len(batch(2))
    assert core.bytes_available(0, 12) == 6 * size
    assert core.bytes_available(2, 12) == 5 * size
    assert core.bytes_available(4, 8) == 2 * size
    assert core.bytes_available(12, 12) == 0
    assert core.bytes_available(3, 5) == size
    assert core.bytes_available(-5, 2**62) == 6 * size


def test_a_damaged_batch_is_a_read_error_of_its_range(tmp_path: Path) -> None:
    core = three_segments(tmp_path)
    first = core.segment_list[0]
    os.pwrite(first.fd, struct.pack(">i", -1), 8)
    # Forget what was appended: look at the file.
    fresh = LogCore(ProducerStates())
    segments = []
    for segment, following in zip(core.segment_list, [4, 8, 12, None], strict=True):
        segment.seal()
        trim_segment(SYSTEM_FILES, segment)
        segments.append(
            open_segment(
                SYSTEM_FILES, str(tmp_path), segment.base_offset, SegmentSettings(), NOW,
                next_offset=following,
            )
        )  # fmt: skip
    fresh.install(segments, log_start_offset=0, log_end_offset=12, recovery_point=12)
    assert fresh.read_region(0, 100, 12)[:2] == (ErrorCode.CORRUPT_MESSAGE, None)
    assert fresh.read_region(4, 100, 12)[0] == 0


# ---- log start, segments, end


def test_segments_are_removed_from_the_front(tmp_path: Path) -> None:
    core = three_segments(tmp_path)
    removed = core.remove_first_segments(2)
    assert [s.base_offset for s in removed] == [0, 4]
    assert [s.base_offset for s in core.segment_list] == [8, 12]
    with pytest.raises(InvariantError):
        core.remove_first_segments(2)
    assert core.read_region(8, 10**6, 12)[0] == 0


def test_the_log_start_only_moves_forward(tmp_path: Path) -> None:
    core = three_segments(tmp_path)
    assert core.increment_log_start_offset(5)
    assert not core.increment_log_start_offset(5)
    assert not core.increment_log_start_offset(2)
    with pytest.raises(InvariantError):
        core.increment_log_start_offset(13)
    assert core.log_start_offset == 5


def test_limit_end_hides_what_is_to_be_cut(tmp_path: Path) -> None:
    core = three_segments(tmp_path)
    core.on_flushed(12)
    core.limit_end(6)
    assert (core.log_end_offset, core.recovery_point, core.flushed_offset) == (6, 6, 6)
    assert core.read_region(4, 10**6, 12)[3] == len(batch(2))
    core.limit_end(9)
    assert core.log_end_offset == 6


def test_install_checks_the_order(tmp_path: Path) -> None:
    core = LogCore(ProducerStates())
    one, two = new_segment(tmp_path, 0), new_segment(tmp_path, 5)
    with pytest.raises(InvariantError):
        core.install([two, one], log_start_offset=0, log_end_offset=5, recovery_point=0)
    with pytest.raises(InvariantError):
        core.install([one, two], log_start_offset=0, log_end_offset=4, recovery_point=0)
    with pytest.raises(InvariantError):
        core.install([one], log_start_offset=3, log_end_offset=2, recovery_point=0)


# ---- flushing and failing


def test_flush_is_due_by_records(tmp_path: Path) -> None:
    core = new_core(tmp_path)
    produce(core, batch(100))
    assert not core.is_flush_due()
    core = new_core(tmp_path, flush_messages=3)
    produce(core, batch(2))
    assert not core.is_flush_due()
    produce(core, batch(1))
    assert core.is_flush_due()
    core.on_flushed(3)
    assert not core.is_flush_due()
    core.on_flushed(1)
    assert core.flushed_offset == core.recovery_point == 3
    core.on_flushed(100)
    assert core.flushed_offset == 3


def test_retire_lets_go_of_the_files(tmp_path: Path) -> None:
    core = new_core(tmp_path)
    produce(core, batch())
    assert core.active_segment is not None
    fd = core.active_segment.fd
    core.retire()
    with pytest.raises(OSError):
        os.fstat(fd)
    assert produce(core, batch())[1] == ErrorCode.KAFKA_STORAGE_ERROR
