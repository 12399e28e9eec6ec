"""How late a loop is: a timer that notes by how much it ran after its time. Runs on that loop."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from tidelog.storage.durations import Durations

INTERVAL_S: Final = 0.1


class LoopLag:
    """Ticks from `start` to `stop`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.durations = Durations()
        self._loop = loop
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        # (The loop's own time has the resolution of a millisecond.)
        self._due_s = time.monotonic() + INTERVAL_S
        self._timer = self._loop.call_later(INTERVAL_S, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self.durations.observe(max(time.monotonic() - self._due_s, 0.0))
        self.start()
