"""The end of all logs of a directory.

On the log manager's loop; what waits for the disk runs where the logs have it run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tidelog.storage.log import PartitionLog

logger: Final = logging.getLogger(__name__)

#: From that many logs on, the end of all of them is one sync of the file system.
SYNC_TOGETHER: Final = 16


async def close_logs(
    logs: Sequence[PartitionLog], clean: bool, sync_file_system: Callable[[], Awaitable[None]]
) -> bool:
    """Closes all of them, which the caller lets go of later. Returns whether they ended in order;
    what did not is logged.
    """
    together = clean and len(logs) >= SYNC_TOGETHER
    results = await asyncio.gather(
        *(log.close(clean, release=False, durable=not together) for log in logs),
        return_exceptions=True,
    )
    healthy = not any(log.failure for log in logs)
    for log, result in zip(logs, results, strict=True):
        if isinstance(result, BaseException):
            healthy = False
            logger.error("log not closed in order log=%r error=%s", log, result)
    if together:
        try:
            await sync_file_system()
        except OSError as error:
            logger.error("file system not synced log=%r error=%s", logs[0], error)
            return False
        for log, result in zip(logs, results, strict=True):
            if log.failure is None and result is None:
                log.mark_durable()
    return healthy
