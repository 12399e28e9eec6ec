"""Putting a compaction's output in the place of the segments that it was made from.

The order of Kafka's, which the loader completes or undoes from every point: the new files go from
`.cleaned` to `.swap` (from the last of these renames on the new segment counts), the old ones to
`.deleted`, the new ones to their own names. The renames run on a helper thread while nothing else
changes the log's files; the loop then installs the segment. Readers that still send from an old
segment keep its file.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidelog._native.segment import Segment
from tidelog.errors import StorageError, may_be_tried_again
from tidelog.storage.cleaner_pass import Cleaned
from tidelog.storage.files import Files
from tidelog.storage.log import PartitionLog
from tidelog.storage.segment_files import (
    CLEANED_SUFFIX,
    DIGEST_SUFFIX,
    INDEX_SUFFIX,
    LOG_SUFFIX,
    SNAPSHOT_SUFFIX,
    SWAP_SUFFIX,
    TIME_INDEX_SUFFIX,
    TXN_INDEX_SUFFIX,
    mark_deleted,
    path_of,
)
from tidelog.storage.txn_index import TxnIndex


async def swap(log: PartitionLog, files: Files, old: Sequence[Segment], cleaned: Cleaned) -> bool:
    """Returns False, with nothing done, when the log no longer holds those segments or is no longer
    compacted. Raises StorageError: the log is offline; OSError: nothing was done.
    """
    return await log.exclusively(lambda: _swap(log, files, list(old), cleaned), flushing=True)


async def _swap(log: PartitionLog, files: Files, old: list[Segment], cleaned: Cleaned) -> bool:
    segments = log.core.segment_list
    at = next((i for i, segment in enumerate(segments) if segment is old[0]), -1)
    if at < 0 or segments[at : at + len(old)] != old or log.offline or not log.config.compact:
        return False
    keep_open(old)
    new = cleaned.segment
    bases = [segment.base_offset for segment in old]
    paths = new_names(log.directory, bases[0], cleaned.has_txn_index)
    try:
        await log.run(stage, files, log.directory, paths)
        deleted = await log.run(replace, files, log.directory, paths, bases)
    except NotStagedError as error:
        for segment in old:
            segment.set_trimmed(True)
        raise OSError(error.errno, error.strerror) from error
    except OSError as error:
        # Some of it may be done: opening the log again brings it to an end.
        log.fence(error)
        raise StorageError(f"{log.directory}: compaction failed: {error}") from error
    new.offset_index.moved_to(path_of(log.directory, new.base_offset, INDEX_SUFFIX))
    new.time_index.moved_to(path_of(log.directory, new.base_offset, TIME_INDEX_SUFFIX))
    if isinstance(new.txn_index, TxnIndex):
        new.txn_index.moved_to(path_of(log.directory, new.base_offset, TXN_INDEX_SUFFIX))
    new.set_trimmed(True)
    segments[at : at + len(old)] = [new]
    core = log.core
    core.install(
        segments,
        log_start_offset=core.log_start_offset,
        log_end_offset=core.log_end_offset,
        recovery_point=core.recovery_point,
        leader_epoch=core.leader_epoch,
        roll_jitter_ms=core.roll_jitter_ms,
    )
    deleted += [path_of(log.directory, base, SNAPSHOT_SUFFIX) for base in bases[1:]]
    log.unlink_later(deleted)
    return True


def keep_open(segments: list[Segment]) -> None:
    """Has the files stay open: by their names others would be found soon. Raises OSError."""
    kept: list[Segment] = []
    try:
        for segment in segments:
            segment.set_trimmed(False)
            kept.append(segment)
    except OSError:
        for segment in kept:
            segment.set_trimmed(True)
        raise


class NotStagedError(OSError):
    """There was no room for a rename; the new files are gone, the log is as it was."""


def new_names(directory: str, base: int, has_txn_index: bool) -> list[str]:
    """The new segment's files under their own names, in the order in which they are renamed."""
    suffixes = [LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX, DIGEST_SUFFIX]
    if has_txn_index:
        suffixes.append(TXN_INDEX_SUFFIX)
    return [path_of(directory, base, suffix) for suffix in suffixes]


def stage(files: Files, directory: str, paths: list[str]) -> None:
    """From `.cleaned` to `.swap`. Raises NotStagedError, OSError."""
    try:
        for path in paths:
            files.rename(path + CLEANED_SUFFIX, path + SWAP_SUFFIX)
    except OSError as error:
        if not may_be_tried_again(error):
            raise
        # `.cleaned` last, as the loader does it.
        for suffix in (SWAP_SUFFIX, CLEANED_SUFFIX):
            for path in paths:
                files.unlink(path + suffix)
        raise NotStagedError(error.errno, error.strerror) from error
    files.sync_directory(directory)


def replace(files: Files, directory: str, paths: list[str], bases: list[int]) -> list[str]:
    """The old segments' files to `.deleted`, the new ones to their own names. Returns the paths of
    what is deleted. Raises OSError.
    """
    # Oldest first: a deletion marker never goes before the record that it deletes.
    deleted = mark_deleted(files, directory, bases)
    for path in paths:
        files.rename(path + SWAP_SUFFIX, path)
    files.sync_directory(directory)
    return deleted
