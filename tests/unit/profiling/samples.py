"""Samples as a broker might tell them, made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tidelog.cpu_samples import (
    ASLEEP,
    NATIVE,
    PYTHON,
    RUNNING,
    WAITING,
    Counted,
    Frame,
    NodeSamples,
    Stack,
    StageTime,
    Thread,
)

FRAMES = [
    Frame(PYTHON, "tidelog.process.worker_process", "run_worker", 330),
    Frame(NATIVE, "loop", "uv_run"),
    Frame(NATIVE, "connection", "Connection.on_readable"),
    Frame(NATIVE, "libc", "recv"),
    Frame(NATIVE, "produce_lane", "ProduceTask.append_to"),
    Frame(NATIVE, "libc", "pwrite"),
    Frame(NATIVE, "libc", "epoll_pwait"),
    Frame(NATIVE, "mystery", "mystery+0x10"),
]
RECEIVE, WRITE, POLL = (0, 1, 2, 3), (0, 1, 2, 4, 5), (0, 1, 6)


def thread(**changes: Any) -> Thread:
    made = Thread("loop", True, 800_000_000, 1000, 1000, 150, 50, 0, 0, 5_000_000)
    return msgspec.structs.replace(made, **changes)


def node_samples(
    stacks: Sequence[Stack] = (
        Stack(0, RUNNING, 200, RECEIVE),
        Stack(0, RUNNING, 600, WRITE),
        Stack(0, WAITING, 50, WRITE),
        Stack(0, ASLEEP, 150, POLL),
    ),
    **changes: Any,
) -> NodeSamples:
    counted = Counted(
        {"Produce": 1000, "Metadata": 600},
        8_000_000,
        100_000,
        7_000_000,
        70_000,
        0,
        [StageTime("Produce", "flush", 1000, 2_000_000)],
        3,
        9_000_000,
        900_000_000,
    )
    made = NodeSamples(
        1, 4711, 1000, 1_000_000_000, [thread()], 0, 0, True, FRAMES, list(stacks), counted
    )
    return msgspec.structs.replace(made, **changes)
