"""What is done for every log of a directory from time to time. On the log manager's loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from tidelog.errors import StorageError
from tidelog.storage.log import PartitionLog

logger: Final = logging.getLogger(__name__)


async def apply_retention(logs: Sequence[PartitionLog], now_ms: int) -> int:
    """Runs retention on each. Returns how many segments were removed; a log that fails is told."""
    removed = 0
    for log in logs:
        try:
            removed += await log.apply_retention(now_ms)
        except (OSError, StorageError) as error:
            logger.error("retention failed log=%r error=%s", log, error)
    return removed


async def expire_producers(logs: Sequence[PartitionLog], now_ms: int, limit_ms: int) -> int:
    """Forgets producer ids that are idle for so long. Returns how many."""
    expired = 0
    for log in logs:
        expired += log.expire_producers(now_ms, limit_ms)
        await asyncio.sleep(0)  # thousands of logs: let requests in between
    return expired
