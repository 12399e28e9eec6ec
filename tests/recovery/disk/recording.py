"""Files of the storage engine that write down every operation, and can fail or stop at one.

The operations work on real files below a root. What native code stores into mapped index files is
seen by comparing them before the next operation, and written down as a write. Lock files and
`.written` are passed over: they are never synced and mean nothing after a power cut.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable

from tests.recovery.disk.operations import (
    ROOT,
    Make,
    Move,
    Naming,
    Operation,
    Remove,
    Rename,
    Resize,
    Sync,
    SyncAll,
    SyncDirectory,
    Tree,
    Write,
    apply_content,
)
from tidelog.storage.directory import LOCK_FILE
from tidelog.storage.files import Files
from tidelog.storage.written_positions import WRITTEN_FILE

PASSED_OVER = (LOCK_FILE, WRITTEN_FILE)
MAPPED = (".index", ".timeindex")


class RecordingFiles(Files):
    """`trouble`: called with the number of each operation before it is done; what it raises is what
    the operation raises. A write that it fails leaves half of its bytes. Close it."""

    def __init__(self, root: str, trouble: Callable[[int, str], None] | None = None) -> None:
        self.root = root
        self.journal: list[Operation] = []
        self.trouble = trouble
        self.attempts = 0
        self.append_hook = self
        self._tree = Tree()
        self._content: dict[int, bytearray] = {}
        self._watched: dict[int, int] = {}  # inode of a mapped file: a descriptor of it
        self._of_fd: dict[int, int] = {}
        self._last_inode = ROOT
        self._lock = threading.RLock()
        for folder, directories, names in os.walk(root):
            for name in directories:
                self._adopt(os.path.join(folder, name), is_directory=True)
            for name in names:
                self._adopt(os.path.join(folder, name), is_directory=False)

    def close_watched(self) -> None:
        for fd in self._watched.values():
            os.close(fd)
        self._watched.clear()

    # ---- the journal

    def _adopt(self, path: str, *, is_directory: bool) -> None:
        """What stood there before the first operation: written and synced."""
        if os.path.basename(path) in PASSED_OVER:
            return
        inode = self._make(path, is_directory=is_directory)
        if not is_directory:
            with open(path, "rb") as file:
                self._record(Write(inode, 0, file.read()))
            self._record(Sync(inode))
        self._record(SyncDirectory(self._parent(path)))

    def _enter(self, operation: str) -> None:
        self._notice_mapped()
        self.attempts += 1
        if self.trouble is not None:
            self.trouble(self.attempts, operation)

    def _record(self, operation: Operation) -> None:
        self.journal.append(operation)
        if isinstance(operation, Naming):
            self._tree.apply(operation)
        elif isinstance(operation, Write | Resize):
            apply_content(self._content.setdefault(operation.inode, bytearray()), operation)

    def _notice_mapped(self) -> None:
        for inode, fd in self._watched.items():
            now = os.pread(fd, os.fstat(fd).st_size, 0)
            known = self._content.setdefault(inode, bytearray())
            if len(now) != len(known):
                self._record(Resize(inode, len(now)))
            if now != bytes(known):
                self._record(Write(inode, 0, now))

    def _inside(self, path: str) -> str:
        relative = os.path.relpath(path, self.root)
        assert not relative.startswith(".."), path
        return "" if relative == "." else relative

    def _parent(self, path: str) -> int:
        found = self._tree.find(os.path.dirname(self._inside(path)))
        assert found is not None, path
        return found

    def _make(self, path: str, *, is_directory: bool = False) -> int:
        self._last_inode += 1
        name = os.path.basename(path)
        self._record(Make(self._parent(path), name, self._last_inode, is_directory))
        return self._last_inode

    def _watch(self, path: str, inode: int) -> None:
        if path.endswith(MAPPED) and inode not in self._watched:
            self._watched[inode] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def _opened(self, path: str, fd: int) -> int:
        inode = self._tree.find(self._inside(path))
        if inode is not None:
            self._of_fd[fd] = inode
            self._watch(path, inode)
        return fd

    # ---- names

    def make_directory(self, path: str) -> None:
        with self._lock:
            self._enter("make_directory")
            missing = []
            while not os.path.isdir(path):
                missing.append(path)
                path = os.path.dirname(path)
            for one in reversed(missing):
                os.mkdir(one)
                self._make(one, is_directory=True)

    def rename(self, old: str, new: str) -> None:
        with self._lock:
            self._enter("rename")
            super().rename(old, new)
            source, parent = self._parent(old), self._parent(new)
            if source == parent:
                self._record(Rename(parent, os.path.basename(old), os.path.basename(new)))
            else:
                assert os.path.basename(old) == os.path.basename(new)
                self._record(Move(parent, os.path.basename(new), source))

    def unlink(self, path: str) -> bool:
        with self._lock:
            self._enter("unlink")
            removed = super().unlink(path)
            if removed:
                self._record(Remove(self._parent(path), os.path.basename(path)))
            return removed

    def remove_tree(self, path: str) -> None:
        with self._lock:
            for entry in self.list_directory(path) if os.path.isdir(path) else ():
                inner = os.path.join(path, entry.name)
                self.remove_tree(inner) if entry.is_directory else self.unlink(inner)
            self._enter("rmdir")
            if os.path.isdir(path):
                os.rmdir(path)
                self._record(Remove(self._parent(path), os.path.basename(path)))

    def sync_directory(self, path: str) -> None:
        with self._lock:
            self._enter("sync_directory")
            inode = self._tree.find(self._inside(path))
            if inode is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            self._record(SyncDirectory(inode))

    def sync_file_system(self, path: str) -> None:
        with self._lock:
            self._enter("sync_file_system")
            self._record(SyncAll())

    # ---- descriptors

    def open(self, path: str) -> int:
        with self._lock:
            self._enter("open")
            return self._opened(path, super().open(path))

    def create(self, path: str) -> int:
        with self._lock:
            self._enter("create")
            existed = os.path.exists(path)
            fd = super().create(path)
            if os.path.basename(path) in PASSED_OVER:
                return fd
            if not existed:
                self._make(path)
            self._opened(path, fd)
            if existed:
                self._record(Resize(self._of_fd[fd], 0))
            return fd

    def open_or_create(self, path: str) -> int:
        with self._lock:
            self._enter("open_or_create")
            existed = os.path.exists(path)
            fd = super().open_or_create(path)
            if not existed and os.path.basename(path) not in PASSED_OVER:
                self._make(path)
            return self._opened(path, fd)

    def close(self, fd: int) -> None:
        with self._lock:
            self._of_fd.pop(fd, None)
            super().close(fd)

    def lock(self, path: str) -> int | None:
        with self._lock:
            self._enter("lock")
            return super().lock(path)

    def read(self, path: str, limit_bytes: int = 1 << 26) -> bytes:
        with self._lock:
            self._enter("read")
            return super().read(path, limit_bytes)

    def _inode(self, fd: int) -> int | None:
        return self._of_fd.get(fd)

    def write_at(self, fd: int, position: int, data: bytes) -> None:
        with self._lock:
            try:
                self._enter("write")
            except OSError:
                self._write(fd, position, data[: len(data) // 2])
                raise
            self._write(fd, position, data)

    def _write(self, fd: int, position: int, data: bytes) -> None:
        if data:
            super().write_at(fd, position, data)
            inode = self._inode(fd)
            if inode is not None:
                self._record(Write(inode, position, bytes(data)))

    def pwrite(self, fd: int, data: bytes, position: int) -> int:
        """What appends of batches go through."""
        with self._lock:
            inode = self._inode_of_log(fd)
            self._of_fd[fd] = inode
            self.write_at(fd, position, data)
            return len(data)

    def _inode_of_log(self, fd: int) -> int:
        # A segment closes its descriptor by itself, so that the number may have a new meaning.
        path = os.readlink(f"/proc/self/fd/{fd}")
        inode = self._tree.find(self._inside(path))
        assert inode is not None, path
        return inode

    def truncate(self, fd: int, size: int) -> None:
        with self._lock:
            self._enter("truncate")
            super().truncate(fd, size)
            inode = self._inode(fd)
            if inode is not None:
                self._record(Resize(inode, size))

    def cut(self, path: str, size: int) -> None:
        fd = self.open(path)
        try:
            self.truncate(fd, size)
        finally:
            self.close(fd)

    def sync(self, fd: int) -> None:
        self.sync_data(fd)

    def sync_data(self, fd: int) -> None:
        with self._lock:
            self._enter("sync")
            inode = self._inode(fd)
            self._record(Sync(self._inode_of_log(fd) if inode is None else inode))

    def reserve(self, fd: int, position: int, size: int) -> bool:
        with self._lock:
            self._enter("reserve")
            return True  # the blocks are the file system's affair

    def write(self, path: str, data: bytes, *, durable: bool = True) -> None:
        temporary = f"{path}.tmp"
        fd = self.create(temporary)
        try:
            self.write_at(fd, 0, data)
            if durable:
                self.sync(fd)
        finally:
            self.close(fd)
        self.rename(temporary, path)
        if durable:
            self.sync_directory(os.path.dirname(path))


class UnsyncedFiles(Files):
    """Real files of a disk that nobody cuts: syncing would only take time."""

    def sync(self, fd: int) -> None:
        pass

    def sync_data(self, fd: int) -> None:
        pass

    def sync_directory(self, path: str) -> None:
        pass

    def sync_file_system(self, path: str) -> None:
        pass
