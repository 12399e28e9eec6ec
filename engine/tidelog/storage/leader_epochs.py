"""Leader epochs of a log: which epoch wrote from which offset on (KIP-101, KIP-279).

File `leader-epoch-checkpoint` in the partition's folder: a checkpoint file (see checkpoints) whose
entries are `epoch start_offset`, ascending in both. Owned by one PartitionLog. The cache only
decides; its owner writes `encode()` when a method says that something changed. It never asks the
log for its end: that is an argument.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import pairwise
from typing import NamedTuple

from tidelog.storage.checkpoints import (
    MalformedFileError,
    decode_checkpoint,
    encode_checkpoint,
    integer,
)
from tidelog.storage.files import SYSTEM_FILES, Files

LEADER_EPOCH_CHECKPOINT = "leader-epoch-checkpoint"
UNDEFINED_EPOCH = -1
UNDEFINED_OFFSET = -1


class EpochEntry(NamedTuple):
    """`epoch` wrote from `start_offset` on."""

    epoch: int
    start_offset: int


class EpochEnd(NamedTuple):
    """The epoch that a look-up settled on, and the offset behind its last record."""

    epoch: int
    end_offset: int


UNDEFINED_END = EpochEnd(UNDEFINED_EPOCH, UNDEFINED_OFFSET)


class LeaderEpochCache:
    """Entries ascend strictly in epoch and in start offset."""

    def __init__(self, entries: list[EpochEntry] | None = None) -> None:
        self._epochs: list[int] = []
        self._starts: list[int] = []
        for entry in entries or []:
            self.assign(*entry)

    @property
    def entries(self) -> list[EpochEntry]:
        return [EpochEntry(*pair) for pair in zip(self._epochs, self._starts, strict=True)]

    @property
    def latest_epoch(self) -> int:
        """-1 when the log has no epoch yet."""
        return self._epochs[-1] if self._epochs else UNDEFINED_EPOCH

    @property
    def earliest(self) -> EpochEntry | None:
        return EpochEntry(self._epochs[0], self._starts[0]) if self._epochs else None

    def assign(self, epoch: int, start_offset: int) -> bool:
        """`epoch` writes from `start_offset` on. Returns whether that was new.

        Entries that contradict it (an epoch or a start not below) go: they are of a leader whose
        records were cut off.
        """
        if epoch < 0 or start_offset < 0:
            raise ValueError(f"no leader epoch {epoch} at offset {start_offset}")
        if self._epochs and self._epochs[-1] == epoch and self._starts[-1] <= start_offset:
            return False
        keep = min(bisect_left(self._epochs, epoch), bisect_left(self._starts, start_offset))
        self._cut(keep)
        self._epochs.append(epoch)
        self._starts.append(start_offset)
        return True

    def end_offset_for(self, epoch: int, log_end_offset: int) -> EpochEnd:
        """Largest epoch that is not above `epoch`, and where the next one begins (KIP-279).

        The latest epoch ends at `log_end_offset`. An epoch before all known ones is given back with
        the start of the first known one. (-1, -1) for an epoch that is not known to have begun.
        """
        if epoch == UNDEFINED_EPOCH or not self._epochs or epoch > self._epochs[-1]:
            return UNDEFINED_END
        if epoch == self._epochs[-1]:
            return EpochEnd(epoch, log_end_offset)
        following = bisect_right(self._epochs, epoch)
        settled = self._epochs[following - 1] if following else epoch
        return EpochEnd(settled, self._starts[following])

    def epoch_for(self, offset: int) -> int | None:
        """The epoch that wrote `offset`; None when it is before the first entry."""
        at = bisect_right(self._starts, offset) - 1
        return self._epochs[at] if at >= 0 else None

    def truncate_from_end(self, end_offset: int) -> bool:
        """The log now ends at `end_offset`. Returns whether an entry went."""
        keep = bisect_left(self._starts, end_offset) if end_offset >= 0 else len(self._starts)
        changed = keep < len(self._starts)
        self._cut(keep)
        return changed

    def truncate_from_start(self, start_offset: int) -> bool:
        """The log now starts at `start_offset`. Returns whether an entry changed.

        The epoch that wrote `start_offset` stays, and starts there.
        """
        gone = bisect_right(self._starts, start_offset)
        if not gone or (gone == 1 and self._starts[0] == start_offset):
            return False
        del self._epochs[: gone - 1]
        del self._starts[: gone - 1]
        self._starts[0] = start_offset
        return True

    def clear(self) -> bool:
        """Forgets everything. Returns whether there was something."""
        changed = bool(self._epochs)
        self._cut(0)
        return changed

    def encode(self) -> bytes:
        """The content of the checkpoint file."""
        return encode_checkpoint(f"{epoch} {start}" for epoch, start in self.entries)

    @classmethod
    def decode(cls, data: bytes, path: str) -> LeaderEpochCache:
        """Raises MalformedFileError (`path` only names the file)."""
        entries = decode_checkpoint(data, path, _epoch_entry)
        for number, (before, after) in enumerate(pairwise(entries), 4):
            if after.epoch <= before.epoch or after.start_offset < before.start_offset:
                raise MalformedFileError(path, number, "epochs and start offsets must ascend")
        return cls(entries)

    def _cut(self, keep: int) -> None:
        del self._epochs[keep:]
        del self._starts[keep:]


def read_leader_epochs(path: str, files: Files = SYSTEM_FILES) -> LeaderEpochCache:
    """An empty cache when there is no such file. Raises MalformedFileError, OSError."""
    try:
        data = files.read(path)
    except FileNotFoundError:
        return LeaderEpochCache()
    return LeaderEpochCache.decode(data, path)


def write_leader_epochs(path: str, cache: LeaderEpochCache, files: Files = SYSTEM_FILES) -> None:
    """Replaces the file atomically and durably. Raises OSError."""
    files.write(path, cache.encode())


def _epoch_entry(fields: list[str]) -> EpochEntry | None:
    if len(fields) != 2:
        return None
    epoch, start_offset = integer(fields[0]), integer(fields[1])
    if epoch is None or start_offset is None or not 0 <= epoch < 2**31 or start_offset < 0:
        return None
    return EpochEntry(epoch, start_offset)
