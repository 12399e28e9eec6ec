"""Tells the controller which replicas a failed log directory keeps from this node.

Belongs to the worker's loop task. Always says all of them, one request at a time, and asks again
until the controller has heard it: what it believes is at most as old as the last answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Set
from typing import Final

from tidelog.limits import OFFLINE_REPORT_RETRY_MS

log: Final = logging.getLogger(__name__)

#: (topic id, partition) of each.
Replicas = frozenset[tuple[bytes, int]]


class OfflineReport:
    """`offline` gives what is offline now; `report` has the controller know it, and returns whether
    it does.
    """

    def __init__(
        self,
        offline: Callable[[], Set[tuple[bytes, int]]],
        report: Callable[[tuple[tuple[bytes, int], ...]], Awaitable[bool]],
    ) -> None:
        self._offline = offline
        self._report = report
        self._told: Replicas | None = None  # None: not known
        self._telling: asyncio.Task[None] | None = None

    def changed(self, _directory: str = "") -> None:
        """More is offline than before, or that has to be said for the first time."""
        self._told = None
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def wait(self, timeout_ms: int) -> None:
        """Returns when the controller knows, or after that time: it goes on."""
        if self._telling is not None:
            await asyncio.wait([self._telling], timeout=timeout_ms / 1000)

    async def close(self) -> None:
        """Nothing more is said."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait([self._telling])

    async def _tell(self) -> None:
        while self._told != (now := frozenset(self._offline())):
            if await self._report(tuple(sorted(now))):
                self._told = now
                log.info("offline replicas told count=%d", len(now))
            else:
                await asyncio.sleep(OFFLINE_REPORT_RETRY_MS / 1000)
