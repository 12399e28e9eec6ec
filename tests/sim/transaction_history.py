"""What the simulators of transactions hold against each other: what producers attempted and were
told, and what the logs say became of it. Knows neither coordinators nor partitions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


class Attempt:
    """One transaction as its producer sees it. told: what it was answered (None: nothing)."""

    def __init__(self, tid: str) -> None:
        self.tid = tid
        self.acknowledged = 0
        self.told: bool | None = None


@dataclass(slots=True)
class Entry:
    """A record (attempt) or a marker (commit) of a producer in a partition's log."""

    producer_id: int
    attempt: Any = None
    commit: bool | None = None


def outcomes(log: list[Entry]) -> list[tuple[int, Any, bool | None]]:
    """(position, attempt, what its marker says) of every record of one partition."""
    found = []
    decided: dict[int, bool] = {}
    for at in range(len(log) - 1, -1, -1):
        entry = log[at]
        if entry.commit is not None:
            decided[entry.producer_id] = entry.commit
        else:
            found.append((at, entry.attempt, decided.get(entry.producer_id)))
    return found[::-1]


def outcomes_by_attempt(logs: Iterable[list[Entry]]) -> dict[Any, list[bool | None]]:
    """What became of every record, by attempt."""
    found: dict[Any, list[bool | None]] = {}
    for log in logs:
        for _, attempt, commit in outcomes(log):
            found.setdefault(attempt, []).append(commit)
    return found


def check_attempts(attempts: Collection[Attempt], found: Mapping[Any, list[bool | None]]) -> None:
    """All or nothing, and as its producer was told."""
    assert set(found) <= set(attempts)
    for attempt in attempts:
        ends = found.get(attempt, [])
        assert len(set(ends)) <= 1, (attempt.tid, ends)
        if attempt.told is not None:
            assert set(ends) <= {attempt.told}, (attempt.tid, attempt.told, ends)
        if attempt.told:
            assert len(ends) == attempt.acknowledged, (attempt.tid, attempt.acknowledged, ends)


class Fences:
    """The last epoch that InitProducerId gave out, by transactional id (its epochs are never used
    up in a run).
    """

    def __init__(self) -> None:
        self._epochs: dict[str, int] = {}

    def of(self, tid: str) -> int:
        return self._epochs.get(tid, -1)

    def given(self, tid: str, epoch: int) -> None:
        self._epochs[tid] = max(epoch, self.of(tid))

    @staticmethod
    def check(tid: str, epoch: int, fence: int) -> None:
        """What succeeds is not asked by somebody whose place another one had been given."""
        assert epoch >= fence, f"{tid}: epoch {epoch} succeeds after {fence} was given out"
