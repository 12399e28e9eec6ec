"""Tasks that nobody awaits: requests in work.

Belongs to the worker's loop task. The loop itself holds its tasks only weakly, and tells of an
exception in one that nobody awaits when the task happens to be collected; here both are certain and
at once. It decides nothing: what comes through goes to the loop's exception handler, which ends the
worker for an InvariantError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Tasks:
    """Holds the tasks that it started until they end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `work`; an exception of it is reported when it ends."""
        task = self._loop.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._loop.call_exception_handler(
                {"message": "a request failed", "exception": error, "task": task}
            )
