"""The files of one segment: names, making, opening, rebuilding, trimming, removing.

Runs on helper threads only: everything here may wait for the disk. It returns a Segment that nobody
else has yet, or works on one that no longer takes appends. It never decides what is rolled, cut or
removed.

Names: the base offset in 20 digits and a suffix. `.log` batches, `.index` offset index,
`.timeindex` time index, `.txnindex` aborted transactions, `.snapshot` producer state at that
offset, `.digest` what a full segment held. `.deleted` behind it: to be removed; `.cleaned` and
`.swap`: a compaction's output, not yet and already complete.
"""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass
from typing import Final

from tidelog._native.batch import parse
from tidelog._native.index import CorruptIndexError, OffsetIndex, TimeIndex
from tidelog._native.scan import SegmentScanner
from tidelog._native.segment import Segment
from tidelog.storage.files import Files

logger: Final = logging.getLogger(__name__)

LOG_SUFFIX = ".log"
INDEX_SUFFIX = ".index"
TIME_INDEX_SUFFIX = ".timeindex"
TXN_INDEX_SUFFIX = ".txnindex"
SNAPSHOT_SUFFIX = ".snapshot"
DIGEST_SUFFIX = ".digest"
DELETED_SUFFIX = ".deleted"
CLEANED_SUFFIX = ".cleaned"
SWAP_SUFFIX = ".swap"

INDEX_SUFFIXES = (INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX)
SEGMENT_SUFFIXES = (LOG_SUFFIX, *INDEX_SUFFIXES, DIGEST_SUFFIX)
OFFSET_DIGITS = 20
#: File systems take more blocks than a file has bytes; so many are not worth a second look.
RESERVED_SLACK_BYTES = 4 * 1024 * 1024
MAX_SEGMENT_BYTES = 2**31 - 1

_OFFSET_ENTRY_BYTES = 8
_TIME_ENTRY_BYTES = 12
_HEADER_BYTES = 61
_LARGEST_INTERVAL_READ = 1024 * 1024
_PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class SegmentSettings:
    """What a segment is made with (segment.index.bytes, index.interval.bytes, preallocate): blocks
    are reserved for so many bytes of batches and so many entries of each index.
    """

    max_index_bytes: int = 10 * 1024 * 1024
    index_interval_bytes: int = 4096
    reserve_bytes: int = 0
    reserve_entries: int = 0

    @property
    def offset_index_bytes(self) -> int:
        """Size of an active offset index: whole entries, at least one."""
        return max(self.max_index_bytes // _OFFSET_ENTRY_BYTES, 1) * _OFFSET_ENTRY_BYTES

    @property
    def time_index_bytes(self) -> int:
        """Size of an active time index: whole entries, at least one and the final one."""
        return max(self.max_index_bytes // _TIME_ENTRY_BYTES, 2) * _TIME_ENTRY_BYTES


def file_name(base_offset: int, suffix: str) -> str:
    return f"{base_offset:0{OFFSET_DIGITS}d}{suffix}"


def parse_name(name: str) -> tuple[int, str] | None:
    """(base offset, suffix) of a segment's file, None for any other name."""
    digits, suffix = name[:OFFSET_DIGITS], name[OFFSET_DIGITS:]
    if len(digits) == OFFSET_DIGITS and digits.isascii() and digits.isdigit() and suffix[:1] == ".":
        return int(digits), suffix
    return None


def path_of(directory: str, base_offset: int, suffix: str) -> str:
    return os.path.join(directory, file_name(base_offset, suffix))


def create_segment(
    files: Files, directory: str, base_offset: int, settings: SegmentSettings, now_ms: int
) -> Segment:
    """Makes the three files of a new active segment. What a crash left under the names is emptied.

    The directory entries are durable only after sync_directory(). Raises OSError; then the files
    are gone again, if that can be done: appends may go on in the segment before.
    """
    try:
        fd = files.create(path_of(directory, base_offset, LOG_SUFFIX))
        try:
            offset_index = OffsetIndex(path_of(directory, base_offset, INDEX_SUFFIX), base_offset)
            time_index = TimeIndex(path_of(directory, base_offset, TIME_INDEX_SUFFIX), base_offset)
            _make_index(files, offset_index, settings.offset_index_bytes)
            _make_index(files, time_index, settings.time_index_bytes)
            segment = Segment(
                directory,
                base_offset,
                fd,
                offset_index,
                time_index,
                created_ms=now_ms,
                index_interval_bytes=settings.index_interval_bytes,
            )
        except BaseException:
            files.close(fd)
            raise
        segment.write_hook = files.append_hook
        preallocate(files, segment, settings)
    except OSError:
        for suffix in SEGMENT_SUFFIXES:
            with contextlib.suppress(OSError):
                files.unlink(path_of(directory, base_offset, suffix))
        raise
    return segment


def preallocate(files: Files, segment: Segment, settings: SegmentSettings) -> None:
    """Has blocks reserved for a segment that takes no appends yet; the files' sizes stay.

    All at once and now: later, while the segment before is synced, a reservation waits for the
    file system's journal, and appends to the same file wait for the reservation (ADR 0037).
    """
    if settings.reserve_entries:
        for index in (segment.offset_index, segment.time_index):
            index.ensure_space(min(settings.reserve_entries, index.max_entries) - index.entries)
    wanted = settings.reserve_bytes - segment.size
    if wanted <= 0:
        return
    try:
        if files.reserve(segment.fd, segment.size, wanted):
            segment.set_allocated_bytes(settings.reserve_bytes)
    except OSError as error:
        # Appends say by themselves if the disk is full. What was reserved of it is for all logs.
        logger.warning("cannot preallocate log=%s error=%s", segment.log_path, error)
        files.truncate(segment.fd, segment.size)


def open_segment(
    files: Files,
    directory: str,
    base_offset: int,
    settings: SegmentSettings,
    now_ms: int,
    *,
    next_offset: int | None,
) -> Segment:
    """Opens a segment whose content is believed; the indexes are looked at, the log is not.

    `next_offset` None: the batches behind the last index entry are walked for it. Raises
    CorruptIndexError (also for a missing index) when the indexes must be rebuilt, and ValueError
    when the walk ends before the end of the file.
    """
    fd = files.open(path_of(directory, base_offset, LOG_SUFFIX))
    try:
        size = files.size(fd)
        if size > MAX_SEGMENT_BYTES:
            raise OSError(f"{directory}: segment {base_offset} has {size} bytes")
        offset_index = OffsetIndex(path_of(directory, base_offset, INDEX_SUFFIX), base_offset)
        time_index = TimeIndex(path_of(directory, base_offset, TIME_INDEX_SUFFIX), base_offset)
        offset_index.sanity_check(_open_index(files, offset_index), size)
        time_index.sanity_check(_open_index(files, time_index))
        first = _first_timestamp(files, fd)
        if not offset_index.entries and _needs_entry(files, fd, size, settings):
            raise CorruptIndexError(f"{offset_index.path} has no entry for {size} bytes of log")
        if not time_index.entries and first >= 0:
            raise CorruptIndexError(f"{time_index.path} has no entry for a log with timestamps")
        if next_offset is None:
            tail = _walk_tail(fd, offset_index, size)
            next_offset = tail.next_offset if size else base_offset
        _check_reach(offset_index, next_offset)
        _check_reach(time_index, next_offset)
        modified_ms = files.modified_ms(fd)
        # From here on the descriptor is the segment's.
        segment = Segment(
            directory,
            base_offset,
            fd,
            offset_index,
            time_index,
            size=size,
            next_offset=next_offset,
            created_ms=now_ms,
            index_interval_bytes=settings.index_interval_bytes,
            sealed=True,
        )
    except BaseException:
        files.close(fd)
        raise
    segment.restore(
        rolling_based_timestamp=first,
        max_timestamp=time_index.last_timestamp,
        offset_of_max_timestamp=time_index.last_offset if time_index.entries else -1,
        last_modified_ms=modified_ms,
    )
    segment.set_trimmed(True)
    return segment


def reopen_segment(files: Files, old: Segment, settings: SegmentSettings, now_ms: int) -> Segment:
    """A second Segment over the files of one that others still read from.

    Nothing is made shorter: the index files keep their size, the entries of the old one count.
    """
    directory, base_offset = old.directory, old.base_offset
    offset_index = OffsetIndex(path_of(directory, base_offset, INDEX_SUFFIX), base_offset)
    time_index = TimeIndex(path_of(directory, base_offset, TIME_INDEX_SUFFIX), base_offset)
    for index, entries in (
        (offset_index, old.offset_index.entries),
        (time_index, old.time_index.entries),
    ):
        _open_index(files, index)
        index.truncate_entries(entries)
    segment = Segment(
        directory,
        base_offset,
        files.open(path_of(directory, base_offset, LOG_SUFFIX)),
        offset_index,
        time_index,
        size=old.size,
        next_offset=old.next_offset,
        created_ms=now_ms,
        index_interval_bytes=settings.index_interval_bytes,
        sealed=True,
    )
    segment.set_damaged(old.damaged or ())
    segment.txn_index = old.txn_index
    return segment


def _check_reach(index: OffsetIndex | TimeIndex, next_offset: int) -> None:
    """Raises CorruptIndexError for an index of more than the log holds: appends would fail."""
    if index.entries and index.last_offset >= next_offset:
        raise CorruptIndexError(f"{index.path} reaches behind the end of the log")


def _walk_tail(fd: int, offset_index: OffsetIndex, size: int) -> SegmentScanner:
    """Headers from the last index entry to the end of the file. Raises ValueError."""
    scanner = SegmentScanner(fd, offset_index.base_offset, size, verify_from=size)
    scanner.start_at(offset_index.find(2**62)[1])
    scanner.run()
    if scanner.reason:
        raise ValueError(f"{offset_index.path}: {scanner.reason_text} at {scanner.valid_bytes}")
    return scanner


def _first_timestamp(files: Files, fd: int) -> int:
    """Largest timestamp of a .log's first batch, -1 when there is none."""
    header = parse(files.read_at(fd, 0, _HEADER_BYTES))
    return -1 if header is None else header.max_timestamp


def _needs_entry(files: Files, fd: int, size: int, settings: SegmentSettings) -> bool:
    """Whether a batch starts behind the first interval, and so has an entry in the index."""
    interval = settings.index_interval_bytes
    if size <= interval or interval > _LARGEST_INTERVAL_READ:
        return False
    head = files.read_at(fd, 0, interval + _HEADER_BYTES)
    position = 0
    while position <= interval and (header := parse(head, position)) is not None:
        position += header.size
    return interval < position < size


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A segment whose log was read from its start, and what stood in it."""

    segment: Segment
    cut_bytes: int  # taken off the end of the file
    reason: str  # why the batches ended before the file did, "" when they did not
    damaged: tuple[tuple[int, int], ...]  # (position, offset) of batches that are bad but kept


def rebuild_segment(
    files: Files,
    directory: str,
    base_offset: int,
    settings: SegmentSettings,
    now_ms: int,
    *,
    verify: bool,
    cut: bool,
    believed_bytes: int = 0,
    keep_below: int = 0,
    next_offset: int | None = None,
    epochs: list[tuple[int, int]] | None = None,
    last: bool = False,
) -> Rebuilt:
    """Reads the whole log and writes its indexes anew, as Kafka's recovery does.

    `verify`: checksums too, but for those of the first `believed_bytes` (of a file that has not
    become shorter than that); a wrong one below the offset `keep_below` is told, not cut. `cut`:
    the file ends behind the last good batch, whatever follows; without it what follows stays and is
    only not indexed. `next_offset`: what is known to follow the segment. `epochs` grows by the
    epochs that the batches bring.
    """
    fd = files.open(path_of(directory, base_offset, LOG_SUFFIX))
    try:
        size = files.size(fd)
        offset_index = OffsetIndex(path_of(directory, base_offset, INDEX_SUFFIX), base_offset)
        time_index = TimeIndex(path_of(directory, base_offset, TIME_INDEX_SUFFIX), base_offset)
        old_sizes = (
            _empty_index(files, offset_index, settings.offset_index_bytes),
            _empty_index(files, time_index, settings.time_index_bytes),
        )
        end = min(size, MAX_SEGMENT_BYTES)
        scanner = SegmentScanner(
            fd,
            base_offset,
            end,
            index_interval_bytes=settings.index_interval_bytes,
            verify_from=(believed_bytes if believed_bytes <= end else 0) if verify else end,
            keep_below=keep_below,
        )
        scanner.run(offset_index, time_index, epochs=epochs)
        if scanner.io_errno:
            raise OSError(scanner.io_errno, os.strerror(scanner.io_errno), offset_index.path)
        kept = scanner.valid_bytes if cut else end
        if kept < size:
            files.truncate(fd, kept)
        modified_ms = files.modified_ms(fd)
        # From here on the descriptor is the segment's.
        segment = Segment(
            directory,
            base_offset,
            fd,
            offset_index,
            time_index,
            size=kept,
            next_offset=scanner.next_offset if next_offset is None else next_offset,
            created_ms=now_ms,
            index_interval_bytes=settings.index_interval_bytes,
        )
    except BaseException:
        files.close(fd)
        raise
    segment.restore(
        rolling_based_timestamp=scanner.first_timestamp,
        max_timestamp=scanner.max_timestamp,
        offset_of_max_timestamp=scanner.offset_of_max_timestamp,
        last_modified_ms=modified_ms,
    )
    segment.set_damaged(position for position, _ in scanner.damaged)
    if not last:
        segment.seal()
    _cut_stale(files, offset_index, old_sizes[0], settings.offset_index_bytes)
    _cut_stale(files, time_index, old_sizes[1], settings.time_index_bytes)
    reason = scanner.reason_text if scanner.reason else ""
    return Rebuilt(segment, size - kept, reason, tuple(scanner.damaged))


def activate(files: Files, segment: Segment, settings: SegmentSettings) -> None:
    """Gives an opened segment room in its indexes, so that it can take appends."""
    files.unlink(path_of(segment.directory, segment.base_offset, DIGEST_SUFFIX))
    for index, size in (
        (segment.offset_index, settings.offset_index_bytes),
        (segment.time_index, settings.time_index_bytes),
    ):
        fd = files.open(index.path)
        try:
            # Never shorter: somebody may still look up in another mapping of it.
            size = max(size, files.size(fd))
            files.truncate(fd, size)
            index.attach(fd, size, index.entries)
        finally:
            files.close(fd)
    segment.set_trimmed(False)
    segment.write_hook = files.append_hook
    segment.unseal()
    reserved = files.blocks_bytes(segment.fd)
    preallocate(files, segment, settings)
    if not segment.allocated_bytes and reserved > segment.size + RESERVED_SLACK_BYTES:
        # A killed process had reserved them: used up, or given back when the segment is full.
        segment.set_allocated_bytes(reserved)


def trim_segment(files: Files, segment: Segment, *, durable: bool = True) -> None:
    """Cuts the indexes of a segment to their entries and makes all three files durable.

    A segment that is not sealed is sealed first: the caller has ended its appends. May run while
    the loop looks up in the segment. Not `durable`: the caller syncs afterwards.
    """
    if durable:
        files.sync_data(segment.fd)
    if segment.trimmed:
        return
    if not segment.sealed:
        segment.seal()
    if segment.allocated_bytes:
        files.truncate(segment.fd, segment.size)  # blocks reserved behind the end
    for index in (segment.offset_index, segment.time_index):
        index.trim_map()
        files.cut(index.path, index.size_bytes)
        if durable:
            files.sync_file(index.path)
    segment.set_trimmed(True)


def mark_deleted(files: Files, directory: str, base_offsets: list[int]) -> list[str]:
    """Renames the files of the segments to `.deleted`, oldest first. Returns the new paths."""
    renamed = []
    for base_offset in base_offsets:
        for suffix in SEGMENT_SUFFIXES:
            path = path_of(directory, base_offset, suffix)
            try:
                files.rename(path, path + DELETED_SUFFIX)
            except FileNotFoundError:
                continue
            renamed.append(path + DELETED_SUFFIX)
    return renamed


def _make_index(files: Files, index: OffsetIndex | TimeIndex, size: int) -> None:
    fd = files.create(index.path)
    try:
        files.truncate(fd, size)
        index.attach(fd, size, 0)
    finally:
        files.close(fd)


def _empty_index(files: Files, index: OffsetIndex | TimeIndex, size: int) -> int:
    """An index without entries over the file that may be there; returns how large that was.

    Its blocks are used again, which is much faster than giving them back and taking new ones:
    _cut_stale() must follow, when the new entries stand.
    """
    fd = files.open_or_create(index.path)
    try:
        old_size = files.size(fd)
        files.truncate(fd, size)
        index.attach(fd, size, 0)
    finally:
        files.close(fd)
    return old_size


def _cut_stale(files: Files, index: OffsetIndex | TimeIndex, old_size: int, size: int) -> None:
    """Puts zeros behind the entries, where older ones may stand."""
    valid = index.size_bytes
    if old_size <= valid:
        return
    kept = max(-(-valid // _PAGE_BYTES), 1) * _PAGE_BYTES
    fd = files.open(index.path)
    try:
        if kept < size:
            files.truncate(fd, kept)
            files.truncate(fd, size)
        files.write_at(fd, valid, bytes(min(kept, size) - valid))
    finally:
        files.close(fd)


def _open_index(files: Files, index: OffsetIndex | TimeIndex) -> int:
    """Maps what is there; returns the size of the file. Raises CorruptIndexError."""
    try:
        fd = files.open(index.path)
    except FileNotFoundError:
        raise CorruptIndexError(f"{index.path} is missing") from None
    try:
        size = files.size(fd)
        if size > MAX_SEGMENT_BYTES:
            raise CorruptIndexError(f"{index.path} has {size} bytes")
        entries = size // index.entry_size
        index.attach(fd, entries * index.entry_size, entries)
    finally:
        files.close(fd)
    return size
