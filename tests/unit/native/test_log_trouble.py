"""Tests of the native log core on a disk that fails: what fences a log, and what only refuses."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.unit.native.log_harness import NOW, Owner, batch, new_core, produce
from tidelog._native.log import STATUS_APPENDED, STATUS_REFUSED
from tidelog.protocol.error_codes import ErrorCode
from tidelog.record.builder import Producer

SIZE = len(batch())


class BadDisk:
    """Half of each write gets there; cutting it off again works unless `stuck`."""

    def __init__(self, code: int, *, stuck: bool = False) -> None:
        self.code = code
        self.stuck = stuck

    def pwrite(self, fd: int, data: bytes, position: int) -> int:
        os.pwrite(fd, data[: len(data) // 2], position)
        raise OSError(self.code, os.strerror(self.code))

    def truncate(self, fd: int, size: int) -> None:
        if self.stuck:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.ftruncate(fd, size)


@pytest.mark.parametrize("disk", [BadDisk(errno.EIO), BadDisk(errno.ENOSPC, stuck=True)])
def test_a_disk_error_fences_the_log(tmp_path: Path, disk: BadDisk) -> None:
    owner = Owner()
    core = new_core(tmp_path, owner)
    produce(core, batch(producer=Producer(9, 0, 0)))
    assert core.active_segment is not None
    core.active_segment.write_hook = disk
    answer = produce(core, batch(producer=Producer(9, 0, 1)))
    assert answer[:4] == (STATUS_REFUSED, ErrorCode.KAFKA_STORAGE_ERROR, -1, -1)
    assert [getattr(error, "errno", 0) for error in owner.errors] == [errno.EIO]
    assert core.offline_error == ErrorCode.KAFKA_STORAGE_ERROR
    core.active_segment.write_hook = None
    # Not even when the disk is good again: what was written before may be gone.
    assert produce(core, batch())[1] == ErrorCode.KAFKA_STORAGE_ERROR
    assert core.append_batch(batch(), 0, NOW)[1] == ErrorCode.KAFKA_STORAGE_ERROR
    assert core.append_fetched(batch(base_offset=1), NOW)[1] == ErrorCode.KAFKA_STORAGE_ERROR
    assert core.read_region(0, 100, 1)[0] == ErrorCode.KAFKA_STORAGE_ERROR
    assert (core.log_end_offset, core.active_segment.size) == (1, SIZE)
    entry = core.producers.entry(9)
    assert entry is not None
    assert [kept[0] for kept in entry.retained] == [0]


def test_what_is_behind_a_refused_batch_is_refused_like_it(tmp_path: Path) -> None:
    """Not as out of order: clients take that for a loss, and begin anew with what is there."""
    core = new_core(tmp_path, Owner())
    produce(core, batch(producer=Producer(8, 0, 0)))
    produce(core, batch(producer=Producer(9, 0, 0)))
    assert core.active_segment is not None
    core.active_segment.write_hook = BadDisk(errno.ENOSPC)
    assert produce(core, batch(producer=Producer(9, 0, 1)))[1] == ErrorCode.KAFKA_STORAGE_ERROR
    assert produce(core, batch(producer=Producer(7, 0, 0)))[1] == ErrorCode.KAFKA_STORAGE_ERROR
    core.active_segment.write_hook = None
    # There is room again, and the next ones of the pipeline come; the second producer is new here.
    for sequence in (2, 3):
        for producer_id in (9, 7):
            answer = produce(core, batch(producer=Producer(producer_id, 0, sequence)))
            assert answer[:2] == (STATUS_REFUSED, ErrorCode.KAFKA_STORAGE_ERROR)
    # Others are not concerned, and neither is the producer's next epoch.
    assert produce(core, batch(producer=Producer(8, 0, 1)))[0] == STATUS_APPENDED
    out_of_order = produce(core, batch(producer=Producer(8, 0, 5)))
    assert out_of_order[1] == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert produce(core, batch(producer=Producer(7, 1, 0)))[0] == STATUS_APPENDED
    for sequence in (1, 2, 3):
        assert produce(core, batch(producer=Producer(9, 0, sequence)))[0] == STATUS_APPENDED
    out_of_order = produce(core, batch(producer=Producer(9, 0, 9)))
    assert out_of_order[1] == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_a_client_that_gave_a_refused_batch_up_is_told_in_the_end(tmp_path: Path) -> None:
    core = new_core(tmp_path, Owner())
    produce(core, batch(producer=Producer(9, 0, 0)))
    assert core.active_segment is not None
    core.active_segment.write_hook = BadDisk(errno.ENOSPC)
    produce(core, batch(producer=Producer(9, 0, 1)))
    core.active_segment.write_hook = None
    codes = [produce(core, batch(producer=Producer(9, 0, 2)))[1] for _ in range(1001)]
    assert set(codes[:-1]) == {ErrorCode.KAFKA_STORAGE_ERROR}
    assert codes[-1] == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_a_full_disk_refuses_appends_and_serves(tmp_path: Path) -> None:
    owner = Owner()
    core = new_core(tmp_path, owner)
    produce(core, batch(producer=Producer(9, 0, 0)))
    assert core.active_segment is not None
    core.active_segment.write_hook = BadDisk(errno.ENOSPC)
    second = batch(producer=Producer(9, 0, 1))
    refused = (STATUS_REFUSED, ErrorCode.KAFKA_STORAGE_ERROR, -1, -1)
    assert produce(core, second)[:4] == refused
    assert core.append_batch(batch(), 0, NOW)[:4] == refused
    assert core.append_fetched(batch(base_offset=1), NOW)[:4] == refused
    assert [error.errno for error in owner.refused] == [errno.ENOSPC] * 3
    assert (core.offline_error, owner.errors) == (0, [])
    assert (core.log_end_offset, os.stat(core.active_segment.log_path).st_size) == (1, SIZE)
    assert core.read_region(0, 100, 1)[0] == 0
    core.active_segment.write_hook = None
    assert produce(core, second)[:3] == (STATUS_APPENDED, 0, 1)
