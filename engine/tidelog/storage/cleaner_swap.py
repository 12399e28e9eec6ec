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
from tidelog.errors import StorageError
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
    _keep_open(old)
    new = cleaned.segment
    bases = [segment.base_offset for segment in old]
    try:
        deleted = await log.run(swap_files, files, log.directory, bases, cleaned.has_txn_index)
    except OSError as error:
        # Some of it may be done: opening the log again brings it to an end.
        log.fence(error)
        raise StorageError(f"{log.directory}: compaction failed: {error}") from error
    new.offset_index.moved_to(path_of(log.directory, new.base_offset, INDEX_SUFFIX))
    new.time_index.moved_to(path_of(log.directory, new.base_offset, TIME_INDEX_SUFFIX))
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


def _keep_open(segments: list[Segment]) -> None:
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


def swap_files(files: Files, directory: str, bases: list[int], has_txn_index: bool) -> list[str]:
    """The renames, `bases` being those of the old segments. Returns the paths of what is deleted.

    Raises OSError.
    """
    base = bases[0]
    suffixes = [LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX, DIGEST_SUFFIX]
    if has_txn_index:
        suffixes.append(TXN_INDEX_SUFFIX)
    paths = [path_of(directory, base, suffix) for suffix in suffixes]
    for path in paths:
        files.rename(path + CLEANED_SUFFIX, path + SWAP_SUFFIX)
    files.sync_directory(directory)
    # Oldest first: a deletion marker never goes before the record that it deletes.
    deleted = mark_deleted(files, directory, bases)
    for path in paths:
        files.rename(path + SWAP_SUFFIX, path)
    files.sync_directory(directory)
    return deleted
