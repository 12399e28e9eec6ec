"""What a disk may hold after a power cut, given what was done to it before.

The rules are the weakest that a journalling file system gives:

- what was synced is there; a name is durable after its directory was synced, whatever became of the
  file's content, and the other way round;
- of the names that were changed since, any beginning of the changes in a directory is there;
- of what was written to a file since, each sector of each write may be there, or not, or be zeros
  that only the new size tells of.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.recovery.disk.operations import (
    ROOT,
    Content,
    Make,
    Naming,
    Operation,
    Resize,
    Sync,
    SyncAll,
    SyncDirectory,
    Tree,
    Write,
    apply_content,
)

SECTOR_BYTES = 64  # small, as are the files of these tests
#: Path to content, None for a directory.
Image = dict[str, bytes | None]


@dataclass(slots=True)
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Content] = field(default_factory=list)


class Disk:
    """Takes operations one after the other; says what a cut may leave at any time."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._names = Tree()  # the durable ones
        self._pending: dict[int, list[Naming]] = {}
        self._last: Operation | None = None

    def apply(self, operation: Operation) -> None:
        self._last = operation
        if isinstance(operation, Naming):
            self._pending.setdefault(operation.parent, []).append(operation)
            if isinstance(operation, Make) and not operation.is_directory:
                self._files[operation.inode] = _File()
        elif isinstance(operation, Write | Resize):
            self._files[operation.inode].pending.append(operation)
        elif isinstance(operation, Sync):
            self._sync(operation.inode)
        elif isinstance(operation, SyncDirectory):
            self._sync_directory(operation.inode)
        else:
            assert isinstance(operation, SyncAll)
            for inode in self._files:
                self._sync(inode)
            for inode in list(self._pending):
                self._sync_directory(inode)

    def _sync(self, inode: int) -> None:
        file = self._files[inode]
        for operation in file.pending:
            apply_content(file.durable, operation)
        file.pending.clear()

    def _sync_directory(self, inode: int) -> None:
        for operation in self._pending.pop(inode, ()):
            self._names.apply(operation)

    # ---- what a cut leaves

    def images(self, rng: random.Random, mixtures: int) -> Iterator[tuple[str, Image]]:
        """(what was kept, the image): the extremes, torn last writes, and random mixtures."""
        for names in ("lost", "kept"):
            for content in ("lost", "kept"):
                yield (
                    f"names {names}, content {content}",
                    self._image(
                        self._tree({} if names == "lost" else self._pending),
                        {inode: _settled(file, content) for inode, file in self._files.items()},
                    ),
                )
        if isinstance(self._last, Write) and self._files[self._last.inode].pending:
            for kept in {1, len(self._last.data) // 2, len(self._last.data) - 1}:
                yield f"{kept} bytes of the last write", self._torn(self._last, kept)
        for i in range(mixtures):
            yield f"mixture {i}", self._mixture(rng)

    def _torn(self, last: Write, kept: int) -> Image:
        contents = {inode: _settled(file, "kept") for inode, file in self._files.items()}
        file = self._files[last.inode]
        torn = Write(last.inode, last.position, last.data[:kept])
        contents[last.inode] = _replayed(file.durable, [*file.pending[:-1], torn])
        return self._image(self._tree(self._pending), contents)

    def _mixture(self, rng: random.Random) -> Image:
        pending = {
            inode: changes[: rng.randint(0, len(changes))]
            for inode, changes in self._pending.items()
        }
        contents = {inode: _mixed(file, rng) for inode, file in self._files.items()}
        return self._image(self._tree(pending), contents)

    def _tree(self, pending: dict[int, list[Naming]]) -> Tree:
        tree = self._names.copy()
        for changes in pending.values():
            for operation in changes:
                tree.apply(operation)
        return tree

    def _image(self, tree: Tree, contents: dict[int, bytes]) -> Image:
        image: Image = {}

        def walk(inode: int, path: str) -> None:
            for name, child in tree.entries.get(inode, {}).items():
                below = f"{path}/{name}" if path else name
                if child in self._files:
                    image[below] = contents[child]
                else:
                    image[below] = None
                    walk(child, below)

        walk(ROOT, "")
        return image


def _settled(file: _File, content: str) -> bytes:
    return _replayed(file.durable, file.pending if content == "kept" else ())


def _replayed(durable: bytearray, operations: Sequence[Content]) -> bytes:
    content = bytearray(durable)
    for operation in operations:
        apply_content(content, operation)
    return bytes(content)


def _mixed(file: _File, rng: random.Random) -> bytes:
    """Sizes change in order, up to any of the changes; sectors get there in any order."""
    if not file.pending:
        return bytes(file.durable)
    sizes = rng.randint(0, len(file.pending))
    size = len(_replayed(file.durable, file.pending[:sizes]))
    content = bytearray(file.durable)
    for i, operation in enumerate(file.pending):
        if isinstance(operation, Resize):
            if i < sizes:
                apply_content(content, operation)
            continue
        for start in range(0, len(operation.data), SECTOR_BYTES):
            if rng.random() < 0.5:
                piece = operation.data[start : start + SECTOR_BYTES]
                apply_content(content, Write(operation.inode, operation.position + start, piece))
    apply_content(content, Resize(0, size))
    return bytes(content)


def write_image(image: Image, directory: str) -> None:
    """Makes the files of an image in a directory that is not there yet."""
    os.mkdir(directory)
    for path, content in image.items():
        target = os.path.join(directory, path)
        if content is None:
            os.makedirs(target, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(content)
