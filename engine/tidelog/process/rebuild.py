"""Makes the metadata store of a data directory anew from its logs (`tidelog metadata rebuild`).

Runs in the user's process while no broker and no worker of the directory does: it holds all their
locks. It reads logs and never changes, renames or deletes one; what it replaces (the store, a
damaged `cluster.json`) is kept under another name. What the new store shall hold is decided in
`controller/rebuild.py`, how it gets its place in `metastore/replace.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from tidelog.config import BrokerConfig
from tidelog.controller.decision import Random
from tidelog.controller.rebuild import FoundLog, Note, RebuiltTopic, rebuild_metadata
from tidelog.errors import StorageError
from tidelog.metastore.replace import Examination, StoreState, examine, put_in_place, write_new
from tidelog.process.data_directory import (
    CLUSTER_FILE,
    LOCK_FILE,
    STORE_FILE,
    ClusterFile,
    DamagedClusterFileError,
    DataDirectory,
    DataDirectoryError,
    FileLock,
    LockedError,
    node_folders,
    read_cluster_file,
)
from tidelog.storage.checkpoints import RECOVERY_POINT_CHECKPOINT, MalformedFileError
from tidelog.storage.clean_shutdown import is_clean
from tidelog.storage.directory import DELETE_SUFFIX, lock_directory, parse_folder
from tidelog.storage.files import SYSTEM_FILES, Files
from tidelog.storage.meta_properties import META_PROPERTIES, MetaProperties, read_meta_properties
from tidelog.storage.partition_metadata import PARTITION_METADATA
from tidelog.storage.strays import original_folder
from tidelog.storage.survey import Survey, survey_directory

_ASIDE: Final = ".set-aside-"


class RebuildError(StorageError):
    """Nothing was changed. The message is one line for the user."""


class RebuildReport(msgspec.Struct, frozen=True):
    """What was done. reason: why the old store was replaced; set_aside: its name now, None when
    there was none; configs_lost: it could not tell them; logs: how many were found.
    """

    cluster_id: str
    nodes: dict[int, str]
    store: Path
    reason: str
    set_aside: Path | None
    configs_lost: bool
    logs: int
    topics: tuple[RebuiltTopic, ...]
    notes: tuple[Note, ...]


class _Cluster(msgspec.Struct, frozen=True):
    """Whose the directory is. problem: of the cluster file, "" when there is a good one; others:
    log directories beside it.
    """

    cluster_id: str
    nodes: dict[int, str]
    problem: str
    notes: tuple[Note, ...]
    others: tuple[str, ...] = ()

    def directories(self, path: Path) -> list[tuple[int, str, Path]]:
        """Each node's log directories that are there: (node id, name, path)."""
        found = [(node, name, path / name) for node, name in sorted(self.nodes.items())]
        for other in self.others:
            for node, name in sorted(self.nodes.items()):
                directory = Path(other) / name
                if (directory / META_PROPERTIES).exists():
                    found.append((node, str(directory), directory))
        return found


def rebuild_store(
    path: Path,
    *,
    now_ms: int,
    rng: Random,
    force: bool = False,
    on_log: Callable[[], object] | None = None,
    files: Files = SYSTEM_FILES,
) -> RebuildReport:
    """on_log is called for each log that was looked at; force: also when the store is good.

    Raises RebuildError; LockedError or DirectoryInUseError while a broker runs.
    """
    try:
        _check_directory(path)
        with ExitStack() as stack:
            lock = FileLock.take(path / LOCK_FILE)
            stack.callback(lock.release)
            cluster = _find_cluster(path)
            for _, _, directory in cluster.directories(path):
                # A worker may outlive its supervisor for a moment; a program may have a log open.
                stack.enter_context(lock_directory(files, str(directory)))
            return _rebuild(path, lock, cluster, now_ms, rng, force, on_log, files)
    except OSError as error:
        raise RebuildError(f"{error.filename or path}: {error.strerror or error}") from error
    except LockedError:
        raise
    except DataDirectoryError as error:
        raise RebuildError(str(error)) from error


def _rebuild(
    path: Path,
    lock: FileLock,
    cluster: _Cluster,
    now_ms: int,
    rng: Random,
    force: bool,
    on_log: Callable[[], object] | None,
    files: Files,
) -> RebuildReport:
    store = path / STORE_FILE
    examined = examine(store, files)
    reason = _reason(store, examined, force, cluster.problem)
    notes = list(cluster.notes)
    logs: list[FoundLog] = []
    for node_id, folder, directory in cluster.directories(path):
        survey = survey_directory(str(directory), files, on_log)
        logs.extend(_found(node_id, folder, survey))
        notes.extend(_notes(folder, survey))
    rebuilt = rebuild_metadata(
        cluster.cluster_id,
        cluster.nodes,
        logs,
        BrokerConfig.resolve(),
        now_ms,
        rng,
        examined.image,
    )
    new = write_new(store, rebuilt.records, files)
    stamp = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
    if cluster.problem:
        # Before the store: without it a start refuses, with it and another cluster file it would
        # not know the nodes.
        notes.append(_restore_cluster_file(path, lock, cluster, stamp, files))
    if examined.image is None:
        _expect_gaps([str(directory) for _, _, directory in cluster.directories(path)], files)
    aside = put_in_place(store, new, stamp, files)
    return RebuildReport(
        cluster.cluster_id,
        cluster.nodes,
        store,
        reason,
        aside,
        examined.image is None,
        len(logs),
        rebuilt.topics,
        (*notes, *rebuilt.notes),
    )


def _reason(store: Path, found: Examination, force: bool, cluster_problem: str) -> str:
    """Why the store is to be replaced. Raises RebuildError when it is not."""
    match found.state:
        case StoreState.MISSING:
            return f"{store} {found.problem}"
        case StoreState.DAMAGED:
            return found.problem
        case StoreState.GOOD if cluster_problem:
            return cluster_problem  # what the store says about configs and epochs stays
        case _ if force:
            return found.problem or f"{store} was good, but replaced by force"
        case StoreState.UNUSABLE:
            raise RebuildError(f"{found.problem}: it may be good, and --force sets it aside")
    topics = 0 if found.image is None else len(found.image.topics)
    raise RebuildError(
        f"{store} is good ({topics} topic(s)): there is nothing to rebuild (--force does it"
        " nevertheless, for logs that it does not know)"
    )


# ---- whose directory it is


def _check_directory(path: Path) -> None:
    """Nothing is made in a directory that is not a broker's."""
    if not path.is_dir():
        raise RebuildError(f"there is no data directory {path}")
    if not (path / CLUSTER_FILE).exists() and not node_folders(path):
        raise RebuildError(
            f"{path} is no data directory: neither {CLUSTER_FILE} nor a node's folder is in it"
        )


def _find_cluster(path: Path) -> _Cluster:
    """What the cluster file and the nodes' folders say. Raises RebuildError when they disagree."""
    problem = ""
    recorded = None
    others: tuple[str, ...] = ()
    try:
        recorded = read_cluster_file(path / CLUSTER_FILE)
        if recorded is None:
            problem = f"{path / CLUSTER_FILE} is missing"
    except DamagedClusterFileError as error:
        problem = str(error)
    if recorded is None:
        cluster_id, nodes = _from_folders(path)
    else:
        if recorded.shared:
            raise RebuildError(
                f"the metadata of {path} is not in it, but where all hosts of its cluster have it"
            )
        cluster_id, nodes = recorded.cluster_id, recorded.nodes
        _check_recorded(path, cluster_id, nodes)
        others = recorded.log_directories
    notes = [
        Note(folder.name, f"not a node's folder: {count} log(s) in it are left")
        for folder in sorted(path.iterdir())
        if folder.name not in nodes.values()
        and folder.is_dir()
        and (count := sum(1 for _ in folder.glob(f"*/{PARTITION_METADATA}")))
    ]
    notes += [
        Note(other, "a log directory that is missing: what is in it is not found")
        for other in others
        if not Path(other).is_dir()
    ]
    return _Cluster(cluster_id, nodes, problem, tuple(notes), others)


def _read_meta(folder: Path) -> MetaProperties | None:
    try:
        return read_meta_properties(str(folder / META_PROPERTIES))
    except MalformedFileError as error:
        raise RebuildError(
            f"{error}: move the file away if {CLUSTER_FILE} lists the folder"
        ) from error


def _from_folders(path: Path) -> tuple[str, dict[int, str]]:
    """The cluster as all folders say that it is."""
    metas = {one.name: meta for one in node_folders(path) if (meta := _read_meta(one))}
    if not metas:
        raise RebuildError(f"{path}: no node's folder has a {META_PROPERTIES}")
    nodes: dict[int, str] = {}
    first, first_meta = next(iter(metas.items()))
    for folder, meta in metas.items():
        if meta.cluster_id != first_meta.cluster_id:
            raise RebuildError(
                f"{path / first} belongs to cluster {first_meta.cluster_id}, {path / folder} to"
                f" {meta.cluster_id}: move the wrong one away"
            )
        if meta.node_id in nodes:
            raise RebuildError(
                f"{path / nodes[meta.node_id]} and {path / folder} both belong to node"
                f" {meta.node_id}: move the wrong one away"
            )
        nodes[meta.node_id] = folder
    if len(first_meta.cluster_id) != 22:
        raise RebuildError(f"{path / first}: {first_meta.cluster_id!r} is no cluster id")
    return first_meta.cluster_id, dict(sorted(nodes.items()))


def _check_recorded(path: Path, cluster_id: str, nodes: dict[int, str]) -> None:
    if not nodes:
        raise RebuildError(f"{path / CLUSTER_FILE} lists no node: there is nothing to rebuild")
    for node_id, folder in nodes.items():
        if not (path / folder).is_dir():
            raise RebuildError(
                f"{path / folder} of node {node_id} is missing: put it back, or make it (empty)"
                " to go on without its logs"
            )
        meta = _read_meta(path / folder)
        if meta is None:
            continue  # A node that never started; the cluster file says whose the folder is.
        if meta.cluster_id != cluster_id:
            raise RebuildError(
                f"{path / folder} belongs to cluster {meta.cluster_id}, {path / CLUSTER_FILE} to"
                f" {cluster_id}: move the wrong one away"
            )
        if meta.node_id != node_id:
            raise RebuildError(
                f"{path / folder} belongs to node {meta.node_id}, but {path / CLUSTER_FILE} gives"
                f" it to node {node_id}: move the wrong one away"
            )


def _restore_cluster_file(
    path: Path, lock: FileLock, cluster: _Cluster, stamp: str, files: Files
) -> Note:
    file = path / CLUSTER_FILE
    kept = ""
    if file.exists():
        aside = file.with_name(file.name + _ASIDE + stamp)
        files.rename(str(file), str(aside))
        files.sync_directory(str(path))
        kept = f", the old one is {aside.name}"
    DataDirectory(path, lock, ClusterFile(cluster.cluster_id, cluster.nodes)).save()
    return Note(CLUSTER_FILE, f"made anew ({cluster.problem}){kept}")


def _expect_gaps(directories: list[str], files: Files) -> None:
    """Which topics are compacted is lost with the configs; a recovery would cut such a log at its
    first gap. Without recovery points it verifies everything and takes gaps for what they are.
    """
    for directory in directories:
        point = os.path.join(directory, RECOVERY_POINT_CHECKPOINT)
        if not is_clean(directory, files) and files.unlink(point):
            files.sync_directory(directory)


# ---- what is in it


def _found(node_id: int, folder: str, survey: Survey) -> Iterator[FoundLog]:
    for log in survey.logs:
        yield FoundLog(
            node_id,
            f"{folder}/{log.folder}",
            log.topic,
            log.index,
            log.topic_id,
            log.made_ms,
            log.latest_epoch,
            log.log_end_offset,
            log.highest_producer_id,
        )


def _notes(folder: str, survey: Survey) -> Iterator[Note]:
    for name in survey.others:
        original = original_folder(name)
        if name.endswith(DELETE_SUFFIX):
            what = "a deleted log: left, the next start removes it"
        elif original is not None:
            what = f"set aside earlier: left; to take it, rename it to {original} and rebuild again"
        elif parse_folder(name)[0]:
            what = "no log is in it: left"
        else:
            what = "not named as a log: left"
        yield Note(f"{folder}/{name}", what)
    for log in survey.logs:
        for problem in log.problems:
            yield Note(f"{folder}/{log.folder}", problem)
