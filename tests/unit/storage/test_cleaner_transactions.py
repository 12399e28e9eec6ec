"""Random histories with transactions, compacted again and again: what readers of either kind see is
what they saw before, but for records that a later one of their key has replaced.

The reader of committed records works as clients do: with the list of aborted transactions that the
log gives it, batch by batch.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.unit.storage.cleaner_fixtures import Compacted, compacted
from tidelog.record.builder import ControlType, Producer, end_txn_marker
from tidelog.storage.aborted import collect_from

SEEDS = range(12)
WRITERS = (50, 51, 52)
KEYS = 6
RETENTION_MS = 5_000

Value = tuple[bytes, bytes | None]


class History:
    """What was written, and how its transactions ended."""

    def __init__(self, node: Compacted, rng: random.Random) -> None:
        self.node = node
        self.rng = rng
        self.sequences = dict.fromkeys(WRITERS, 0)
        self.open: dict[int, list[int]] = {}  # writer -> offsets
        self.written: dict[int, Value] = {}
        self.aborted: set[int] = set()

    async def step(self) -> None:
        """Something that a log with transactions goes through."""
        node, rng = self.node, self.rng
        match rng.randrange(12):
            case 0 | 1 | 2:
                await self._note(await node.put(*(values := self._values())), values)
            case 3 | 4 | 5 | 6:
                await self._write(rng.choice(WRITERS))
            case 7 | 8:
                if self.open:
                    await self.end(rng.choice(sorted(self.open)), commit=rng.random() < 0.5)
            case 9:
                await node.seal()
            case 10:
                node.clock.advance(rng.choice((10, RETENTION_MS + 1)))
            case 11:
                await self.clean()

    async def clean(self) -> None:
        self.node.log.core.producers.on_high_watermark(self.node.log.core.log_end_offset)
        await self.node.seal()
        while await self.node.manager.cleaner.clean_next():
            pass

    def _values(self) -> list[Value]:
        return [
            (
                b"key-%d" % self.rng.randrange(KEYS),
                None if self.rng.random() < 0.2 else b"%d" % self.rng.getrandbits(60),
            )
            for _ in range(self.rng.randrange(1, 4))
        ]

    async def _note(self, base: int, values: list[Value]) -> list[int]:
        offsets = list(range(base, base + len(values)))
        self.written |= dict(zip(offsets, values, strict=True))
        return offsets

    async def _write(self, writer: int) -> None:
        values = self._values()
        producer = Producer(writer, 0, self.sequences[writer])
        codec = self.rng.choice((0, 0, 4))
        base = await self.node.put(*values, producer=producer, is_transactional=True, codec=codec)
        self.sequences[writer] += len(values)
        self.open.setdefault(writer, []).extend(await self._note(base, values))

    async def end(self, writer: int, *, commit: bool) -> None:
        marker = end_txn_marker(
            producer_id=writer,
            producer_epoch=0,
            is_commit=commit,
            coordinator_epoch=0,
            timestamp=self.node.clock.wall_ms(),
        )
        await self.node.append_fetched(bytearray(marker))
        self.node.appended.append((None, None))
        offsets = self.open.pop(writer)
        if not commit:
            self.aborted.update(offsets)

    @property
    def stable(self) -> int:
        end = self.node.log.core.log_end_offset
        return min((offsets[0] for offsets in self.open.values()), default=end)

    # -- what is seen -----------------------------------------------------------------------------

    def read_committed(self) -> dict[int, Value]:
        """As clients read: (offset -> record), up to the last stable offset."""
        log, stable = self.node.log, self.stable
        told = sorted(
            collect_from(log.core.segment_list, log.core.log_start_offset, stable),
            key=lambda txn: txn.first_offset,
        )
        leaving: set[int] = set()
        seen: dict[int, Value] = {}
        for batch in self.node.batches():
            header = batch.header
            if header.base_offset >= stable:
                break
            while told and told[0].first_offset <= header.last_offset:
                leaving.add(told.pop(0).producer_id)
            if header.is_control:
                control = batch.control()
                if control is not None and control[0] == ControlType.ABORT:
                    leaving.discard(header.producer_id)
                continue
            if header.is_transactional and header.producer_id in leaving:
                continue
            for record in batch.records():
                assert record.key is not None
                seen[record.offset] = (record.key, record.value)
        return seen

    def check(self) -> None:
        stable = self.stable
        seen = self.read_committed()
        for offset, value in seen.items():
            assert self.written[offset] == value
            assert offset not in self.aborted, f"{offset} was aborted"
        committed = {
            offset: value
            for offset, value in self.written.items()
            if offset < stable and offset not in self.aborted
        }
        assert latest(seen) == latest(committed)
        # A reader of everything misses nothing that is open or after it, either.
        everything = self.node.records()
        for offset, value in self.written.items():
            if offset >= stable and offset not in self.aborted:
                assert everything[offset] == value

    def producers(self) -> dict[int, tuple[int, int]]:
        """(next sequence, first offset of the open transaction) by writer."""
        return {
            producer: (sequence, first)
            for producer, _, sequence, *_, first in self.node.log.core.producers.dump()
        }


def latest(records: dict[int, Value]) -> dict[bytes, bytes]:
    """The value of each key, without those that were deleted."""
    found: dict[bytes, bytes | None] = {}
    for offset in sorted(records):
        key, value = records[offset]
        found[key] = value
    return {key: value for key, value in found.items() if value is not None}


@pytest.mark.parametrize("seed", SEEDS)
async def test_compaction_changes_nothing_for_readers(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    settings = {"delete_retention_ms": str(RETENTION_MS), "internal_segment_bytes": "900"}
    async with compacted(tmp_path, **settings) as node:
        history = History(node, rng)
        for _ in range(120):
            await history.step()
        history.check()
        await history.clean()
        history.check()
        known = history.producers()
        for writer, offsets in history.open.items():
            assert known[writer][1] == offsets[0]
        # Found again from the segments alone, too.
        await node.restart(clean=False)
        history.check()
        opened = {writer: first for writer, (_, first) in history.producers().items() if first >= 0}
        assert opened == {writer: offsets[0] for writer, offsets in history.open.items()}
        for writer in list(history.open):
            await history.end(writer, commit=rng.random() < 0.5)
        for _ in range(2):
            node.clock.advance(RETENTION_MS + 1)
            await node.put((b"last", b"%d" % rng.getrandbits(30)))
            history.written[node.log.core.log_end_offset - 1] = node.appended[-1]  # type: ignore[assignment]
            await history.clean()
            history.check()
