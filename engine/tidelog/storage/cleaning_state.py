"""What a log, its cleaner and those who change its files otherwise tell each other.

Belongs to one PartitionLog; loop thread only, but for the stop event, which the helper that cleans
looks at. It touches no file.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidelog.errors import InvariantError


class CleaningState:
    """A log is cleaned once at a time, and not at all while somebody has paused it."""

    def __init__(self) -> None:
        #: Up to where the log was cleaned; None: never.
        self.cleaned_offset: int | None = None
        #: Why this log cannot be cleaned until it is opened again, "" when it can.
        self.problem = ""
        #: No cleaning begins before (monotonic ms): the last one found no room.
        self.not_before_ms = 0
        self._stop: threading.Event | None = None
        self._idle = asyncio.Event()
        self._pauses = 0

    @property
    def running(self) -> bool:
        return self._stop is not None

    @property
    def may_begin(self) -> bool:
        return not self._pauses and not self.running and not self.problem

    def begin(self) -> threading.Event:
        """The log is being cleaned until end(); the event is set when that is to stop."""
        if not self.may_begin:
            raise InvariantError("a log is cleaned that must not be")
        self._stop = threading.Event()
        self._idle.clear()
        return self._stop

    def end(self) -> None:
        self._stop = None
        self._idle.set()

    def stop(self) -> None:
        """Has a cleaning that runs come to its end soon."""
        if self._stop is not None:
            self._stop.set()

    async def pause(self) -> None:
        """Returns when no cleaning runs; none begins before resume()."""
        self._pauses += 1
        if self._stop is not None:
            self._stop.set()
            await self._idle.wait()

    def resume(self) -> None:
        self._pauses -= 1

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """For who changes the log's files."""
        try:
            await self.pause()
            yield
        finally:
            self.resume()

    def on_truncated(self, offset: int) -> None:
        """Nothing from `offset` on is what it was."""
        if self.cleaned_offset is not None:
            self.cleaned_offset = min(self.cleaned_offset, offset)
