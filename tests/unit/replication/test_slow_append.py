"""The slow way of a produced batch, with real logs' cores and real compression."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.unit.native.lane_harness import NOW_MS, Owner, batch, topic_id_of
from tidelog._native import partition as native
from tidelog._native.partition import Partition, Progress
from tidelog.clock import ManualClock
from tidelog.config import TopicConfig
from tidelog.errors import KafkaError
from tidelog.record.builder import NewRecord, build_batch
from tidelog.record.reasons import InvalidBatchError
from tidelog.record.view import iterate_batches
from tidelog.replication.slow_append import SlowAppend

GZIP, ZSTD = 1, 4


def world(tmp_path: Path, **configs: str) -> tuple[SlowAppend, Partition, Any]:
    owner: Any = Owner(tmp_path, 1 << 20)
    owner.config = TopicConfig.resolve(configs)
    partition = Partition(b"t", topic_id_of("t"), 0, Progress())
    partition.open_as_leader(owner.core)
    slow = SlowAppend(asyncio.get_running_loop(), ThreadPoolExecutor(1), ManualClock(NOW_MS + 1000))
    return slow, partition, owner


def stored(owner: Any) -> bytes:
    segment = owner.core.active_segment
    return bytes(segment.read_at(0, segment.size))


@pytest.mark.parametrize("given", [0, GZIP])
async def test_a_batch_gets_the_topics_codec(tmp_path: Path, given: int) -> None:
    slow, partition, owner = world(tmp_path, **{"compression.type": "zstd"})
    answer = await slow.append(partition, lambda: batch([b"a", b"b"], compression=given), 9)
    assert answer == (0, 0, 1, -1, 0)
    assert owner.rolls == 1
    (found,) = iterate_batches(stored(owner))
    assert found.header.codec == ZSTD
    assert [r.value for r in found.records()] == [b"a", b"b"]
    assert [r.timestamp for r in found.records()] == [NOW_MS, NOW_MS + 1]


async def test_log_append_time_is_told(tmp_path: Path) -> None:
    slow, partition, _owner = world(
        tmp_path, **{"compression.type": "gzip", "message.timestamp.type": "LogAppendTime"}
    )
    answer = await slow.append(partition, lambda: batch([b"a"]), 9)
    assert (answer.error_code, answer.log_append_time) == (0, NOW_MS + 1000)


async def test_bad_records_are_refused_with_their_index(tmp_path: Path) -> None:
    slow, partition, owner = world(
        tmp_path, **{"compression.type": "gzip", "message.timestamp.after.max.ms": "0"}
    )
    late = ManualClock(NOW_MS - 50)
    slow._clock = late
    with pytest.raises(KafkaError) as caught:
        await slow.append(partition, lambda: batch([b"a"], compression=GZIP), 9)
    assert caught.value.error_code == 32
    assert owner.core.log_end_offset == 0


def keyless(codec: int = 0) -> bytes:
    return bytes(build_batch([NewRecord(NOW_MS, None, b"v")], codec=codec))


async def test_a_refused_record_is_named_with_its_partition(tmp_path: Path) -> None:
    slow, partition, _owner = world(tmp_path, **{"cleanup.policy": "compact"})
    sentence = "Compacted topic cannot accept message without key in topic partition t-0"
    with pytest.raises(InvalidBatchError) as caught:
        await slow.append(partition, lambda: keyless(GZIP), 9)
    assert [error.message for error in caught.value.record_errors] == [sentence]
    found = slow.explain(partition, keyless(), NOW_MS)
    assert [(error.batch_index, error.message) for error in found] == [(0, sentence)]


async def test_leadership_lost_meanwhile(tmp_path: Path) -> None:
    slow, partition, _owner = world(tmp_path, **{"compression.type": "gzip"})
    appending = asyncio.create_task(slow.append(partition, lambda: batch([b"a"]), 9))
    await asyncio.sleep(0)
    partition.close(native.NOT_LEADER)
    with pytest.raises(KafkaError) as caught:
        await appending
    assert caught.value.error_code == 6
    with pytest.raises(KafkaError):
        await slow.append(partition, lambda: batch([b"a"]), 9)


async def test_batches_are_opened_one_at_a_time_in_their_order(tmp_path: Path) -> None:
    slow, partition, owner = world(tmp_path, **{"compression.type": "gzip"})
    opening: list[int] = []

    def records(number: int) -> bytes:
        opening.append(number)
        # Whoever came before has been appended already.
        assert owner.core.log_end_offset == number
        return batch([b"%d" % number], compression=ZSTD)

    appends = [slow.append(partition, partial(records, i), 9) for i in range(4)]
    answers = await asyncio.gather(*appends)
    assert opening == [0, 1, 2, 3]
    assert [answer.base_offset for answer in answers] == [0, 1, 2, 3]


async def test_who_is_cancelled_in_the_line_is_not_opened(tmp_path: Path) -> None:
    slow, partition, owner = world(tmp_path, **{"compression.type": "gzip"})
    owner.hold_roll = asyncio.Event()
    first = asyncio.create_task(slow.append(partition, lambda: batch([b"a"]), 9))
    second = asyncio.create_task(slow.append(partition, lambda: pytest.fail("opened"), 9))
    third = asyncio.create_task(slow.append(partition, lambda: batch([b"c"]), 9))
    for _ in range(5):
        await asyncio.sleep(0)
    second.cancel()
    owner.hold_roll.set()
    assert [(await first).base_offset, (await third).base_offset] == [0, 1]
    assert second.cancelled()


async def test_a_roll_is_finished_though_its_producer_goes(tmp_path: Path) -> None:
    slow, partition, owner = world(tmp_path, **{"compression.type": "gzip"})
    owner.hold_roll = asyncio.Event()
    gone = asyncio.create_task(slow.append(partition, lambda: batch([b"a"]), 9))
    while not owner.waiting_rolls:
        await asyncio.sleep(0.001)
    gone.cancel()
    await asyncio.wait([gone])
    owner.hold_roll.set()
    assert (await slow.append(partition, lambda: batch([b"b"]), 9)).base_offset == 0
    assert owner.rolls == 1
