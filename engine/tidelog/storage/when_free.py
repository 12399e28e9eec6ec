"""Waiting for a log directory that another process is about to let go of. On the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from tidelog.clock import Clock
from tidelog.errors import StorageError
from tidelog.storage.directory import DirectoryState

_RETRY_S: Final = 0.05


async def when_free(
    directory: str,
    opening: Callable[[], Awaitable[DirectoryState | None]],
    clock: Clock,
    timeout_ms: int,
) -> DirectoryState:
    """What `opening` (`open_directory`) gives once the directory is free. Raises StorageError when
    it is not in that time, and what `opening` raises.
    """
    deadline = clock.monotonic_ms() + timeout_ms
    while True:
        state = await opening()
        if state is not None:
            return state
        if clock.monotonic_ms() >= deadline:
            raise StorageError(f"{directory} is in use by another process")
        await asyncio.sleep(_RETRY_S)
