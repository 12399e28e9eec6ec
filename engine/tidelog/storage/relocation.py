"""Moving logs from one log directory to another of the same file system, while no node uses either.

Renames, with the offsets that the checkpoints know of the logs. May be cut at any operation and run
again: what is done already is found so. It decides nothing; where a log belongs is written down in
the metastore before (`controller/moves.py`). For a helper thread: it waits for the disk.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from tidelog.storage.checkpoints import (
    CLEANER_CHECKPOINT,
    LOG_START_CHECKPOINT,
    RECOVERY_POINT_CHECKPOINT,
    REPLICATION_CHECKPOINT,
    MalformedFileError,
    TopicPartition,
    read_offsets,
    write_offsets,
)
from tidelog.storage.clean_shutdown import is_clean, remove_clean_shutdown
from tidelog.storage.directory import (
    find_folders,
    folder_name,
    lock_directory,
    set_aside,
    topic_id_of,
)
from tidelog.storage.files import Files


class MovedLog(NamedTuple):
    topic: str
    topic_id: bytes
    partition: int

    @property
    def folder(self) -> str:
        return folder_name(self.topic, self.partition)


def relocate_all(
    files: Files, sources: Sequence[str], targets: Sequence[str], logs: Sequence[MovedLog]
) -> int:
    """The same between the log directories of two nodes, each within its file system. What is in a
    directory that is missing stays there: nobody has it then. Raises as relocate().
    """
    moved = relocate(files, sources[0], targets[0], logs)
    for source, target in zip(sources[1:], targets[1:], strict=True):
        if files.exists(source):
            files.make_directory(target)
            places = (source, target)
            # (A checkpoint must not tell of logs that another directory has.)
            here = [
                log
                for log in logs
                if any(files.exists(os.path.join(place, log.folder)) for place in places)
            ]
            moved += relocate(files, source, target, here)
    return moved


def relocate(files: Files, source: str, target: str, logs: Sequence[MovedLog]) -> int:
    """Moves the logs. Returns how many folders were renamed.

    A log without a folder has no records yet. Raises DirectoryInUseError when a node still uses one
    of the directories, OSError.
    """
    with lock_directory(files, source), lock_directory(files, target):
        if not is_clean(source, files):
            # The marker of the target would say of these logs that there is nothing to recover.
            remove_clean_shutdown(target, files)
        _merge_checkpoints(files, source, target, {(log.topic, log.partition) for log in logs})
        moved = sum(_move(files, source, target, log) for log in logs)
        files.sync_directory(target)
        files.sync_directory(source)
    return moved


def _move(files: Files, source: str, target: str, log: MovedLog) -> bool:
    path, new_path = os.path.join(source, log.folder), os.path.join(target, log.folder)
    if not files.exists(path) or topic_id_of(files, path) not in (log.topic_id, None):
        return False
    if files.exists(new_path):
        set_aside(files, new_path, topic_id_of(files, new_path) or bytes(16))
    files.rename(path, new_path)
    return True


def _merge_checkpoints(files: Files, source: str, target: str, logs: set[TopicPartition]) -> None:
    for name in (LOG_START_CHECKPOINT, REPLICATION_CHECKPOINT, CLEANER_CHECKPOINT):
        known = _read(files, os.path.join(source, name)) or {}
        _add(files, os.path.join(target, name), {log: known[log] for log in logs & known.keys()})
    known_points = _read(files, os.path.join(source, RECOVERY_POINT_CHECKPOINT))
    path = os.path.join(target, RECOVERY_POINT_CHECKPOINT)
    if known_points is None:
        # Then gaps in the moved logs are not known for what they are (loader): the start has to
        # find no recovery points at all, and verifies everything.
        if files.unlink(path):
            files.sync_directory(target)
    elif _read(files, path) is not None or not _holds_logs(files, target):
        _add(files, path, {log: known_points.get(log, 0) for log in logs})


def _add(files: Files, path: str, offsets: dict[TopicPartition, int]) -> None:
    before = _read(files, path) or {}
    after = before | offsets
    if after != before:
        write_offsets(path, after, files)


def _read(files: Files, path: str) -> dict[TopicPartition, int] | None:
    """None when there is no such file, or none that can be read."""
    try:
        return read_offsets(path, files) if files.exists(path) else None
    except MalformedFileError:
        return None


def _holds_logs(files: Files, directory: str) -> bool:
    return any(folder.topic for folder in find_folders(files, directory))
