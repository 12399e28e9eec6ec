"""Appends that a log refused for want of room: one line now and then says so.

Belongs to one PartitionLog; loop thread only. The client is told each time; an operator needs to
know that it happens and whether it still does.
"""

from __future__ import annotations

import logging
from typing import Final

logger: Final = logging.getLogger(__name__)

#: Least time between two lines about one log.
QUIET_MS: Final = 10_000


class Refusals:
    """Counts them; `last_error` is for tools."""

    def __init__(self, topic: str, index: int) -> None:
        self._topic = topic
        self._index = index
        self._quiet_until_ms: int | None = None
        self._unsaid = 0
        self.last_error: OSError | None = None

    def note(self, error: OSError, now_monotonic_ms: int) -> None:
        """One append was refused."""
        self.last_error = error
        self._unsaid += 1
        if self._quiet_until_ms is not None and now_monotonic_ms < self._quiet_until_ms:
            return
        logger.error(
            "append refused topic=%s partition=%d times=%d error=%s",
            self._topic, self._index, self._unsaid, error,
        )  # fmt: skip
        self._unsaid = 0
        self._quiet_until_ms = now_monotonic_ms + QUIET_MS
