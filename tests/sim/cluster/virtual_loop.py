"""An asyncio loop on which time passes only when nothing is left to do, so that hours of a cluster
run in milliseconds and the same seed gives the same run.

What production code gives to helper threads runs at once, and ends a drawn time later.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Callable
from typing import Any


class StandsStill(Exception):
    """Nothing will ever happen any more, and the run is not over."""


class _NoSelector(selectors.SelectSelector):
    """Nothing comes from outside: to wait means to let time pass."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise StandsStill
        if timeout > 0:
            self.loop.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. Seconds since the start of the run: `now`."""

    def __init__(self, rng: random.Random) -> None:
        self.now = 0.0
        self._rng = rng
        selector = _NoSelector()
        selector.loop = self
        super().__init__(selector)

        self._callbacks = 0
        self._due: list[tuple[int, Callable[[], object]]] = []

    def time(self) -> float:
        return self.now

    def in_order(self, callback: Callable[[], object]) -> Callable[[], object]:
        """The callback, to be given to somebody who calls several in no order: those that are
        called together run soon after, in the order in which they came here.
        """
        self._callbacks += 1
        number = self._callbacks

        def due() -> None:
            if not self._due:
                self.call_soon(self._run_due)
            self._due.append((number, callback))

        return due

    def _run_due(self) -> None:
        due, self._due = sorted(self._due, key=lambda one: one[0]), []
        for _, callback in due:
            callback()

    def run_in_executor(  # type: ignore[override]  # nothing runs elsewhere here
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        done: asyncio.Future[Any] = self.create_future()
        try:
            result = func(*args)
        except Exception as error:
            settle: Callable[[], None] = lambda error=error: _fail(done, error)  # noqa: E731
        else:
            settle = lambda: _give(done, result)  # noqa: E731
        self.call_later(self._rng.random() * 0.004, settle)
        return done


def _give(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


class LoopClock:
    """The loop's time for production code."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def wall_ms(self) -> int:
        return 1_700_000_000_000 + int(self._loop.now * 1000)

    def monotonic_ms(self) -> int:
        return 1_000_000 + int(self._loop.now * 1000)
