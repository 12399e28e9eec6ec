"""The data directory of one host: whose it is, which nodes live in it, who may use it; and the
other log directories that its nodes have (log.dirs).

Opened by the supervisor before anything else and held until it exits; a node's folder is locked by
its worker (`storage/manager.py`). Never touches a log.

| file | content |
|---|---|
| `.lock` | flock of the supervisor; holds its pid |
| `cluster.json` | `{"format": 1, "cluster_id": ..., "nodes": {"1": "node-1", ...}}`, replaced
atomically; among several hosts also `"host_id": ..., "shared": ...` (shared: the metadata is where
all hosts have it), with several log directories `"log_directories": [...]`, the others |
| `metadata.db` | the metastore (`metastore/local.py`), unless the metadata is shared |
| `metadata.db.imported` | what it was when the metadata became shared |
| `node-N/` | log directory of node N, with a lock of its own; the same in each other directory |
"""

from __future__ import annotations

import base64
import errno
import fcntl
import json
import logging
import os
import shlex
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tidelog.errors import StorageError
from tidelog.metastore.local import JOURNAL_SUFFIX, SHARED_MEMORY_SUFFIX
from tidelog.storage.checkpoints import MalformedFileError
from tidelog.storage.directory import DELETE_SUFFIX, STRAY_SUFFIX
from tidelog.storage.meta_properties import META_PROPERTIES, read_meta_properties
from tidelog.storage.partition_metadata import PARTITION_METADATA

log: Final = logging.getLogger(__name__)

FORMAT: Final = 1
CLUSTER_FILE: Final = "cluster.json"
STORE_FILE: Final = "metadata.db"
IMPORTED_SUFFIX: Final = ".imported"
LOCK_FILE: Final = ".lock"

#: A cluster file is a few hundred bytes; more is none of ours.
_CLUSTER_FILE_BYTES_MAX: Final = 1024 * 1024

_HOST_ID_LENGTH_MAX: Final = 64


class DataDirectoryError(StorageError):
    """The directory cannot be used. The message is one line for the user."""


class LockedError(DataDirectoryError):
    """Another process holds the lock."""


class DamagedClusterFileError(DataDirectoryError):
    """It holds nothing that could be read."""


def rebuild_hint(path: Path) -> str:
    """What a user can do when logs are there and what belongs to them is not."""
    command = f"tidelog metadata rebuild --data-dir {shlex.quote(str(path))}"
    return f"`{command}` restores the topics from the logs"


def node_folders(path: Path) -> list[Path]:
    """Folders that workers have used under the names that nodes get, whether recorded or not."""
    return sorted(file.parent for file in path.glob(f"node-*/{META_PROPERTIES}"))


def new_cluster_id() -> str:
    """22 characters of URL-safe base64 of a random UUID, as Kafka writes it; never beginning with
    "-".
    """
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


class ClusterFile(NamedTuple):
    """The content of the cluster file; nodes: folder by node id; log_directories: without the
    first one.
    """

    cluster_id: str
    nodes: dict[int, str]
    host_id: str = ""
    shared: bool = False
    log_directories: tuple[str, ...] = ()


class DataDirectory:
    """See the module. `open` gives one; `close` gives up its lock."""

    def __init__(self, path: Path, lock: FileLock, found: ClusterFile) -> None:
        self.path = path
        #: The other log directories; they may be missing.
        self.others = tuple(map(Path, found.log_directories))
        self.cluster_id = found.cluster_id
        self.nodes = found.nodes
        self.host_id = found.host_id
        self.is_shared = found.shared
        self._lock = lock
        self._made: list[Path] = []

    @classmethod
    def open(
        cls,
        path: Path,
        make_cluster_id: Callable[[], str] = new_cluster_id,
        others: Iterable[Path] = (),
    ) -> DataDirectory:
        """Opens the directory, or makes it, and makes new ones among the other log directories.
        Raises DataDirectoryError, LockedError.
        """
        new: list[Path] = []
        try:
            if not path.is_dir():
                new = [one for one in (path, *path.parents) if not one.exists()]
                path.mkdir(parents=True, exist_ok=True)
                sync_directory(path.parent)
            lock = FileLock.take(path / LOCK_FILE)
        except LockedError:
            raise
        except FileExistsError as error:
            raise DataDirectoryError(f"data directory {path} is not a directory") from error
        except (OSError, ValueError) as error:  # (a zero byte in a name is a ValueError)
            reason = error.strerror if isinstance(error, OSError) else error
            raise DataDirectoryError(f"data directory {path} cannot be used: {reason}") from error
        try:
            found = _read_cluster(path)
            if found is not None:
                known = cls(path, lock, found)
                known._take_others(others)
                if not known.is_shared:
                    known.check_store()
                return known
            made = cls(path, lock, ClusterFile(make_cluster_id(), {}))
            made._made = new
            made._take_others(others)
            made.save()
            return made
        except BaseException:
            lock.release()
            raise

    def _take_others(self, others: Iterable[Path]) -> None:
        """The other log directories from now on; `save` records them."""
        recorded, self.others = self.others, tuple(others)
        for path in self.others:
            # One that was used is not made again: what is missing is a disk.
            if path in recorded or path.is_dir():
                continue
            try:
                path.mkdir(parents=True)
                self._made.insert(0, path)
            except OSError as error:
                log.warning("log directory cannot be made directory=%s error=%s", path, error)
        for path in recorded:
            if path not in self.others:
                log.warning("log directory not used any more directory=%s", path)

    @property
    def store_path(self) -> Path:
        return self.path / STORE_FILE

    @property
    def has_store(self) -> bool:
        """Whether a store is there that was ever used."""
        # It has pages; its journal alone (-wal) is none.
        return self.store_path.exists() and self.store_path.stat().st_size > 0

    def take_host_id(self) -> str:
        """The host's id among several hosts, made now if it has none; `save` records it."""
        self.host_id = self.host_id or new_cluster_id()
        return self.host_id

    def share(self) -> None:
        """The metadata is where all hosts have it from now on; the store that was imported is put
        aside. May be repeated. Raises DataDirectoryError.
        """
        self.is_shared = True
        self.save()
        try:
            for suffix in (JOURNAL_SUFFIX, SHARED_MEMORY_SUFFIX, ""):
                old = self.path / (STORE_FILE + suffix)
                if old.exists():
                    old.replace(self.path / (STORE_FILE + IMPORTED_SUFFIX + suffix))
            sync_directory(self.path)
        except OSError as error:
            raise DataDirectoryError(
                f"{self.store_path} cannot be moved: {error.strerror}"
            ) from error

    def check_store(self) -> None:
        """Raises DataDirectoryError when the store is gone and a node holds logs."""
        if not self.has_store:
            self.check_no_logs("is missing or empty")

    def check_no_logs(self, problem: str) -> None:
        """Logs without their metadata are no new cluster: an empty one would be served in their
        place. Raises DataDirectoryError when a node holds logs; problem: of the store.
        """
        held = sum(1 for name in self.nodes.values() for _ in self._log_folders(name))
        if held:
            raise DataDirectoryError(
                f"{self.store_path} {problem}, but the nodes hold {held} log(s): put it back from a"
                f" copy, or {rebuild_hint(self.path)}; or move the logs away to begin anew"
            )

    def _log_folders(self, name: str) -> Iterator[Path]:
        for path in (self.path, *self.others):
            for metadata in (path / name).glob(f"*/{PARTITION_METADATA}"):
                if not metadata.parent.name.endswith((DELETE_SUFFIX, STRAY_SUFFIX)):
                    yield metadata.parent

    def node_path(self, node_id: int) -> Path:
        """The node's first log directory."""
        return self.path / self.nodes[node_id]

    def node_paths(self, node_id: int) -> list[Path]:
        """All its log directories."""
        return [path / self.nodes[node_id] for path in (self.path, *self.others)]

    def add_node(self, node_id: int) -> None:
        """Gives the node its folders, where it has none; `save` records it."""
        name = self.nodes.setdefault(node_id, f"node-{node_id}")
        try:
            (self.path / name).mkdir(exist_ok=True)
        except OSError as error:
            raise DataDirectoryError(
                f"node directory {self.path / name} cannot be made: {error.strerror}"
            ) from error
        for path in self.others:
            try:
                (path / name).mkdir(exist_ok=True)
            except OSError:
                continue  # the node finds it missing, and tells

    def remove_node(self, node_id: int) -> None:
        """Forgets the node; its folder stays where it is. `save` records it."""
        self.nodes.pop(node_id, None)

    def save(self) -> None:
        """Replaces the cluster file, surviving a loss of power at any moment."""
        content: dict[str, object] = {
            "format": FORMAT,
            "cluster_id": self.cluster_id,
            "nodes": {str(node): name for node, name in sorted(self.nodes.items())},
        }
        if self.host_id:
            content.update(host_id=self.host_id, shared=self.is_shared)
        if self.others:
            content["log_directories"] = [str(path) for path in self.others]
        temporary = self.path / (CLUSTER_FILE + ".tmp")
        try:
            with temporary.open("w") as file:
                json.dump(content, file, indent=1)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path / CLUSTER_FILE)
            sync_directory(self.path)
        except OSError as error:
            raise DataDirectoryError(
                f"data directory {self.path} cannot be written: {error.strerror}"
            ) from error

    def check_nodes(self) -> None:
        """Looks at the nodes' meta.properties before any of them is started. Raises
        DataDirectoryError.
        """
        for name in self.nodes.values():
            path = self.path / name / META_PROPERTIES
            try:
                read_meta_properties(str(path))
            except MalformedFileError as error:
                raise DataDirectoryError(f"{error}; put it back from a copy") from error
            except OSError as error:
                raise DataDirectoryError(f"{path} cannot be read: {error.strerror}") from error

    def forget_if_new(self) -> None:
        """A start has failed before anything was stored: what this object made goes again. Nothing
        that anybody else put there is touched.
        """
        if not self._made or self.store_path.exists():
            return
        try:
            for name in self.nodes.values():
                (self.path / name).rmdir()
                for path in self.others:
                    (path / name).rmdir()
            for name in (CLUSTER_FILE, LOCK_FILE):
                (self.path / name).unlink(missing_ok=True)
            for directory in self._made:
                directory.rmdir()
        except OSError:
            return

    def close(self) -> None:
        self._lock.release()


class FileLock:
    """An flock on a file that names its owner. Gone with the process, however that ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> FileLock:
        """Raises LockedError when somebody else has it, OSError when the file cannot be made."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            if error.errno != errno.EWOULDBLOCK:
                raise
            by = f" by process {owner}" if owner else ""
            raise LockedError(f"{path.parent} is in use{by}") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def sync_directory(path: Path) -> None:
    """Makes the names in a directory survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_cluster(path: Path) -> ClusterFile | None:
    """None for a new directory only: nodes without their record are no new cluster."""
    has_nodes = bool(node_folders(path))
    try:
        found = read_cluster_file(path / CLUSTER_FILE)
    except DamagedClusterFileError as error:
        if not has_nodes:
            raise
        raise DamagedClusterFileError(f"{error}; {rebuild_hint(path)}") from error
    if found is None and has_nodes:
        raise DataDirectoryError(
            f"{path / CLUSTER_FILE} is missing, but nodes' folders are there: {rebuild_hint(path)}"
        )
    return found


def read_cluster_file(path: Path) -> ClusterFile | None:
    """What it holds; None when there is no such file. Raises DataDirectoryError."""
    try:
        with path.open("rb") as file:
            data = file.read(_CLUSTER_FILE_BYTES_MAX)
        content = json.loads(data)
        if content["format"] != FORMAT:
            raise DataDirectoryError(f"{path} has format {content['format']}, not {FORMAT}")
        nodes = {int(node): str(name) for node, name in content["nodes"].items()}
        cluster_id = content["cluster_id"]
        if not isinstance(cluster_id, str) or len(cluster_id) != 22:
            raise ValueError("no cluster id")
        if len(set(nodes.values())) != len(nodes) or not all(map(_is_folder_name, nodes.values())):
            raise ValueError("no folder name")
        host_id = content.get("host_id", "")
        shared = content.get("shared", False)
        if not isinstance(host_id, str) or len(host_id) > _HOST_ID_LENGTH_MAX:
            raise ValueError("no host id")
        if not isinstance(shared, bool):
            raise ValueError("shared is neither true nor false")
        others = content.get("log_directories", [])
        if not isinstance(others, list) or not all(map(_is_path, others)):
            raise ValueError("log_directories is no list of paths")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataDirectoryError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedClusterFileError(f"{path} is damaged: {error}") from error
    return ClusterFile(cluster_id, nodes, host_id, shared, tuple(others))


def _is_path(path: object) -> bool:
    """Whether it is an absolute path. Raises ValueError as `_is_folder_name`."""
    return isinstance(path, str) and path.startswith("/") and b"\0" not in os.fsencode(path)


def _is_folder_name(name: str) -> bool:
    """Whether it names a folder in the data directory, and none that is hidden. Raises ValueError
    for a text that no file system can hold.
    """
    encoded = os.fsencode(name)
    return bool(name) and b"/" not in encoded and b"\0" not in encoded and name[0] != "."
