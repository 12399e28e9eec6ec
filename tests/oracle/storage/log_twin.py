"""A log in plain Python: a list of batches, searched from the front. The twin of PartitionLog.

Knows nothing of files: a segment is a number that batches share. What a log answers after any
sequence of operations must be what this answers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace

STORAGE_ERROR = 56
OUT_OF_RANGE = 1


@dataclass(frozen=True)
class TwinBatch:
    """A batch as it stands in the log; records: (timestamp, offset) of each."""

    base_offset: int
    last_offset: int
    data: bytes
    max_timestamp: int
    leader_epoch: int
    records: tuple[tuple[int, int], ...]
    producer: tuple[int, int, int] = (-1, -1, -1)  # id, epoch, first sequence


def stamped(data: bytes, base_offset: int, leader_epoch: int) -> bytes:
    """The batch with the leader's stamps, which are outside its checksum."""
    return struct.pack(">q", base_offset) + data[8:12] + struct.pack(">i", leader_epoch) + data[16:]


@dataclass
class TwinSegment:
    base_offset: int
    batches: list[TwinBatch] = field(default_factory=list)
    created_ms: int = 0
    modified_ms: int = 0

    @property
    def size(self) -> int:
        return sum(len(batch.data) for batch in self.batches)

    @property
    def max_timestamp(self) -> int:
        return max((batch.max_timestamp for batch in self.batches), default=-1)

    @property
    def largest_timestamp(self) -> int:
        return self.max_timestamp if self.max_timestamp >= 0 else self.modified_ms


@dataclass
class LogTwin:
    segment_bytes: int
    segment_ms: int = 2**63 - 1
    retention_ms: int = -1
    retention_bytes: int = -1
    log_start: int = 0
    log_end: int = 0
    segments: list[TwinSegment] = field(default_factory=list)
    epochs: list[tuple[int, int]] = field(default_factory=list)

    # ---- writing

    def must_roll(self, size: int, max_timestamp: int, now_ms: int) -> bool:
        if not self.segments:
            return True
        active = self.segments[-1]
        if not active.batches:
            return False
        if active.size > self.segment_bytes - size:
            return True
        first = active.batches[0].max_timestamp
        waited = max_timestamp - first if first >= 0 else now_ms - active.created_ms
        return waited > self.segment_ms

    def roll(self, now_ms: int) -> None:
        if self.segments and self.segments[-1].base_offset == self.log_end:
            return
        self.segments.append(TwinSegment(self.log_end, created_ms=now_ms, modified_ms=now_ms))

    def append(self, batch: TwinBatch, now_ms: int) -> int:
        """`batch` with offsets from 0 on. Returns its base offset."""
        if self.must_roll(len(batch.data), batch.max_timestamp, now_ms):
            self.roll(now_ms)
        base = self.log_end
        landed = replace(
            batch,
            base_offset=base,
            last_offset=base + batch.last_offset,
            data=stamped(batch.data, base, batch.leader_epoch),
            records=tuple((timestamp, base + offset) for timestamp, offset in batch.records),
        )
        self.segments[-1].batches.append(landed)
        self.segments[-1].modified_ms = now_ms
        self.log_end = landed.last_offset + 1
        self.assign_epoch(batch.leader_epoch, base)
        return base

    def assign_epoch(self, epoch: int, start: int) -> None:
        if not self.epochs or self.epochs[-1][0] < epoch:
            self.epochs = [entry for entry in self.epochs if entry[1] < start]
            self.epochs.append((epoch, start))

    # ---- reading

    @property
    def batches(self) -> list[TwinBatch]:
        return [batch for segment in self.segments for batch in segment.batches]

    def read(
        self, offset: int, max_bytes: int, upper: int, min_one_batch: bool
    ) -> tuple[int, bytes]:
        """(error code, bytes)."""
        if offset < self.log_start or offset > self.log_end:
            return OUT_OF_RANGE, b""
        for segment in self.segments:
            wanted = [b for b in segment.batches if b.last_offset >= offset]
            if not wanted or offset >= upper:
                continue
            below = []
            for batch in wanted:
                if batch.last_offset >= upper:
                    break
                below.append(batch)
            if not below:
                return 0, b""
            data = b"".join(batch.data for batch in below)
            first = len(below[0].data)
            if first > max_bytes:
                return 0, data[:first] if min_one_batch else b""
            return 0, data[:max_bytes]
        return 0, b""

    def available(self, offset: int, upper: int) -> int:
        return sum(
            len(batch.data)
            for batch in self.batches
            if batch.last_offset >= max(offset, self.log_start) and batch.last_offset < upper
        )

    def offset_for_timestamp(self, timestamp: int) -> tuple[int, int, int] | None:
        for batch in self.batches:
            for at, offset in batch.records:
                if offset >= self.log_start and at >= timestamp:
                    return at, offset, batch.leader_epoch
        return None

    def max_timestamp(self) -> tuple[int, int, int] | None:
        best: tuple[int, int, int] | None = None
        for segment in self.segments:
            newest = segment.max_timestamp
            for batch in segment.batches:
                for at, offset in batch.records:
                    if offset >= self.log_start and at == newest and at >= 0:
                        found = (at, offset, batch.leader_epoch)
                        if best is None or at > best[0]:
                            best = found
        return best

    def end_offset_for_epoch(self, epoch: int) -> tuple[int, int]:
        if not self.epochs or epoch == -1 or epoch > self.epochs[-1][0]:
            return -1, -1
        if epoch == self.epochs[-1][0]:
            return epoch, self.log_end
        later = [entry for entry in self.epochs if entry[0] > epoch]
        earlier = [entry for entry in self.epochs if entry[0] <= epoch]
        return (earlier[-1][0] if earlier else epoch), later[0][1]

    # ---- removing

    def delete_records(self, offset: int) -> None:
        self.log_start = max(self.log_start, offset)
        self._epochs_from(self.log_start)

    def _epochs_from(self, start: int) -> None:
        before = [entry for entry in self.epochs if entry[1] <= start]
        if before:
            self.epochs = [(before[-1][0], start)] + [e for e in self.epochs if e[1] > start]

    def apply_retention(self, now_ms: int) -> int:
        """By age, size and log start, in that order; the active segment only after a roll."""
        gone = 0
        for rule in (self._old, self._big, self._below):
            while self.segments and rule(now_ms):
                if len(self.segments) == 1:
                    self.roll(now_ms)
                self.segments.pop(0)
                gone += 1
        if gone:
            self.delete_records(self.segments[0].base_offset)
        return gone

    def _old(self, now_ms: int) -> bool:
        oldest = self.segments[0]
        if self.retention_ms < 0 or (len(self.segments) == 1 and not oldest.batches):
            return False
        return now_ms - oldest.largest_timestamp > self.retention_ms

    def _big(self, now_ms: int) -> bool:
        oldest = self.segments[0]
        if self.retention_bytes < 0 or not oldest.batches:
            return False
        return sum(segment.size for segment in self.segments) - oldest.size >= self.retention_bytes

    def _below(self, now_ms: int) -> bool:
        return len(self.segments) > 1 and self.segments[1].base_offset <= self.log_start

    def truncate_to(self, offset: int) -> None:
        """`offset` is the start of a batch."""
        if offset >= self.log_end:
            return
        if not self.segments or offset < self.segments[0].base_offset:
            self.restart_at(offset)
            return
        self.segments = [segment for segment in self.segments if segment.base_offset <= offset]
        last = self.segments[-1]
        last.batches = [batch for batch in last.batches if batch.last_offset < offset]
        self.log_end = offset
        self.log_start = min(self.log_start, offset)
        self.epochs = [entry for entry in self.epochs if entry[1] < offset]

    def restart_at(self, offset: int) -> None:
        self.segments = [TwinSegment(offset)]
        self.log_start = self.log_end = offset
        self.epochs = []

    def reopen(self) -> None:
        """What opening again changes: an epoch without a record is forgotten."""
        self.epochs = [entry for entry in self.epochs if entry[1] < self.log_end]
