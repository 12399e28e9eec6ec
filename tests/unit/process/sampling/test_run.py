"""A run on a loop of this process, and how two stacks become one."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from tidelog import cpu_samples
from tidelog._native.crc32c import crc32c
from tidelog._native.sampler import ASLEEP, CUT_PYTHON, ENTRY, NO_CODE, WAITING, Sampler
from tidelog.cpu_samples import NATIVE, PYTHON, Counted, Frame, NodeSamples, Order, Refused
from tidelog.limits import SAMPLING_MS_MAX, SAMPLING_RATE_HZ_MAX
from tidelog.process.sampling.run import INTERPRETER, SamplingRun, merge, name_stacks

DATA = bytes(1 << 20)
NOTHING = Counted({}, 0, 0, 0, 0, 0, [], 0, 0, 0)


class StubCounters:
    def __init__(self) -> None:
        self.timed = False
        self.calls: list[bool] = []
        self.count = 0

    def read(self) -> Counted:
        self.count += 7
        return msgspec.structs.replace(NOTHING, requests={"Produce": self.count})

    def timing(self, wanted: bool) -> bool:
        before, self.timed = self.timed, wanted
        self.calls.append(wanted)
        return before


async def busy(stop: asyncio.Event) -> None:
    while not stop.is_set():
        crc32c(DATA)
        await asyncio.sleep(0)


async def test_a_busy_loop_is_sampled_while_it_goes_on() -> None:
    counters, stop = StubCounters(), asyncio.Event()
    work = asyncio.create_task(busy(stop))
    run = SamplingRun(7, counters)
    answer = await run.sample(Order(300, 1000))
    again = await run.sample(Order(20, 100))
    stop.set()
    await work
    assert isinstance(answer, NodeSamples) and isinstance(again, NodeSamples)
    assert answer.node_id == 7 and answer.counted.requests == {"Produce": 7}
    assert counters.calls == [True, False, True, False]
    assert answer.threads[0].wall and answer.threads[0].name == "loop"
    paths = [[answer.frames[i] for i in stack.frames] for stack in answer.stacks]
    path = next(p for p in paths if p[-1].module == "crc32c" and any(f.name == "busy" for f in p))
    assert next(f for f in path if f.name == "busy").kind == PYTHON
    assert [f.name for f in path].index("busy") < len(path) - 1


async def test_a_second_run_at_the_same_time_is_refused() -> None:
    run = SamplingRun(1, StubCounters())
    first = asyncio.create_task(run.sample(Order(200, 100)))
    await asyncio.sleep(0)
    refused = await run.sample(Order(200, 100))
    assert refused == Refused("another run is under way on this node")
    assert isinstance(await first, NodeSamples)


async def test_who_samples_this_process_already_is_not_disturbed() -> None:
    other = Sampler()
    other.prepare(1 << 16, 1)
    other.start(100)
    refused = await SamplingRun(1, StubCounters()).sample(Order(10, 100))
    assert refused == Refused("another run of the sampler is under way")
    other.release()
    assert isinstance(await SamplingRun(1, StubCounters()).sample(Order(10, 100)), NodeSamples)


async def test_a_run_that_nobody_waits_for_ends() -> None:
    counters = StubCounters()
    run = SamplingRun(1, counters)
    task = asyncio.create_task(run.sample(Order(60_000, 100)))
    while not counters.calls:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counters.calls == [True, False]
    assert isinstance(await run.sample(Order(10, 100)), NodeSamples)


async def test_a_run_ends_when_it_is_enough() -> None:
    enough, counters = asyncio.Event(), StubCounters()
    run = SamplingRun(1, counters)
    task = asyncio.create_task(run.sample(Order(60_000, 100), enough))
    while counters.count == 0:
        await asyncio.sleep(0)
    enough.set()
    assert isinstance(await task, NodeSamples)  # long before the test's own time is up


@pytest.mark.parametrize(
    "order",
    [
        Order(0, 100),
        Order(-1, 100),
        Order(SAMPLING_MS_MAX + 1, 100),
        Order(10, 0),
        Order(10, SAMPLING_RATE_HZ_MAX + 1),
    ],
)
async def test_what_is_beyond_the_limits_is_refused(order: Order) -> None:
    assert isinstance(await SamplingRun(1, StubCounters()).sample(order), Refused)


def native(name: str) -> Frame:
    return Frame(NATIVE, "lib", name)


def python(name: str) -> Frame:
    return Frame(PYTHON, "mod", name)


def merged(natives: list[str], pythons: list[tuple[str, bool]], **more: Any) -> list[str]:
    return [
        frame.name
        for frame in merge(
            [native(name) for name in natives], [(python(n), entry) for n, entry in pythons], **more
        )
    ]


def test_python_stands_where_the_interpreter_ran_it() -> None:
    natives = ["leaf", INTERPRETER, "call", INTERPRETER, "main"]
    pythons = [("inner", False), ("middle", True), ("outer", True)]
    assert merged(natives, pythons) == ["main", "outer", "call", "middle", "inner", "leaf"]


def test_stacks_that_do_not_fit_lose_nothing() -> None:
    assert merged(["leaf"], [("f", True)]) == ["f", "leaf"]
    assert merged([INTERPRETER], []) == [INTERPRETER]
    assert merged([INTERPRETER], [], cut=True) == ["(unknown callers)"]
    assert merged([], []) == []


def test_equal_stacks_become_one_and_states_are_told_apart() -> None:
    code = {5: ("f", "/x/site-packages/pkg/mod.py", 3)}
    raw = [
        (0, 0, 2, 1, (0x10,), (5 | ENTRY,)),
        (0, 0, 3, 1, (0x10,), (5 | ENTRY,)),
        (0, ASLEEP | WAITING, 1, 1, (0x10,), (5 | ENTRY,)),
        (0, WAITING, 1, 1, (0x10,), (5 | ENTRY,)),
        (1, CUT_PYTHON, 1, 1, (0x20,), (NO_CODE | ENTRY,)),
    ]
    frames, stacks = name_stacks(raw, code, [])
    assert Frame(PYTHON, "pkg.mod", "f", 3) in frames
    assert [(s.thread, s.state, s.ticks) for s in stacks] == [
        (0, cpu_samples.RUNNING, 5),
        (0, cpu_samples.ASLEEP, 1),
        (0, cpu_samples.WAITING, 1),
        (1, cpu_samples.RUNNING, 1),
    ]
    assert "(more functions than are noted)" in {frame.name for frame in frames}
