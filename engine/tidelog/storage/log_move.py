"""One log on its way to another log directory of its node, while it is used (KIP-113).

Belongs to the log directories, on the loop; copying is done on helpers. The log's files are copied
into a folder with Kafka's name for that, `topic-N.<id>-future`: full segments once, the end of the
active one again and again. When little is left, the log is held for a moment, with the locks under
which its files change: appends wait as for a roll, the rest is copied, everything is synced, the
folder gets the log's name, and the same log goes on with the files of the new place. Partition,
readers, producers and epochs notice nothing.

A crash leaves the log in the old directory until the rename is done (the copy is begun anew), and
in both for the moment after it (`log_directories` keeps the one that goes further). While it moves,
a log is not compacted. Whatever fails before the rename leaves the log where it was.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from tidelog._native.segment import Segment
from tidelog.clock import Clock
from tidelog.errors import StorageError
from tidelog.limits import MOVED_PIECE_BYTES
from tidelog.storage.cleaner_swap import keep_open
from tidelog.storage.directory import DELETE_SUFFIX, folder_name, make_folder
from tidelog.storage.files import Files
from tidelog.storage.loader import LoadRequest, load_log
from tidelog.storage.log import PartitionLog
from tidelog.storage.log_config import segment_settings
from tidelog.storage.manager import LogManager
from tidelog.storage.segment_files import (
    LOG_SUFFIX,
    file_name,
    parse_name,
)

T = TypeVar("T")
#: So little is left that the log can be held for the rest.
_LITTLE_BYTES: Final = MOVED_PIECE_BYTES
#: Files of these names are on their way out.
_LEFT_OUT: Final = (".deleted", ".cleaned", ".swap", ".tmp")


class MoveThrottle(Protocol):
    """How fast logs may be copied between directories."""

    def record(self, size: int) -> object: ...
    def wait_ms(self) -> int: ...


class TargetError(OSError):
    """The directory that the log was to go to failed."""


@dataclass(slots=True)
class _Copied:
    """How much of a segment's .log is in the copy; the segment tells whether it is the same one."""

    segment: Segment
    position: int = 0
    whole: bool = False  # with its indexes


class LogMove:
    """See the module. `run` raises OSError (TargetError: of the new place), StorageError."""

    def __init__(
        self,
        log: PartitionLog,
        source: LogManager,
        target: LogManager,
        throttle: MoveThrottle,
        clock: Clock,
    ) -> None:
        self.log = log
        self.source = source
        self.target = target
        self.folder = target.future_folder(log)
        self.done = False
        self._begun = False
        self._throttle = throttle
        self._clock = clock
        self._copied: dict[int, _Copied] = {}

    @property
    def size_bytes(self) -> int:
        """What is copied."""
        return sum(one.position for one in self._copied.values())

    @property
    def lag(self) -> int:
        """How many offsets of the log are not in the copy yet, by whole segments."""
        missing = [s.base_offset for s in self.log.core.segment_list if not self._has(s)]
        return self.log.core.log_end_offset - missing[0] if missing else 0

    def _has(self, segment: Segment) -> bool:
        one = self._copied.get(segment.base_offset)
        return one is not None and one.segment is segment and one.position == segment.size

    async def run(self) -> None:
        """Copies the log and has it go on in the new place. When it is cancelled, the log is in one
        of them as a whole (`done`: in the new one).
        """
        log = self.log
        self._begun = True
        await self._at_target(make_folder, self.target.services.files, self.folder, log.topic_id)
        async with log.cleaning.paused():
            while await self._copy_round() > _LITTLE_BYTES:
                continue
            holding = asyncio.ensure_future(log.exclusively(self._change_over, flushing=True))
            try:
                await asyncio.shield(holding)
            except asyncio.CancelledError:
                await asyncio.wait([holding])
                raise

    async def discard(self) -> None:
        """Removes the copy of a move that did not end. Raises OSError."""
        if not self.done and self._begun and self.target.failure is None:
            await self.log.run(self.target.services.files.remove_tree, self.folder)

    # ---- copying

    async def _copy_round(self) -> int:
        """Copies what is there now. Returns how many bytes that were."""
        copied = 0
        names: list[str] | None = None
        for segment in self.log.core.segment_list:
            if self.log.offline:
                raise StorageError(f"{self.log.directory}: the log is offline")
            one = self._entry(segment)
            with suppress(FileNotFoundError):  # retention was faster
                copied += await self._copy_segment(one, throttled=True)
                if segment.trimmed and not one.whole:
                    names = names or await self._names()
                    await self._copy_side_files(segment.base_offset, names)
                    one.whole = True
        return copied

    def _entry(self, segment: Segment) -> _Copied:
        one = self._copied.get(segment.base_offset)
        if one is None or one.segment is not segment:
            # (Truncated, or all of it begun anew: nothing of an earlier copy is believed.)
            one = self._copied[segment.base_offset] = _Copied(segment)
        return one

    async def _copy_segment(self, one: _Copied, *, throttled: bool) -> int:
        began = one.position
        name = file_name(one.segment.base_offset, LOG_SUFFIX)
        while one.position < one.segment.size:
            if throttled and (wait_ms := self._throttle.wait_ms()):
                await asyncio.sleep(wait_ms / 1000)
                continue
            size = min(one.segment.size - one.position, MOVED_PIECE_BYTES)
            path = os.path.join(self.log.directory, name)
            data = await self.log.run(
                read_piece, self.source.services.files, path, one.position, size
            )
            if not data:
                raise StorageError(f"{path} is shorter than its {one.segment.size} bytes")
            await self._at_target(
                write_piece,
                self.target.services.files,
                os.path.join(self.folder, name),
                one.position,
                data,
            )
            self._throttle.record(len(data))
            one.position += len(data)
        return one.position - began

    async def _copy_side_files(self, base_offset: int, names: list[str]) -> None:
        """The indexes and all else that belongs to one segment."""
        for name in names:
            found = parse_name(name)
            if found is not None and found[0] == base_offset and found[1] != LOG_SUFFIX:
                await self._copy_file(name)

    async def _copy_file(self, name: str) -> None:
        """A file that is not changed any more, or only as a whole."""
        path, position = os.path.join(self.log.directory, name), 0
        target = os.path.join(self.folder, name)
        while True:
            data = await self.log.run(
                read_piece, self.source.services.files, path, position, MOVED_PIECE_BYTES
            )
            await self._at_target(write_piece, self.target.services.files, target, position, data)
            position += len(data)
            if len(data) < MOVED_PIECE_BYTES:
                return

    async def _names(self) -> list[str]:
        """The log's files, without those on their way out."""
        entries = await self.log.run(self.source.services.files.list_directory, self.log.directory)
        return [e.name for e in entries if e.is_file and not e.name.endswith(_LEFT_OUT)]

    # ---- the moment of the change

    async def _change_over(self) -> None:
        """The locks are held."""
        log, core = self.log, self.log.core
        if log.offline:
            raise StorageError(f"{log.directory}: the log is offline")
        old, old_segments = log.directory, core.segment_list
        new = os.path.join(self.target.directory, folder_name(log.topic, log.index))
        core.begin_roll()
        renamed = False
        try:
            await log.write_ending(False)
            keep_open(old_segments)
            await self._copy_rest()
            if log.offline:
                raise StorageError(f"{log.directory}: the log is offline")
            with self._blaming_target():
                await self.target.expect(log)
            await self._at_target(rename_durably, self.target.services.files, self.folder, new)
            renamed = True
            segments = await self._open(self.target.services.files, new)
        except BaseException:
            if renamed:
                with suppress(OSError):
                    await log.run(rename_durably, self.target.services.files, new, self.folder)
            self.target.forget(log)
            await self._go_on(self.source, old)
            raise
        self.source.forget(log)
        self.done = True
        log.live_in(new, self.target.services)
        self.target.adopt(log)
        self._install(self.target, segments, core.log_end_offset)
        await self._remove_old(old)

    async def _copy_rest(self) -> None:
        names = await self._names()
        segments = self.log.core.segment_list
        for segment in segments:
            one = self._entry(segment)
            await self._copy_segment(one, throttled=False)
        whole = {base for base, one in self._copied.items() if one.whole}
        entries = await self._at_target(self.target.services.files.list_directory, self.folder)
        there = {entry.name for entry in entries}
        for name in names:
            found = parse_name(name)
            if found and (found[1] == LOG_SUFFIX or (found[0] in whole and name in there)):
                continue
            await self._copy_file(name)
        sizes = {file_name(segment.base_offset, LOG_SUFFIX): segment.size for segment in segments}
        await self._at_target(settle_folder, self.target.services.files, self.folder, names, sizes)

    async def _open(self, files: Files, directory: str) -> list[Segment]:
        """The log's files, as after a clean stop. Raises OSError, StorageError."""
        log, core = self.log, self.log.core
        loaded = await log.run(
            load_log,
            files,
            LoadRequest(
                directory,
                segment_settings(log.config),
                self._clock.wall_ms(),
                log_start_offset=core.log_start_offset,
                recovery_point=core.log_end_offset,
                gaps_below=core.log_end_offset,
                compacted=True,
                clean=True,
            ),
        )
        if core.segment_list and loaded.log_end_offset != core.log_end_offset:
            raise StorageError(
                f"{directory} ends at {loaded.log_end_offset}, the log at {core.log_end_offset}"
            )
        return loaded.segments

    async def _go_on(self, manager: LogManager, directory: str) -> None:
        """The change failed: the log is used from where it was."""
        try:
            segments = await self._open(manager.services.files, directory)
        except (OSError, StorageError) as error:
            self.log.fence(error)
            return
        manager.adopt(self.log)
        self._install(manager, segments, self.log.core.recovery_point)

    def _install(self, manager: LogManager, segments: list[Segment], durable_to: int) -> None:
        log, core = self.log, self.log.core
        slot = manager.services.written_slot
        if slot is not None and (written := slot(log.topic_id, log.index)):
            core.keep_written(written)
        core.install(
            segments,
            log_start_offset=core.log_start_offset,
            log_end_offset=core.log_end_offset,
            recovery_point=durable_to,
            leader_epoch=core.leader_epoch,
            roll_jitter_ms=core.roll_jitter_ms,
        )
        log.request_flush()  # of what waits, and to tell who waits for it

    async def _remove_old(self, old: str) -> None:
        """A failure leaves two logs of that name: the next start keeps this one."""
        with suppress(OSError):
            await self.target.high_watermarks.write()
        out = f"{self.source.future_folder(self.log).removesuffix('-future')}{DELETE_SUFFIX}"
        with suppress(OSError):
            await self.log.run(rename_durably, self.source.services.files, old, out)
            self.source.remove_folder(out)

    async def _at_target(self, function: Callable[..., T], *args: Any) -> T:
        with self._blaming_target():
            return await self.log.run(function, *args)

    @contextmanager
    def _blaming_target(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TargetError(error.errno, f"{self.target.directory}: {error}") from error


# ---- on helper threads


def read_piece(files: Files, path: str, position: int, size: int) -> bytes:
    """Up to `size` bytes. Raises OSError."""
    fd = files.open_to_read(path)
    try:
        return files.read_at(fd, position, size)
    finally:
        files.close(fd)


def write_piece(files: Files, path: str, position: int, data: bytes) -> None:
    """Puts it there; the file is made, and what stood behind is cut off. Raises OSError."""
    fd = files.open_or_create(path)
    try:
        if files.size(fd) > position:
            files.truncate(fd, position)
        files.write_at(fd, position, data)
    finally:
        files.close(fd)


def settle_folder(files: Files, folder: str, names: Iterable[str], sizes: dict[str, int]) -> None:
    """Takes out of a copy what the log does not have (any more), and makes the rest durable.
    sizes: what the .log files must have. Raises OSError, StorageError.
    """
    wanted = {name for name in names if not name.endswith(LOG_SUFFIX)} | sizes.keys()
    for entry in files.list_directory(folder):
        path = os.path.join(folder, entry.name)
        if entry.name not in wanted:
            files.unlink(path)
            continue
        if entry.name in sizes and files.size_of(path) != sizes[entry.name]:
            raise StorageError(f"{path} has another size than the log")
        files.sync_file(path)
    for name in sizes:
        if not files.exists(os.path.join(folder, name)):
            # (An empty segment: nothing of it was copied.)
            files.close(files.open_or_create(os.path.join(folder, name)))
    files.sync_directory(folder)


def rename_durably(files: Files, old: str, new: str) -> None:
    """Within one log directory. Raises OSError."""
    files.rename(old, new)
    files.sync_directory(os.path.dirname(new))
