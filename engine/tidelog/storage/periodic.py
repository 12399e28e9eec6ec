"""What a log directory does from time to time: steps with an interval each.

Belongs to a log manager, on its loop. A step that fails is told and run again when its time comes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from tidelog.errors import StorageError

logger: Final = logging.getLogger(__name__)

#: Kafka's log.initial.task.delay.ms: nothing periodic runs while a node still starts.
INITIAL_DELAY_MS: Final = 30_000


class PeriodicWork:
    """`on_failure` is called with what a step raised (OSError, StorageError)."""

    def __init__(self, on_failure: Callable[[BaseException], object]) -> None:
        self._on_failure = on_failure
        self._tasks: list[asyncio.Task[None]] = []

    def every(self, interval_ms: int, step: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Runs `step` with that much time in between."""

        async def repeat() -> None:
            await asyncio.sleep(min(interval_ms, INITIAL_DELAY_MS) / 1000)
            while True:
                try:
                    await step()
                except (OSError, StorageError) as error:
                    logger.error("periodic work failed step=%s error=%s", step.__name__, error)
                    self._on_failure(error)
                await asyncio.sleep(max(interval_ms, 1) / 1000)

        self.add(repeat())

    def add(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs it until the end."""
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    def cancel(self) -> None:
        """Nothing is begun any more. May be called by a step."""
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """Returns when nothing runs any more."""
        self.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
