"""Offsets that were committed within transactions which have not ended. Pure; changed by replay
alone.

An offset of a transaction becomes the group's when its marker commits, unless something newer was
written for the same partition meanwhile: a commit without a transaction, or one of a transaction
that began to commit later and ended before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tidelog.coordinator.group.records import CommittedOffset


class OffsetKey(NamedTuple):
    """What an offset is committed for."""

    group_id: str
    topic: str
    partition: int


class _Pending(NamedTuple):
    committed: CommittedOffset
    order: int


class PendingOffsets:
    """By producer id and partition of a group."""

    def __init__(self) -> None:
        self._producers: dict[int, dict[OffsetKey, _Pending]] = {}
        self._waiting: dict[OffsetKey, set[int]] = {}  # producers by key
        self._groups: dict[str, int] = {}  # how many keys of it wait
        #: When the key was last written by something that counts already; while it waits.
        self._settled: dict[OffsetKey, int] = {}
        self._order = 0

    def put(self, producer_id: int, key: OffsetKey, committed: CommittedOffset) -> None:
        """Replay of an offset record of a transaction."""
        self._order += 1
        self._producers.setdefault(producer_id, {})[key] = _Pending(committed, self._order)
        waiting = self._waiting.setdefault(key, set())
        if not waiting:
            self._groups[key.group_id] = self._groups.get(key.group_id, 0) + 1
        waiting.add(producer_id)

    def settle(self, key: OffsetKey) -> None:
        """An offset that counts at once was written for the key: what waits by now is older."""
        if key in self._waiting:
            self._order += 1
            self._settled[key] = self._order

    def drop(self, key: OffsetKey) -> None:
        """Replay of the key's tombstone: nothing that waits for it will count."""
        for producer_id in list(self._waiting.get(key, ())):
            self._forget(producer_id, key)

    def end(self, producer_id: int, is_commit: bool) -> list[tuple[OffsetKey, CommittedOffset]]:
        """Replay of the producer's marker. Returns what is committed by it."""
        committed = []
        for key, pending in list(self._producers.get(producer_id, {}).items()):
            newest = self._settled.get(key, 0)
            self._forget(producer_id, key)
            if is_commit and pending.order > newest:
                committed.append((key, pending.committed))
                if key in self._waiting:
                    self._settled[key] = pending.order
        return committed

    def _forget(self, producer_id: int, key: OffsetKey) -> None:
        offsets = self._producers[producer_id]
        del offsets[key]
        if not offsets:
            del self._producers[producer_id]
        waiting = self._waiting[key]
        waiting.discard(producer_id)
        if waiting:
            return
        del self._waiting[key]
        self._settled.pop(key, None)
        self._groups[key.group_id] -= 1
        if not self._groups[key.group_id]:
            del self._groups[key.group_id]

    def is_pending(self, group_id: str, topic: str, partition: int) -> bool:
        """Whether a transaction may yet change the offset."""
        return (group_id, topic, partition) in self._waiting

    def has_group(self, group_id: str) -> bool:
        """Whether anything of the group waits for its marker."""
        return group_id in self._groups

    def keys(self, group_id: str) -> Iterator[OffsetKey]:
        """What waits of the group."""
        if group_id in self._groups:
            yield from (key for key in self._waiting if key.group_id == group_id)
