"""The log directory itself: lock, meta.properties, checkpoints, folders of logs.

Functions for helper threads (they wait for the disk); the log manager is their only caller. They
never open a log and never remove a folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from tidelog.errors import StorageError
from tidelog.storage.checkpoints import (
    LOG_START_CHECKPOINT,
    RECOVERY_POINT_CHECKPOINT,
    MalformedFileError,
    read_offsets,
    write_offsets,
)
from tidelog.storage.files import Files
from tidelog.storage.meta_properties import (
    META_PROPERTIES,
    MetaProperties,
    read_meta_properties,
    write_meta_properties,
)
from tidelog.storage.partition_metadata import (
    PARTITION_METADATA,
    read_partition_metadata,
    write_partition_metadata,
)

LOCK_FILE = ".lock"
DELETE_SUFFIX = "-delete"
STRAY_SUFFIX = "-stray"
FUTURE_SUFFIX = "-future"
MAX_NAME_BYTES = 255
PARTITION_MAX = 2**31 - 1

TopicPartition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Offsets:
    """The checkpoints of a directory."""

    recovery_points: Mapping[TopicPartition, int] = field(default_factory=dict)
    log_start: Mapping[TopicPartition, int] = field(default_factory=dict)
    recovery_points_known: bool = False  # there was such a file


@dataclass(frozen=True, slots=True)
class DirectoryState:
    """A directory that this process holds now."""

    lock_fd: int
    meta: MetaProperties | None
    offsets: Offsets
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LogFolder:
    """A folder that may be a log's; topic "" and index -1 when its name is no log's."""

    name: str
    topic: str
    index: int
    topic_id: bytes | None  # None: no readable partition.metadata


class DirectoryInUseError(StorageError):
    """Another process holds the directory."""


@contextmanager
def lock_directory(files: Files, directory: str) -> Iterator[None]:
    """Holds a directory for as long as the context lasts. Raises DirectoryInUseError, OSError."""
    fd = files.lock(os.path.join(directory, LOCK_FILE))
    if fd is None:
        raise DirectoryInUseError(f"{directory} is in use by another process")
    try:
        yield
    finally:
        files.close(fd)


def open_directory(
    files: Files,
    directory: str,
    node_id: int,
    cluster_id: str,
    directory_id: bytes,
    now_ms: int,
    make: bool = True,
) -> DirectoryState | None:
    """Locks the directory, which is made if it is not there (`make`). None when another process
    holds it.

    Raises StorageError when it belongs to another node or cluster, OSError.
    """
    if make:
        files.make_directory(directory)
    lock_fd = files.lock(os.path.join(directory, LOCK_FILE))
    if lock_fd is None:
        return None
    try:
        meta = _check_meta(files, directory, node_id, cluster_id, directory_id, now_ms)
        notes: list[str] = []
        offsets = read_checkpoints(files, directory, notes)
    except BaseException:
        os.close(lock_fd)
        raise
    return DirectoryState(lock_fd, meta, offsets, tuple(notes))


def _check_meta(
    files: Files, directory: str, node_id: int, cluster_id: str, directory_id: bytes, now_ms: int
) -> MetaProperties | None:
    path = os.path.join(directory, META_PROPERTIES)
    meta = read_meta_properties(path, files)
    if meta is None:
        if not cluster_id:
            return None
        meta = MetaProperties(cluster_id, node_id, directory_id)
        write_meta_properties(path, meta, now_ms, files)
    if meta.node_id != node_id:
        raise StorageError(f"{directory} belongs to node {meta.node_id}, not {node_id}")
    if cluster_id and meta.cluster_id != cluster_id:
        raise StorageError(f"{directory} belongs to cluster {meta.cluster_id}, not {cluster_id}")
    return meta


def read_checkpoints(files: Files, directory: str, notes: list[str]) -> Offsets:
    """What is not readable is left out, and noted. Raises OSError."""
    path = os.path.join(directory, RECOVERY_POINT_CHECKPOINT)
    known = files.exists(path)
    found = []
    for name in (RECOVERY_POINT_CHECKPOINT, LOG_START_CHECKPOINT):
        try:
            found.append(read_offsets(os.path.join(directory, name), files))
        except MalformedFileError as error:
            # Without it more is verified (or old records come back): nothing is lost.
            notes.append(str(error))
            known = known and name != RECOVERY_POINT_CHECKPOINT
            found.append({})
    return Offsets(found[0], found[1], known)


def write_checkpoints(files: Files, directory: str, new: Offsets, old: Offsets) -> None:
    """Writes the files whose content changed. Raises OSError."""
    if not old.recovery_points_known or new.recovery_points != old.recovery_points:
        path = os.path.join(directory, RECOVERY_POINT_CHECKPOINT)
        write_offsets(path, new.recovery_points, files)
    if new.log_start != old.log_start:
        write_offsets(os.path.join(directory, LOG_START_CHECKPOINT), new.log_start, files)


def folder_name(topic: str, index: int) -> str:
    return f"{topic}-{index}"


def renamed_folder(topic: str, index: int, unique: str, suffix: str) -> str:
    """Kafka's name of a folder that is out of use; the topic is cut where it would be too long."""
    tail = f"-{index}.{unique}{suffix}"
    return topic[: MAX_NAME_BYTES - len(tail)] + tail


def parse_folder(name: str) -> tuple[str, int]:
    """(topic, partition) of a log's folder, ("", -1) for any other name."""
    topic, dash, digits = name.rpartition("-")
    if not dash or not topic or not digits.isascii() or not digits.isdigit() or len(digits) > 10:
        return "", -1
    index = int(digits)
    # "t-007" is no log of t-7: each log has one name.
    if folder_name(topic, index) != name or index > PARTITION_MAX:
        return "", -1
    return topic, index


def find_folders(files: Files, directory: str) -> list[LogFolder]:
    """All folders of the directory. Raises OSError."""
    found = []
    for entry in files.list_directory(directory):
        if not entry.is_directory:
            continue
        topic, index = parse_folder(entry.name)
        topic_id: bytes | None = None
        if topic:
            path = os.path.join(directory, entry.name, PARTITION_METADATA)
            try:
                topic_id = read_partition_metadata(path, files)
            except MalformedFileError:
                topic_id = None
        found.append(LogFolder(entry.name, topic, index, topic_id))
    return found


def make_folder(files: Files, path: str, topic_id: bytes) -> bool:
    """Makes the folder of a log. Returns whether it was there already, for this topic.

    A folder of another topic id is set aside under a stray name. Raises OSError.
    """
    metadata = os.path.join(path, PARTITION_METADATA)
    parent = os.path.dirname(path)
    existed = files.exists(path)
    if existed:
        found = topic_id_of(files, path)
        if found == topic_id:
            return True
        if found is not None:
            set_aside(files, path, found)
            existed = False
    files.make_directory(path)
    write_partition_metadata(metadata, topic_id, files)
    files.sync_directory(parent)
    return existed


def topic_id_of(files: Files, path: str) -> bytes | None:
    """Whose log a folder is; None when it does not say so readably. Raises OSError."""
    try:
        return read_partition_metadata(os.path.join(path, PARTITION_METADATA), files)
    except MalformedFileError:
        return None


def set_aside(files: Files, path: str, unique: bytes) -> str:
    """Gives a log's folder a stray name, under which nobody serves it; returns the name. unique:
    what tells it from others of that log. Raises OSError.
    """
    topic, index = parse_folder(os.path.basename(path))
    name = renamed_folder(topic, index, unique.hex(), STRAY_SUFFIX)
    files.rename(path, os.path.join(os.path.dirname(path), name))
    return name
