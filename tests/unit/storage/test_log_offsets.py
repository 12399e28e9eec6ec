"""Tests of what the checkpoints of a log directory say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tidelog.storage.directory import Offsets
from tidelog.storage.log_offsets import offsets_of


def log(index: int, point: int, start: int, *bases: int, failure: Any = None) -> Any:
    segments = [SimpleNamespace(base_offset=base) for base in bases]
    core = SimpleNamespace(recovery_point=point, segment_list=segments, log_start_offset=start)
    return SimpleNamespace(topic="t", index=index, core=core, failure=failure)


def test_open_logs_say_it_themselves() -> None:
    found = offsets_of([log(0, 7, 3, 0, 5), log(1, 9, 5, 5), log(2, 0, 0)], Offsets(), {}, {})
    # A start that is a segment's own needs no checkpoint.
    assert found == Offsets({("t", 0): 7, ("t", 1): 9, ("t", 2): 0}, {("t", 0): 3}, True)


def test_of_an_offline_log_the_last_word_stays() -> None:
    written = Offsets({("t", 0): 4}, {("t", 0): 2}, True)
    found = offsets_of([log(0, 7, 3, 0, failure=OSError()), log(1, 7, 3, 0, failure=OSError())],
                       written, {}, {})  # fmt: skip
    assert found == Offsets({("t", 0): 4}, {("t", 0): 2}, True)


def test_what_was_read_of_others_is_kept() -> None:
    points, starts = {("t", 0): 1, ("u", 0): 2}, {("u", 0): 1}
    found = offsets_of([log(0, 7, 0, 0)], Offsets(), points, starts)
    assert found == Offsets({("t", 0): 7, ("u", 0): 2}, {("u", 0): 1}, True)
    assert (points, starts) == ({("t", 0): 1, ("u", 0): 2}, {("u", 0): 1})
