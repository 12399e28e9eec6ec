"""LogDirectories: all log directories of one node (log.dirs), each with a log manager of its own.

Belongs to the worker's loop task. It decides in which directory a log is made, and sees a directory
that fails: its logs are offline then, and the others go on. With one directory it only passes on:
what a disk does to one log is that log's matter, as ever. What is in a directory only its manager
touches.

The first directory has to be usable at the start; another one may be missing or broken, which is
tried again with the next start. While a directory is offline, a log that no other one has is taken
for one of its logs: it is not made anew elsewhere.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

from tidelog.clock import Clock
from tidelog.errors import NO_ROOM, StorageError
from tidelog.limits import WISHED_DIRECTORIES_MAX
from tidelog.storage.cleaner import CleanerStats
from tidelog.storage.directory import FUTURE_SUFFIX, LogFolder, TopicPartition, parse_folder
from tidelog.storage.high_watermarks import UNKNOWN
from tidelog.storage.log import PartitionLog
from tidelog.storage.log_config import LogConfig
from tidelog.storage.log_move import LogMove, MoveThrottle, TargetError
from tidelog.storage.log_moves import LogMoves
from tidelog.storage.manager import KnownLog, LogManager
from tidelog.storage.manager_config import ManagerConfig

logger: Final = logging.getLogger(__name__)

#: Of these figures of cleaners the largest is told, and not the sum.
_LARGEST: Final = frozenset(
    (
        "last_cleaning_ms",
        "last_look_monotonic_ms",
        "dirtiest_ratio",
        "longest_overdue_ms",
        "last_map_utilization",
    )
)


class DirectoryOfflineError(StorageError):
    """A log may be in a directory that is offline. That has been told."""


class DirectoryView(NamedTuple):
    """A log directory as DescribeLogDirs tells of it. failure: why it is offline, None while it
    is not; logs: those of it that are open; moves: those on their way to it.
    """

    path: str
    failure: BaseException | None
    logs: list[PartitionLog]
    moves: list[LogMove]


class LogDirectories:
    """One per worker. `managers`: in the order of log.dirs; throttle: of moves between them."""

    def __init__(
        self, managers: Sequence[LogManager], clock: Clock, throttle: MoveThrottle
    ) -> None:
        self._managers = tuple(managers)
        self._moves = LogMoves(
            clock, throttle, len(self._managers), self._manager_of, self._move_failed
        )
        #: Called once with a log and the error that took it offline.
        self.on_offline: Callable[[PartitionLog, BaseException], object] | None = None
        #: Called with (topic, index) when a log is no longer opening.
        self.on_opened: Callable[[str, int], object] | None = None
        #: Called once with a directory that has failed, after its logs went offline.
        self.on_directory_offline: Callable[[str], object] | None = None
        self._doubles: dict[TopicPartition, asyncio.Task[None]] = {}
        self._lost: dict[TopicPartition, bytes] = {}  # to topic id; maybe in an offline directory
        self._ids: dict[TopicPartition, bytes] = {}  # of the logs that the start expected
        self._wished: dict[TopicPartition, LogManager] = {}
        self._making: dict[LogManager, int] = dict.fromkeys(self._managers, 0)
        self._locks: WeakValueDictionary[TopicPartition, asyncio.Lock] = WeakValueDictionary()
        self._all_opened: asyncio.Task[None] | None = None
        for manager in self._managers:
            manager.on_offline = self._log_failed
            manager.on_opened = self._log_opened
            manager.on_trouble = self._trouble_of(manager)

    # ---- start

    async def begin(
        self,
        expected: Iterable[KnownLog] = (),
        *,
        lock_timeout_ms: int = 0,
        set_strays_aside: bool = False,
    ) -> None:
        """As LogManager.begin, in all directories. Raises StorageError, and OSError for the first
        directory; of another one it means that it is offline.
        """
        known = list(expected)
        places: dict[TopicPartition, list[LogManager]] = {}
        found = await asyncio.gather(
            *(self._take(manager, lock_timeout_ms) for manager in self._managers),
            return_exceptions=True,
        )
        for result in found:
            if isinstance(result, BaseException):
                raise result
        if len(self._managers) > 1:
            ids = self._ids = {(log.topic, log.index): log.topic_id for log in known}
            for manager, folders in zip(self._managers, found, strict=True):
                assert not isinstance(folders, BaseException)
                for folder in folders:
                    key = (folder.topic, folder.index)
                    if key in ids and folder.topic_id in (None, ids[key]):
                        places.setdefault(key, []).append(manager)
            if any(manager.failure for manager in self._managers):
                self._lost = {key: ids[key] for key in ids.keys() - places.keys()}
        for manager in self._online():
            await manager.begin(known, set_strays_aside=set_strays_aside)
        loop = asyncio.get_running_loop()
        for key, managers in places.items():
            if len(managers) > 1:
                self._doubles[key] = loop.create_task(self._keep_one(key, managers))
        self._all_opened = loop.create_task(self._wait_for_all())

    async def _take(self, manager: LogManager, lock_timeout_ms: int) -> list[LogFolder]:
        first = manager is self._managers[0]
        try:
            # Whoever made the others knows why one is not there: an empty folder in the place of a
            # disk that is not mounted would be taken for a new disk.
            return await manager.take(lock_timeout_ms, make=first)
        except OSError as error:
            if first:
                raise
            self._fail(manager, error)
            return []

    async def opened(self) -> None:
        """Returns when all expected logs are open or have failed. May be cancelled: they go on."""
        assert self._all_opened is not None
        await asyncio.shield(self._all_opened)

    async def _wait_for_all(self) -> None:
        managers = self._online()
        reports = await asyncio.gather(
            *(manager.opened() for manager in managers), return_exceptions=True
        )
        if self._doubles:
            await asyncio.wait(self._doubles.values())
        for manager, result in zip(managers, reports, strict=True):
            if isinstance(result, OSError) and manager is not self._managers[0]:
                self._fail(manager, result)
            elif isinstance(result, BaseException):
                raise result
        for manager in managers:
            self._begin_again(manager)

    def _begin_again(self, target: LogManager) -> None:
        """Moves into this directory that an earlier life did not end."""
        for name in target.futures():
            original = name.removesuffix(FUTURE_SUFFIX).rpartition(".")[0]
            key = parse_folder(original)
            held = self.get(*key)
            if held is None and key in self.failed_logs():
                continue  # it may be all that is left of the log
            target.remove_folder(os.path.join(target.directory, name))
            if held is not None and self._manager_of(held) is not target:
                self.move(held, target.directory)

    async def _keep_one(self, key: TopicPartition, managers: list[LogManager]) -> None:
        """A log stands in several directories: a move ended with a crash or a lost disk. The one
        that goes furthest is it; the others are set aside.
        """
        for manager in managers:
            await manager.end_of_opening(*key)
        opened = [(log, manager) for manager in managers if (log := manager.get(*key))]
        opened.sort(key=lambda each: (each[0].epochs.latest_epoch, each[0].core.log_end_offset))
        try:
            for log, manager in opened[:-1]:
                name = await manager.set_aside(log)
                logger.error(
                    "log found in two directories topic=%s partition=%d kept=%s set_aside=%s",
                    *key, opened[-1][1].directory, os.path.join(manager.directory, name),
                )  # fmt: skip
        except (OSError, StorageError) as error:
            logger.error("log cannot be set aside topic=%s partition=%d error=%s", *key, error)
        finally:
            self._doubles.pop(key, None)
            if self.on_opened is not None:
                self.on_opened(*key)

    def is_opening(self, topic: str, index: int) -> bool:
        """Whether it is still being recovered; `on_opened` is called when it is open or failed."""
        key = (topic, index)
        return key in self._doubles or any(one.is_opening(*key) for one in self._managers)

    @property
    def opening_count(self) -> int:
        return sum(manager.opening_count for manager in self._managers)

    async def end_of_opening(self, topic: str, index: int) -> None:
        """Returns when the log is not opening (any more)."""
        for manager in self._managers:
            await manager.end_of_opening(topic, index)
        double = self._doubles.get((topic, index))
        if double is not None:
            await asyncio.wait([double])

    def _log_opened(self, topic: str, index: int) -> None:
        if (topic, index) not in self._doubles and self.on_opened is not None:
            self.on_opened(topic, index)

    # ---- logs

    def get(self, topic: str, index: int) -> PartitionLog | None:
        if (topic, index) in self._doubles:
            return None
        for manager in self._managers:
            if (found := manager.get(topic, index)) is not None:
                return found
        return None

    def logs(self) -> list[PartitionLog]:
        return [log for manager in self._managers for log in manager.logs()]

    def failed_logs(self) -> dict[TopicPartition, str]:
        """Logs that could not be opened, with the error."""
        failed = dict.fromkeys(self._lost, "its log directory is offline")
        for manager in self._managers:
            failed |= manager.failed_logs()
        return failed

    async def create(
        self, topic: str, topic_id: bytes, index: int, config: LogConfig
    ) -> PartitionLog:
        """The log, opened if its folder is there, made if not: where it was wished, or in the
        directory with the fewest logs. Raises StorageError, OSError.
        """
        key = (topic, index)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            await self.end_of_opening(topic, index)
            if (held := self.get(topic, index)) is not None:
                return held
            if self._lost.get(key) == topic_id:
                raise DirectoryOfflineError(f"the directory of {topic}-{index} is offline")
            while True:
                manager = self._choose(key)
                self._making[manager] += 1
                try:
                    made = await manager.create(topic, topic_id, index, config)
                except OSError as error:
                    if not self._is_failed_by(manager, error):
                        raise
                    self._fail(manager, error)
                    continue
                finally:
                    self._making[manager] -= 1
                self._wished.pop(key, None)
                self._lost.pop(key, None)
                return made

    def _choose(self, key: TopicPartition) -> LogManager:
        """Where a log is to be made. Raises StorageError."""
        for manager in self._managers:
            if key in manager.failed_logs():
                return manager  # its folder is there
        online = self._online()
        if not online:
            raise StorageError("all log directories are offline")
        wished = self._wished.get(key)
        if wished in online:
            return wished
        return min(online, key=self._count)

    def _count(self, manager: LogManager) -> int:
        """How many logs the directory has, or will have."""
        coming = self._making[manager] + len(self._moves.to(manager))
        return len(manager.logs()) + manager.opening_count + coming

    def wish(self, topic: str, index: int, path: str) -> bool:
        """A log that is not here yet is to be made in that directory. False: there are too many
        wishes.
        """
        key = (topic, index)
        if key not in self._wished and len(self._wished) >= WISHED_DIRECTORIES_MAX:
            return False
        self._wished[key] = self._at(path)
        return True

    def move(self, log: PartitionLog, path: str) -> None:
        """Has the log moved to that directory, whatever it was on its way to; how that ends is
        logged. Raises StorageError.
        """
        self._moves.begin(log, self._at(path))

    def _move_failed(self, target: LogManager, error: BaseException) -> None:
        if isinstance(error, TargetError) and self._is_failed_by(target, error):
            self._fail(target, error)

    async def delete(self, log: PartitionLog) -> None:
        """As LogManager.delete."""
        await self._moves.end(log)
        await self._manager_of(log).delete(log)

    def take_high_watermark(self, log: PartitionLog) -> int:
        """What the checkpoint said of a log's high watermark, UNKNOWN without; for its owner."""
        for manager in self._managers:
            if manager.get(log.topic, log.index) is log:
                return manager.high_watermarks.take(log.topic, log.index)
        return UNKNOWN

    def _manager_of(self, log: PartitionLog) -> LogManager:
        for manager in self._managers:
            if manager.get(log.topic, log.index) is log:
                return manager
        raise StorageError(f"{log!r} is in none of the log directories")

    def _at(self, path: str) -> LogManager:
        for manager in self._managers:
            if manager.directory == path:
                return manager
        raise StorageError(f"{path} is no log directory of this node")

    # ---- directories

    def views(self) -> list[DirectoryView]:
        """All directories, in the order of log.dirs."""
        return [
            DirectoryView(one.directory, one.failure, one.logs(), self._moves.to(one))
            for one in self._managers
        ]

    def offline_replicas(self) -> set[tuple[bytes, int]]:
        """The logs, as (topic id, index), that failed directories keep from this node, as far as it
        is known which.
        """
        found = {(topic_id, index) for (_, index), topic_id in self._lost.items()}
        for manager in self._managers:
            if manager.failure is not None:
                found |= {(log.topic_id, log.index) for log in manager.logs()}
                failed = manager.failed_logs().keys() & self._ids.keys()
                found |= {(self._ids[key], key[1]) for key in failed}
        return found

    def _online(self) -> list[LogManager]:
        return [manager for manager in self._managers if manager.failure is None]

    def _trouble_of(self, manager: LogManager) -> Callable[[BaseException], None]:
        def note(error: BaseException) -> None:
            if self._is_failed_by(manager, error):
                self._fail(manager, error)

        return note

    def _log_failed(self, log: PartitionLog, error: BaseException) -> None:
        if self.on_offline is not None:
            self.on_offline(log, error)
        for manager in self._managers:
            if manager.get(log.topic, log.index) is log and self._is_failed_by(manager, error):
                self._fail(manager, error)

    def _is_failed_by(self, manager: LogManager, error: BaseException) -> bool:
        """Whether an error means that nothing of this directory can be relied on."""
        if len(self._managers) == 1 or not isinstance(error, OSError) or error.errno in NO_ROOM:
            return False
        # One file that somebody removed is no failed disk.
        return error.errno != errno.ENOENT or not os.path.isdir(manager.directory)

    def _fail(self, manager: LogManager, error: BaseException) -> None:
        if manager.failure is not None:
            return
        logger.error("log directory offline directory=%s error=%s", manager.directory, error)
        manager.take_offline(error)
        if self.on_directory_offline is not None:
            self.on_directory_offline(manager.directory)

    # ---- from time to time, and the end

    def configure(self, config: ManagerConfig) -> None:
        """Other broker configs hold from now on."""
        for manager in self._managers:
            manager.config = config
            manager.cleaner.configure(config)

    def run(self) -> None:
        """Starts the periodic tasks; close() ends them."""
        for manager in self._online():
            manager.run()

    @property
    def flushes(self) -> int:
        return sum(manager.flushes for manager in self._managers)

    def cleaner_stats(self) -> CleanerStats:
        """Of the cleaners of all directories."""
        stats = [manager.cleaner.stats for manager in self._managers]
        if len(stats) == 1:
            return stats[0]
        summed = CleanerStats()
        for field in fields(CleanerStats):
            values = [getattr(one, field.name) for one in stats]
            setattr(summed, field.name, (max if field.name in _LARGEST else sum)(values))
        return summed

    async def close(self, clean: bool = True, broker_epoch: int = -1) -> None:
        """As LogManager.close, of all directories. Moves are begun again with the next start."""
        await self._moves.close()
        results = await asyncio.gather(
            *(manager.close(clean, broker_epoch) for manager in self._managers),
            return_exceptions=True,
        )
        if self._all_opened is not None:
            await asyncio.wait([self._all_opened])
        for result in results:
            if isinstance(result, BaseException):
                raise result
