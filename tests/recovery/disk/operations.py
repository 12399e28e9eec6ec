"""What a storage engine does to a disk, one value for each operation, and the tree of names.

Files and directories are numbered ("inodes"), so that a rename keeps what a file holds. Recorded by
RecordingFiles, replayed by Disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field

ROOT = 0


@dataclass(frozen=True, slots=True)
class Make:
    """A new name in a directory: an empty file or an empty directory."""

    parent: int
    name: str
    inode: int
    is_directory: bool = False


@dataclass(frozen=True, slots=True)
class Remove:
    parent: int
    name: str


@dataclass(frozen=True, slots=True)
class Rename:
    """Within one directory; the new name is replaced."""

    parent: int
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Move:
    """A rename from one directory (`source`) into another: one transaction of the file system."""

    parent: int
    name: str
    source: int


@dataclass(frozen=True, slots=True)
class Write:
    inode: int
    position: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Resize:
    inode: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """fsync or fdatasync of a file."""

    inode: int


@dataclass(frozen=True, slots=True)
class SyncDirectory:
    inode: int


@dataclass(frozen=True, slots=True)
class SyncAll:
    """syncfs."""


Naming = Make | Remove | Rename | Move
Content = Write | Resize
Operation = Naming | Content | Sync | SyncDirectory | SyncAll


@dataclass(slots=True)
class Tree:
    """Names and what they name."""

    entries: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})

    def apply(self, operation: Naming) -> None:
        """A name that is not there any more (what removed it got to the disk) is passed over."""
        names = self.entries.setdefault(operation.parent, {})
        if isinstance(operation, Make):
            names[operation.name] = operation.inode
            if operation.is_directory:
                self.entries.setdefault(operation.inode, {})
        elif isinstance(operation, Remove):
            names.pop(operation.name, None)
        elif isinstance(operation, Move):
            old = self.entries.get(operation.source, {})
            if operation.name in old:
                names[operation.name] = old.pop(operation.name)
        elif operation.old in names:
            names[operation.new] = names.pop(operation.old)

    def find(self, path: str) -> int | None:
        """The inode of a path below the root ("" is the root)."""
        inode = ROOT
        for name in path.split("/") if path else ():
            found = self.entries.get(inode, {}).get(name)
            if found is None:
                return None
            inode = found
        return inode

    def copy(self) -> Tree:
        return Tree({inode: dict(names) for inode, names in self.entries.items()})


def apply_content(content: bytearray, operation: Content) -> None:
    """What a write or a change of size makes of a file's content."""
    if isinstance(operation, Resize):
        if operation.size < len(content):
            del content[operation.size :]
        else:
            content.extend(bytes(operation.size - len(content)))
        return
    end = operation.position + len(operation.data)
    if end > len(content):
        content.extend(bytes(end - len(content)))
    content[operation.position : end] = operation.data
