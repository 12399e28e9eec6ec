"""The moves of logs between the log directories of one node, so many at a time.

Belongs to the log directories, on the loop: one task for each log that moves. A log moves to one
place at a time; another wish takes the place of the first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from tidelog.clock import Clock
from tidelog.errors import StorageError
from tidelog.storage.log import PartitionLog
from tidelog.storage.log_move import LogMove, MoveThrottle
from tidelog.storage.manager import LogManager

logger: Final = logging.getLogger(__name__)


class LogMoves:
    """`at_once`: how many run side by side; source_of gives the directory in which a log is;
    on_failure is called with the directory that a log was to go to and what kept it from that.
    """

    def __init__(
        self,
        clock: Clock,
        throttle: MoveThrottle,
        at_once: int,
        source_of: Callable[[PartitionLog], LogManager],
        on_failure: Callable[[LogManager, BaseException], object],
    ) -> None:
        self._clock = clock
        self._throttle = throttle
        self._turns = asyncio.Semaphore(at_once)
        self._source_of = source_of
        self._on_failure = on_failure
        self._moving: dict[PartitionLog, tuple[LogMove, asyncio.Task[None]]] = {}
        self._closing = False

    def to(self, target: LogManager) -> list[LogMove]:
        """Those into that directory, under way or waiting for their turn. One that has only its old
        files to remove is none: the log is there already, and not on its way, too.
        """
        return [
            move for move, _ in self._moving.values() if move.target is target and not move.done
        ]

    def begin(self, log: PartitionLog, target: LogManager) -> None:
        """Has the log moved, or left where it is, instead of what it was on its way to."""
        move, before = self._moving.get(log, (None, None))
        if before is not None:
            if move is not None and move.target is target and not before.cancelling():
                return
            before.cancel()
        elif self._source_of(log) is target:
            return
        new = LogMove(log, self._source_of(log), target, self._throttle, self._clock)
        task = asyncio.get_running_loop().create_task(self._run(new, before))
        self._moving[log] = new, task

    async def end(self, log: PartitionLog) -> None:
        """Returns when nothing moves the log any more."""
        while log in self._moving:
            _, task = self._moving[log]
            task.cancel()
            await asyncio.wait([task])

    async def close(self) -> None:
        """Ends all moves; what they have copied stays, so that the next start knows of them."""
        self._closing = True
        tasks = [task for _, task in self._moving.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, move: LogMove, before: asyncio.Task[None] | None) -> None:
        log = move.log
        began_ms = self._clock.monotonic_ms()
        try:
            if before is not None:
                # (It may have come to its end all the same.)
                await asyncio.wait([before])
                move.source = self._source_of(log)
            if move.source is move.target:
                return
            async with self._turns:
                await move.run()
            logger.info(
                "log moved topic=%s partition=%d from=%s to=%s bytes=%d ms=%d",
                log.topic, log.index, move.source.directory, move.target.directory,
                move.size_bytes, self._clock.monotonic_ms() - began_ms,
            )  # fmt: skip
        except (OSError, StorageError) as error:
            logger.error(
                "log not moved topic=%s partition=%d to=%s error=%s",
                log.topic, log.index, move.target.directory, error,
            )  # fmt: skip
            self._on_failure(move.target, error)
        finally:
            if not self._closing:
                await self._discard(move)
            if self._moving.get(log, (None, None))[0] is move:
                del self._moving[log]

    @staticmethod
    async def _discard(move: LogMove) -> None:
        try:
            await move.discard()
        except OSError as error:
            logger.warning("deleted log stays on the disk path=%s error=%s", move.folder, error)
