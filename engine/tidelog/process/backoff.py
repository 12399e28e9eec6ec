"""When a worker that died is started again. Pure: time is an argument.

The first death costs no wait; deaths that follow each other before the worker has proven itself
wait longer and longer.
"""

from __future__ import annotations

from tidelog.limits import RESTART_BACKOFF_MS, RESTART_PROVEN_MS


class RestartPolicy:
    """The deaths of one worker in a row."""

    def __init__(self) -> None:
        self._deaths = 0
        self._serving_since_ms: int | None = None

    @property
    def deaths_in_a_row(self) -> int:
        """Deaths since the worker last served for long enough."""
        return self._deaths

    def serving(self, now_ms: int) -> None:
        """The worker has begun to serve."""
        self._serving_since_ms = now_ms

    def died(self, now_ms: int) -> int:
        """How long to wait before the next start, in ms."""
        since, self._serving_since_ms = self._serving_since_ms, None
        if since is not None and now_ms - since >= RESTART_PROVEN_MS:
            self._deaths = 0
        wait_ms = RESTART_BACKOFF_MS[min(self._deaths, len(RESTART_BACKOFF_MS) - 1)]
        self._deaths += 1
        return wait_ms
