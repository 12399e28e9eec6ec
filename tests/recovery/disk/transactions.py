"""The life of a log with transactions: begun, committed and aborted over several segments, cut off,
stopped and started; and what of them has to be left at every moment.

What a log must know of its transactions follows from the batches that are left of it: `model`
works that out from them alone, and is held against what a start found.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.recovery.disk.checks import check, contents
from tests.recovery.disk.script import (
    NOW,
    Batch,
    Expectation,
    Halted,
    Script,
    settle,
    topic_config,
)
from tidelog._native.batch import parse
from tidelog._native.log import STATUS_APPENDED, STATUS_NEEDS_ROLL
from tidelog.protocol.error_codes import ErrorCode
from tidelog.record.builder import ControlType, NewRecord, Producer, build_batch, end_txn_marker
from tidelog.record.view import iterate_batches
from tidelog.storage.aborted import collect_from
from tidelog.storage.log import PartitionLog
from tidelog.storage.manager import LogManager

#: Three producers, whose transactions overlap.
WRITERS = (11, 12, 13)


class TransactionScript(Script):
    """Steps as in script.Script, with transactional batches and their markers."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.sequences = dict.fromkeys(WRITERS, 0)
        self.open: set[int] = set()

    async def run(self) -> None:
        manager = await self._start(clean=False)
        log = await manager.create("t", bytes(range(16)), 0, topic_config(self.level))
        self._watch(log)
        await self._write(log, 11, 3)
        await self._finish(log, 11, commit=False)
        await self._write(log, 12, 2)
        await self._write(log, 13, 2)
        await self._finish(log, 13, commit=True)
        await manager.checkpoint()
        # One that is open over a roll, and ends in a segment that has none of its records.
        await self._write(log, 11, 2)
        await log.roll(force=True)
        await settle(log)
        await self._write(log, 13, 2)
        await self._finish(log, 11, commit=False)
        await self._finish(log, 12, commit=False)
        await log.flush()
        await self._produce(log, 3)
        await self._finish(log, 13, commit=False)
        # Markers are cut off, and with them what they ended is open again.
        await self._write(log, 12, 2)
        await self._finish(log, 12, commit=False)
        end = log.core.log_end_offset
        self.epoch = 1
        await self._cut_transactions(log, end - 3)
        log.assign_epoch(1)
        await self._write(log, 11, 2)
        await self._finish(log, 11, commit=True)
        await manager.close()
        self._check_alive(log)
        self.ledger.change(durable_end=self._end)
        manager = await self._start(clean=True)
        found = manager.get("t", 0)
        if found is None:
            raise Halted(f"not opened: {manager.failed_logs()}")
        log = found
        self._watch(log)
        for writer in sorted(self.open):
            await self._finish(log, writer, commit=False)
        await self._write(log, 13, 3)
        await self._finish(log, 13, commit=False)
        await manager.checkpoint()
        await manager.close(clean=False)

    async def _write(self, log: PartitionLog, writer: int, count: int) -> None:
        """Batches of the writer's transaction."""
        for _ in range(count):
            self.made += 1
            self.doing = "write in a transaction"
            records = 1 + self.made % 3
            producer = Producer(writer, 0, self.sequences[writer])
            data = build_batch(
                [NewRecord(NOW + self.made, b"k", b"%d " % self.made * 5)] * records,
                producer=producer,
                is_transactional=True,
            )
            producers = log.core.producers
            expected = producers.expect(writer, 0, self.sequences[writer])
            if expected is not None:  # as the coordinator says that it knows of the partition
                assert producers.verified(writer, expected)
            await self._append(log, data)
            self.sequences[writer] += records
            self.open.add(writer)

    async def _finish(self, log: PartitionLog, writer: int, *, commit: bool) -> None:
        """The marker."""
        self.doing = "end a transaction"
        data = end_txn_marker(
            producer_id=writer,
            producer_epoch=0,
            is_commit=commit,
            coordinator_epoch=0,
            timestamp=NOW + self.made,
        )
        await self._append(log, data)
        self.open.discard(writer)

    async def _append(self, log: PartitionLog, data: bytearray) -> None:
        for _ in range(3):
            status, code, base, last = log.core.append_batch(data, self.epoch, NOW)
            if status != STATUS_NEEDS_ROLL:
                break
            await log.roll()
        if code == ErrorCode.KAFKA_STORAGE_ERROR:
            raise Halted("append refused")
        assert status == STATUS_APPENDED, (status, code)
        batch = Batch(base, last, bytes(data))
        history = self.ledger.now.histories[-1]
        self.ledger.change(histories=((*history, batch),))
        if log.core.is_flush_due():
            log.request_flush()
        self.clock.advance(600)
        log.flush_if_older(self.clock.monotonic_ms())
        await settle(log)
        self._check_alive(log)

    async def _cut_transactions(self, log: PartitionLog, offset: int) -> None:
        await self._truncate(log, offset)
        left = model(self.ledger.now.histories[-1])
        self.open = {writer for writer, _ in left.open}
        self.sequences = dict.fromkeys(WRITERS, 0) | left.sequences


@dataclass(frozen=True)
class Transactions:
    """What the batches say. open: (producer, first offset); aborted: (producer, first, marker)."""

    open: tuple[tuple[int, int], ...]
    aborted: tuple[tuple[int, int, int], ...]
    sequences: dict[int, int]
    stable: int


def model(history: tuple[Batch, ...]) -> Transactions:
    """Of the log that consists of these batches."""
    open_: dict[int, int] = {}
    aborted: list[tuple[int, int, int]] = []
    sequences: dict[int, int] = {}
    end = 0
    for batch in history:
        header = parse(batch.data)
        assert header is not None
        end = batch.last_offset + 1
        (view,) = iterate_batches(batch.data)
        if header.is_control:
            control = view.control()
            assert control is not None
            first = open_.pop(header.producer_id, None)
            if first is not None and control[0] == ControlType.ABORT:
                aborted.append((header.producer_id, first, batch.base_offset))
        elif header.is_transactional:
            open_.setdefault(header.producer_id, batch.base_offset)
            sequences[header.producer_id] = header.base_sequence + header.last_offset_delta + 1
    stable = min(open_.values(), default=end)
    return Transactions(tuple(sorted(open_.items())), tuple(aborted), sequences, stable)


def check_transactions(
    manager: LogManager, expectation: Expectation
) -> tuple[int, tuple[Batch, ...]]:
    """As checks.check, and what the log knows of its transactions is what its batches say."""
    found = check(manager, expectation)
    log = manager.get("t", 0)
    if log is None:
        return found
    core = log.core
    producers = core.producers
    wanted = model(contents(log))
    producers.on_high_watermark(core.log_end_offset)
    started = {
        producer_id: first
        for producer_id, _, _, _, _, _, _, first in producers.dump()
        if first >= 0
    }
    assert tuple(sorted(started.items())) == wanted.open
    ends = [
        (txn.producer_id, txn.first_offset, txn.last_offset)
        for segment in core.segment_list
        if segment.txn_index is not None
        for txn in segment.txn_index.entries  # type: ignore[attr-defined]
    ]
    assert tuple(sorted(ends)) == tuple(sorted(wanted.aborted))
    # Whatever a read_committed reader asks for, it is told what to leave out.
    for offset in range(core.log_start_offset, core.log_end_offset, 3):
        told = {
            (txn.producer_id, txn.first_offset)
            for txn in collect_from(core.segment_list, offset, wanted.stable)
        }
        needed = {
            (producer, first)
            for producer, first, marker in wanted.aborted
            if marker >= offset and first < wanted.stable
        }
        assert needed <= told, (offset, needed, told)
    return found
