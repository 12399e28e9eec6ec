"""The sampler on threads of this process: what it says is where they were."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tidelog import cpu_samples
from tidelog._native import sampler
from tidelog._native.crc32c import crc32c
from tidelog._native.sampler import Sampler, SamplerError
from tidelog.cpu_samples import Frame, Stack
from tidelog.errors import InvariantError
from tidelog.process.sampling.run import name_stacks

ROWS = 2_000_000
DATA = bytes(1 << 20)


@pytest.fixture
def made() -> Iterator[Sampler]:
    one = Sampler()
    one.prepare(1 << 22, ROWS)
    yield one
    one.release()


def until_sampled(one: Sampler, work: Callable[[], object], samples: int, thread: int = 0) -> None:
    """Works until the thread was interrupted that often."""
    deadline = time.monotonic() + 30
    while one.threads()[thread][3] < samples:
        work()
        assert time.monotonic() < deadline, one.threads()


def named(one: Sampler) -> tuple[list[Frame], list[Stack]]:
    raw, _ = one.collect(10_000)
    return name_stacks(raw, one.codes(), one.modules())


def busy_python() -> int:
    total = 0
    for i in range(20_000):
        total += i * i
    return total


def outer() -> int:
    return busy_python()


def ticks_of(frames: list[Frame], stacks: list[Stack], name: str) -> int:
    return sum(s.ticks for s in stacks if any(frames[i].name == name for i in s.frames))


def test_a_python_loop_is_named_with_its_callers(made: Sampler) -> None:
    made.start(1000)
    until_sampled(made, outer, 30)
    made.stop()
    frames, stacks = named(made)
    paths = [[frames[i].name for i in stack.frames] for stack in stacks if stack.thread == 0]
    inner = [path for path in paths if "busy_python" in path]
    assert inner
    for path in inner:
        assert path.index("until_sampled") < path.index("outer") < path.index("busy_python")
    assert made.threads()[0][7] == 0  # nothing lost


def test_a_native_loop_is_named_below_the_python_that_called_it(made: Sampler) -> None:
    made.start(1000)
    until_sampled(made, lambda: crc32c(DATA), 30)
    made.stop()
    frames, stacks = named(made)
    leaves = {frames[stack.frames[-1]] for stack in stacks}
    assert any(leaf.module == "crc32c" and leaf.kind == "native" for leaf in leaves), leaves
    calls = [
        [frames[i].name for i in stack.frames]
        for stack in stacks
        if frames[stack.frames[-1]].module == "crc32c"
    ]
    assert all("until_sampled" in path for path in calls)


def test_a_thread_that_sleeps_is_seen_asleep(made: Sampler) -> None:
    made.start(1000)
    until_sampled(made, lambda: time.sleep(0.01), 30)
    made.stop()
    frames, stacks = named(made)
    asleep = [stack for stack in stacks if stack.state == cpu_samples.ASLEEP and stack.thread == 0]
    assert ticks_of(frames, asleep, "clock_nanosleep") > 0
    assert made.threads()[0][5] > 0


def test_other_threads_are_sampled_by_their_cpu_time(made: Sampler) -> None:
    stop, ready = threading.Event(), threading.Event()

    def work() -> None:
        ready.set()
        while not stop.is_set():
            crc32c(DATA)

    helper = threading.Thread(target=work)
    helper.start()
    ready.wait()
    try:
        made.start(1000)
        index = [told[0] for told in made.threads()].index(helper.native_id or 0)
        until_sampled(made, lambda: time.sleep(0.001), 5, index)
        made.stop()
    finally:
        stop.set()
        helper.join()
    told = made.threads()[index]
    assert not told[1] and told[2] > 0
    frames, stacks = named(made)
    assert ticks_of(frames, [s for s in stacks if s.thread == index], "Thread.run") > 0
    assert told[4] >= told[3]  # a sample is worth one tick or more


def test_a_full_arena_loses_samples_and_keeps_the_others() -> None:
    one = Sampler()
    one.prepare(4096, ROWS)
    one.start(2000)
    until_sampled(one, busy_python, 100)
    one.stop()
    samples, lost = one.threads()[0][3], one.threads()[0][7]
    raw, left_out = one.collect(10_000)
    assert 0 < lost < samples and left_out == 0
    assert sum(stack[3] for stack in raw) == samples - lost
    one.release()


def test_stacks_beyond_the_limit_are_counted(made: Sampler) -> None:
    made.start(2000)
    until_sampled(made, busy_python, 20)
    until_sampled(made, lambda: time.sleep(0.001), 40)
    until_sampled(made, lambda: crc32c(DATA), 60)
    made.stop()
    ticks = sum(told[4] for told in made.threads())
    raw, left_out = made.collect(1)
    assert len(raw) == 1
    assert raw[0][2] + left_out == ticks and left_out > 0


def test_without_unwind_tables_there_is_the_function_and_no_caller() -> None:
    one = Sampler()
    one.prepare(1 << 20, 0)
    assert one.unwind_rows[0] < 1024 * len(one.modules()) and one.unwind_rows[1] > 0
    one.start(1000)
    until_sampled(one, busy_python, 10)
    one.stop()
    raw, _ = one.collect(10_000)
    assert any(flags & sampler.CUT_NATIVE for _, flags, *_ in raw)
    frames, stacks = name_stacks(raw, one.codes(), one.modules())
    assert ticks_of(frames, stacks, "busy_python") > 0  # they are read without the tables
    one.release()


def test_one_run_at_a_time(made: Sampler) -> None:
    other = Sampler()
    other.prepare(1 << 16, 1)
    made.start(100)
    with pytest.raises(SamplerError, match="another run"):
        other.start(100)
    made.stop()
    other.start(100)
    other.stop()
    other.stop()  # nothing to stop
    other.release()


def test_wrong_use_is_refused(made: Sampler) -> None:
    with pytest.raises(InvariantError):
        Sampler().start(100)
    with pytest.raises(InvariantError):
        made.start(0)
    with pytest.raises(InvariantError):
        made.prepare(1 << 16, 1)
    made.start(100)
    with pytest.raises(InvariantError):
        made.start(100)
    with pytest.raises(InvariantError):
        made.collect(10)
    made.release()
    with pytest.raises(InvariantError):
        made.collect(10)
    assert made.codes() == {}


def test_a_stray_signal_is_nothing(made: Sampler) -> None:
    made.start(1)
    os.kill(os.getpid(), signal.SIGPROF)
    before = made.threads()[0][3]
    made.stop()
    os.kill(os.getpid(), signal.SIGPROF)
    assert made.threads()[0][3] == before


FOREIGN = """
import signal
signal.signal(signal.SIGPROF, lambda *_: None)
from tidelog._native.sampler import Sampler, SamplerError
one = Sampler()
one.prepare(1 << 16, 1)
try:
    one.start(100)
except SamplerError as error:
    print(error)
"""


def test_the_handler_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    script = tmp_path / "foreign.py"
    script.write_text(FOREIGN)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "somebody else in this process handles SIGPROF\n"


def test_it_may_go_while_it_runs() -> None:
    one = Sampler()
    one.prepare(1 << 20, ROWS)
    one.start(2000)
    del one
    busy_python()
    following = Sampler()
    following.prepare(1 << 16, 1)
    following.start(100)
    following.release()


def test_coroutines_and_generators_have_their_callers(made: Sampler) -> None:
    def numbers() -> Iterator[int]:
        while True:
            yield busy_python()

    async def coroutine(source: Iterator[int]) -> int:
        return next(source)

    source = numbers()

    def step() -> None:
        with pytest.raises(StopIteration):
            coroutine(source).send(None)

    made.start(1000)
    until_sampled(made, step, 40)
    made.stop()
    frames, stacks = named(made)
    prefix = "test_coroutines_and_generators_have_their_callers.<locals>."
    wanted = [prefix + name for name in ("step", "coroutine", "numbers")]
    paths = [[frames[i].name for i in s.frames] for s in stacks if s.thread == 0]
    full = [path for path in paths if "busy_python" in path]
    assert full
    for path in full:
        assert [name for name in path if name.startswith(prefix)] == wanted
