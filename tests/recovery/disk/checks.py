"""What a start on a disk that was cut has to hold."""

from __future__ import annotations

from tests.recovery.disk.script import (
    PRODUCER_ID,
    Batch,
    Expectation,
    append,
    batches_of,
    make_batch,
    next_sequence,
    send_again,
)
from tidelog._native.batch import parse
from tidelog.record.builder import Producer
from tidelog.storage.log import PartitionLog
from tidelog.storage.manager import LogManager


def contents(log: PartitionLog) -> tuple[Batch, ...]:
    """Every batch, from the one that holds the log start."""
    found: list[Batch] = []
    offset = log.core.log_start_offset
    while offset < log.core.log_end_offset:
        found += batches_of(log.read_bytes(offset, 2**31 - 1))
        offset = found[-1].last_offset + 1
    return tuple(found)


def check(manager: LogManager, expectation: Expectation) -> tuple[int, tuple[Batch, ...]]:
    """Returns (log start, batches). Raises AssertionError."""
    assert manager.failed_logs() == {}
    log = manager.get("t", 0)
    if log is None:  # its folder never got to the disk
        assert expectation.durable_end == 0
        return 0, ()
    core = log.core
    start, end, found = core.log_start_offset, core.log_end_offset, contents(log)
    assert end >= expectation.durable_end, f"ends at {end}, synced {expectation.durable_end}"
    low, high = expectation.starts
    assert low <= start <= max(high, low)
    if found:
        assert found[0].base_offset <= start <= found[0].last_offset
        assert end == found[-1].last_offset + 1
    else:
        assert start == end
    assert any(is_piece(found, history) for history in expectation.histories), [
        (batch.base_offset, batch.last_offset) for batch in found
    ]
    for batch in found:
        header = parse(batch.data)
        assert header is not None
        for offset in range(max(batch.base_offset, start), batch.last_offset + 1):
            assert batches_of(log.read_bytes(offset, 1)) == [batch]
            assert log.epoch_for_offset(offset) == header.partition_leader_epoch
    return start, found


def is_piece(found: tuple[Batch, ...], history: tuple[Batch, ...]) -> bool:
    """Whether the batches stand in the history one after the other."""
    if not found:
        return True
    starts = [i for i, batch in enumerate(history) if batch == found[0]]
    return any(history[i : i + len(found)] == found for i in starts)


async def check_appends(manager: LogManager, found: tuple[Batch, ...]) -> None:
    """The log goes on: what its producer sent last is known, what it sends next is taken."""
    log = manager.get("t", 0)
    if log is None:
        return
    own = [batch for batch in found if _producer_of(batch) == PRODUCER_ID]
    if own:
        send_again(log, own[-1].data)
        producer = Producer(PRODUCER_ID, 0, next_sequence(found))
        end = log.core.log_end_offset
        base, _ = await append(log, make_batch(1, 2, producer), log.core.leader_epoch)
        assert base == end


def _producer_of(batch: Batch) -> int:
    header = parse(batch.data)
    assert header is not None
    return header.producer_id
