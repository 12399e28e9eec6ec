"""Log lines that peers can cause, at a bounded rate: a flood of bad peers must not fill the disk.

Belongs to no process or task: whoever refuses something has one for its lines. It does nothing but
log.
"""

from __future__ import annotations

import logging

from tidelog.clock import Clock


class BoundedLog:
    """Passes on so many warnings per second, and counts the others."""

    def __init__(self, log: logging.Logger, clock: Clock, lines_per_second: int) -> None:
        self._log = log
        self._clock = clock
        self._lines_max = lines_per_second
        self._lines = 0
        self._since_ms = clock.monotonic_ms()

    def warning(self, line: str, *values: object) -> None:
        """Log the line, unless there were too many in this second."""
        now_ms = self._clock.monotonic_ms()
        if now_ms - self._since_ms >= 1000:
            if self._lines > self._lines_max:
                self._log.warning("more of the same count=%d", self._lines - self._lines_max)
            self._since_ms, self._lines = now_ms, 0
        self._lines += 1
        if self._lines <= self._lines_max:
            self._log.warning(line, *values)
