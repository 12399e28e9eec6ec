"""One run of the sampler in a worker: start, wait, stop, and everything told by names.

On the worker's loop, which is the thread that is sampled by the wall clock; what takes longer
(unwind tables, folding, symbols) is done on a helper thread. The loop goes on serving all the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from tidelog import cpu_samples
from tidelog._native.sampler import (
    ASLEEP,
    CUT_PYTHON,
    ENTRY,
    NO_CODE,
    PYTHON_FRAMES,
    WAITING,
    Sampler,
    SamplerError,
)
from tidelog.cpu_samples import (
    PYTHON,
    Counted,
    Frame,
    NodeSamples,
    Order,
    Refused,
    Stack,
    Thread,
)
from tidelog.limits import (
    SAMPLING_ARENA_BYTES,
    SAMPLING_MS_MAX,
    SAMPLING_RATE_HZ_MAX,
    SAMPLING_STACKS_MAX,
    SAMPLING_UNWIND_ROWS_MAX,
)
from tidelog.process.sampling.counters import difference
from tidelog.process.sampling.symbols import resolve

#: The interpreter's own function in which Python functions run: several of them in one call of it.
INTERPRETER: Final = "_PyEval_EvalFrameDefault"

_FULL: Final = Frame(PYTHON, "", "(more functions than are noted)")
_UNKNOWN: Final = Frame(PYTHON, "", "(unknown callers)")

RawStack = tuple[int, int, int, int, tuple[int, ...], tuple[int, ...]]


class Counters(Protocol):
    """What a node counts: `counters.NodeCounters`."""

    def read(self) -> Counted: ...

    def timing(self, wanted: bool) -> bool: ...


class SamplingRun:
    """Takes samples when it is asked to, one run at a time. `counters` are the node's."""

    def __init__(self, node_id: int, counters: Counters) -> None:
        self._node_id = node_id
        self._counters = counters
        self._busy = False

    async def sample(
        self, order: Order, enough: asyncio.Event | None = None
    ) -> NodeSamples | Refused:
        """Takes as long as the order says, or until it is enough, and somewhat longer for the
        names.
        """
        if not 0 < order.duration_ms <= SAMPLING_MS_MAX:
            return Refused(f"a run takes up to {SAMPLING_MS_MAX / 1000:.0f} s")
        if not 0 < order.rate_hz <= SAMPLING_RATE_HZ_MAX:
            return Refused(f"samples are taken up to {SAMPLING_RATE_HZ_MAX} times a second")
        if self._busy:
            return Refused("another run is under way on this node")
        self._busy = True
        sampler = Sampler()
        try:
            return await self._run(sampler, order, enough or asyncio.Event())
        except (SamplerError, MemoryError) as error:
            return Refused(str(error) or "there is no memory for it")
        finally:
            sampler.stop()
            self._busy = False

    async def _run(self, sampler: Sampler, order: Order, enough: asyncio.Event) -> NodeSamples:
        await asyncio.to_thread(sampler.prepare, SAMPLING_ARENA_BYTES, SAMPLING_UNWIND_ROWS_MAX)
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        timed_before = self._counters.timing(True)
        try:
            before = self._counters.read()
            sampler.start(order.rate_hz)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(order.duration_ms / 1000):
                    await enough.wait()
            sampler.stop()
            counted = difference(before, self._counters.read())
        finally:
            self._counters.timing(timed_before)
        return await asyncio.to_thread(
            describe, sampler, self._node_id, order.rate_hz, names, counted
        )


def describe(
    sampler: Sampler,
    node_id: int,
    rate_hz: int,
    thread_names: dict[int | None, str],
    counted: Counted,
) -> NodeSamples:
    """Everything of a run that has ended; gives the sampler's memory back. Reads the files of the
    loaded modules for names.
    """
    try:
        raw, dropped = sampler.collect(SAMPLING_STACKS_MAX)
        threads = [
            # (After a fork the main thread still goes by its parent's id.)
            Thread("loop" if told[1] else thread_names.get(told[0], f"thread {index}"), *told[1:])
            for index, told in enumerate(sampler.threads())
        ]
        codes, modules = sampler.codes(), sampler.modules()
        wall_ns, left_out = sampler.wall_ns, sampler.threads_left_out
    finally:
        sampler.release()
    frames, stacks = name_stacks(raw, codes, modules)
    return NodeSamples(
        node_id,
        os.getpid(),
        rate_hz,
        wall_ns,
        threads,
        left_out,
        dropped,
        PYTHON_FRAMES,
        frames,
        stacks,
        counted,
    )


def name_stacks(
    raw: Sequence[RawStack],
    codes: dict[int, tuple[str, str, int]],
    modules: Sequence[tuple[str, int, int, int]],
) -> tuple[list[Frame], list[Stack]]:
    """Frames, each once, and stacks of their indexes from the outermost on. Stacks that have become
    equal are one.
    """
    natives = resolve({address for stack in raw for address in stack[4]}, modules)
    pythons = {slot: _python_frame(*code) for slot, code in codes.items()}
    indexes: dict[Frame, int] = {}
    ticks: dict[tuple[int, int, tuple[int, ...]], int] = {}
    for thread, flags, weight, _, native, python in raw:
        called = merge(
            [natives[address] for address in native],
            [
                (pythons.get(frame & 0xFFFF, _FULL), bool(frame & ENTRY))
                if frame & 0xFFFF != NO_CODE
                else (_FULL, bool(frame & ENTRY))
                for frame in python
            ],
            bool(flags & CUT_PYTHON),
        )
        stack = tuple(indexes.setdefault(frame, len(indexes)) for frame in called)
        state = cpu_samples.RUNNING
        if flags & ASLEEP:
            state = cpu_samples.ASLEEP
        elif flags & WAITING:
            state = cpu_samples.WAITING
        key = (thread, state, stack)
        ticks[key] = ticks.get(key, 0) + weight
    return list(indexes), [Stack(key[0], key[1], count, key[2]) for key, count in ticks.items()]


def merge(
    native: Sequence[Frame], python: Sequence[tuple[Frame, bool]], cut: bool = False
) -> list[Frame]:
    """One stack from two, both from the innermost on; the result from the outermost. The Python
    functions stand in the place of the call of the interpreter that ran them: those up to the one
    for which it was entered. Which of the outermost are not known is said.
    """
    merged: list[Frame] = []
    left = iter(python)
    for frame in native:
        if frame.name != INTERPRETER:
            merged.append(frame)
            continue
        found = False
        for function, is_entry in left:
            found = True
            merged.append(function)
            if is_entry:
                break
        if not found:
            # A call that has not begun its first function yet, or one beyond what was read.
            merged.append(_UNKNOWN if cut else frame)
    # Of a walk over native functions that ended too early.
    merged.extend(function for function, _ in left)
    merged.reverse()
    return merged


def _python_frame(name: str, file: str, line: int) -> Frame:
    path = Path(file)
    # As Python would import it, as far as the noted end of the path tells.
    parts = [*path.parts[:-1], path.stem]
    for root in ("site-packages", "engine"):
        if root in parts:
            parts = parts[parts.index(root) + 1 :]
            break
    else:
        parts = parts[-1:]
    return Frame(PYTHON, ".".join(parts), name or "(no name)", line)
