"""Partitions, their table and those who wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.native.lane_harness import NOW_MS, Owner, batch, topic_id_of
from tidelog._native import partition as native
from tidelog._native.partition import Partition, PartitionTable, Progress, TopicEntry
from tidelog.errors import InvariantError

APPENDED, NEEDS_ROLL = 0, 3


@pytest.fixture
async def led(tmp_path: Path) -> Partition:
    """A partition that is led, with a file to append to."""
    partition = Partition(b"t", topic_id_of("t"), 0, Progress())
    partition.set_leadership(1, 3, 4, (1,), (1,))
    owner = Owner(tmp_path, 1 << 20)
    await owner.roll()
    partition.open_as_leader(owner.core)
    return partition


async def test_an_append_moves_the_high_watermark(led: Partition) -> None:
    status, code, base, last = led.append_built(bytearray(batch([b"a", b"b"])), NOW_MS)
    assert (status, code, base, last) == (APPENDED, 0, 0, 1)
    assert (led.high_watermark, led.local_end, led.stable_offset) == (2, 2, 2)
    assert led.is_acknowledged(1)
    assert not led.is_acknowledged(2)
    assert led.log is not None
    assert led.log.leader_epoch == 3


async def test_a_log_without_files_asks_for_a_roll(tmp_path: Path) -> None:
    partition = Partition(b"t", topic_id_of("t"), 0, Progress())
    partition.open_as_leader(Owner(tmp_path, 1 << 20).core)
    assert partition.append_built(bytearray(batch([b"a"])), NOW_MS)[0] == NEEDS_ROLL
    assert partition.high_watermark == 0


@pytest.mark.parametrize(
    ("gate", "code"),
    [(native.NOT_LEADER, 6), (native.LOADING, 6), (native.OFFLINE, 56), (native.DELETED, 3)],
)
async def test_closed_gates_have_kafkas_codes(led: Partition, gate: int, code: int) -> None:
    assert (led.error_code, led.is_leader) == (0, True)
    led.close(gate)
    assert (led.error_code, led.is_leader, led.log) == (code, False, None)
    with pytest.raises(InvariantError):
        led.append_built(bytearray(batch([b"a"])), NOW_MS)
    with pytest.raises(InvariantError):
        led.close(0)


def test_epochs_never_regress() -> None:
    partition = Partition(b"t", topic_id_of("t"), 0, Progress())
    partition.set_leadership(1, 3, 4, (1,), (1,))
    with pytest.raises(InvariantError):
        partition.set_leadership(1, 2, 5, (1,), (1,))
    with pytest.raises(InvariantError):
        partition.set_leadership(1, 3, 3, (1,), (1,))


async def test_a_due_flush_holds_back_answers_and_readers(led: Partition) -> None:
    assert led.log is not None
    led.log.configure(flush_messages=2)
    led.append_built(bytearray(batch([b"a"])), NOW_MS)
    assert (led.local_end, led.high_watermark) == (1, 1)
    led.append_built(bytearray(batch([b"b"])), NOW_MS)
    owner: Any = led.log.owner
    assert owner.flush_requests == 1
    assert (led.local_end, led.high_watermark) == (1, 1)
    led.log.on_flushed(2)
    led.update_progress()
    assert (led.local_end, led.high_watermark) == (2, 2)


async def test_callbacks_come_once_with_the_commit_or_the_loss(led: Partition) -> None:
    assert led.log is not None
    led.log.configure(flush_messages=1)
    progress = Progress()
    partition = Partition(b"t", topic_id_of("t"), 0, progress)
    partition.open_as_leader(led.log)
    called: list[str] = []
    partition.when_acknowledged(1, lambda: called.append("first"))
    partition.when_acknowledged(2, lambda: called.append("second"))
    partition.when_acknowledged(2, lambda: called.append("never")).forget()
    partition.append_built(bytearray(batch([b"a"])), NOW_MS)
    progress.drain()
    assert called == []
    led.log.on_flushed(1)
    partition.update_progress()
    partition.update_progress()
    progress.drain()
    assert called == ["first"]
    partition.close(native.NOT_LEADER)
    progress.drain()
    assert called == ["first", "second"]


async def test_progress_schedules_one_drain(led: Partition) -> None:
    calls: list[Any] = []
    progress = Progress(calls.append)
    partition = Partition(b"t", topic_id_of("t"), 0, progress)
    assert led.log is not None
    partition.open_as_leader(led.log)
    done: list[int] = []
    for i in range(3):
        partition.when_acknowledged(0, lambda i=i: done.append(i))  # type: ignore[misc]
    assert len(calls) == 1
    calls[0]()
    assert sorted(done) == [0, 1, 2]


def test_the_table_finds_by_name_and_by_id() -> None:
    table = PartitionTable(Progress())

    def entry(name: str, count: int, topic_id: bytes | None = None) -> TopicEntry:
        topic_id = topic_id or topic_id_of(name)
        partitions = [Partition(name.encode(), topic_id, i, table.progress) for i in range(count)]
        return TopicEntry(name.encode(), topic_id, partitions)

    table.put(entry("a", 1))
    table.put(entry("__consumer_offsets", 2))
    assert [e.internal for e in table.topics()] == [False, True]
    found = table.partition(b"__consumer_offsets", 1)
    assert found is not None and found.index == 1
    assert table.partition(b"a", 1) is None
    assert table.partition(b"a", -1) is None
    assert table.partition(b"b", 0) is None
    by_id = table.get_by_id(topic_id_of("a"))
    assert by_id is not None and by_id.name == b"a"
    # Created anew under the same name: the old id is gone.
    table.put(entry("a", 1, topic_id=b"x" * 16))
    assert table.get_by_id(topic_id_of("a")) is None
    table.remove(b"a")
    assert table.get(b"a") is None
    assert table.get_by_id(b"x" * 16) is None
