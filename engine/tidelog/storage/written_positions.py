"""How far every log of a directory was written, kept where a killed process leaves it behind.

The file `.written` is mapped into the worker; a log's append ends with one aligned store into it,
and nothing ever syncs it. A process that is killed leaves its pages, and the logs' own, with the
kernel: as long as the kernel is the same (its boot id is in the file), what lies below a log's
position is in the page cache or on the disk, and recovery need not verify it (ADR 0018). After
another boot, or when anything about the file is odd, nothing in it is believed, and the recovery
points of the checkpoint count.

The numbers are in the machine's byte order: the file means nothing elsewhere.

| bytes | header | bytes | slot of one log |
|---|---|---|---|
| 8 | magic `TLWRITTN` | 16 | topic id; zeros: the slot is free |
| 4 | version, 1 | 4 | partition |
| 4 | size of a slot, 64 | 4 | - |
| 16 | boot id | 8 | base offset of the active segment |
| 8 | this file's inode: no copy is believed | 8 | bytes written of its .log, plus 1; 0: not known |
| 8 | slots that were ever used | 24 | - |
| 16 | - | | |

Opened and closed on helper threads; the slots belong to the loop. A slot is changed so that it is
not believed at any moment in between: first its position becomes 0, and it is the last to be set.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from tidelog._native.written import WrittenSlot
from tidelog.limits import WRITTEN_SLOTS_MAX
from tidelog.storage.files import Files

WRITTEN_FILE: Final = ".written"
BOOT_ID_PATH: Final = "/proc/sys/kernel/random/boot_id"

_MAGIC: Final = b"TLWRITTN"
_VERSION: Final = 1
_HEADER: Final = struct.Struct("=8sII16sQ")
_HEADER_BYTES: Final = 64
_USED_AT: Final = _HEADER.size
_SLOT: Final = struct.Struct("=16siIqq24x")
_IDENTITY: Final = struct.Struct("=16siI")
#: Where the pair (base offset, position + 1) stands within a slot.
PAIR_AT: Final = _IDENTITY.size
_FREE: Final = bytes(_SLOT.size)
_SIZE: Final = _HEADER_BYTES + WRITTEN_SLOTS_MAX * _SLOT.size

#: (topic id, partition)
LogId = tuple[bytes, int]


@dataclass(frozen=True, slots=True)
class Written:
    """What is known of a log: the segments below `base_offset` are complete, the one that starts
    there is written up to `position`.
    """

    base_offset: int
    position: int


def boot_id() -> bytes:
    """Names this run of the kernel (16 bytes); b"" where that is not known."""
    try:
        with open(BOOT_ID_PATH, encoding="ascii") as file:
            return uuid.UUID(file.read().strip()).bytes
    except (OSError, ValueError):
        return b""


def is_of_boot(files: Files, directory: str, boot: bytes) -> bool:
    """Whether the directory was used last under this kernel, whose page cache has what was written
    then. False when that is not known. Raises OSError.
    """
    path = os.path.join(directory, WRITTEN_FILE)
    if not boot or not files.exists(path):
        return False
    fd = files.open_or_create(path)
    try:
        header = files.read_at(fd, 0, _HEADER.size)
    finally:
        files.close(fd)
    if len(header) < _HEADER.size:
        return False
    magic, version, _, found, _ = _HEADER.unpack(header)
    return bool((magic, version, found) == (_MAGIC, _VERSION, boot))


class WrittenPositions:
    """The mapped file of one directory, which the caller has locked. Use `open`."""

    def __init__(self, mapping: mmap.mmap, slots: dict[LogId, int], free: list[int]) -> None:
        self._mapping = mapping
        self._slots = slots
        self._free = free  # those that were used before
        self._used = len(slots) + len(free)

    @classmethod
    def open(cls, files: Files, directory: str, boot: bytes) -> WrittenPositions:
        """Maps the file, made anew when it is not of this boot. Raises OSError."""
        fd = files.open_or_create(os.path.join(directory, WRITTEN_FILE))
        try:
            inode = os.fstat(fd).st_ino
            header = _HEADER.pack(_MAGIC, _VERSION, _SLOT.size, boot or bytes(16), inode)
            good = bool(boot) and files.read_at(fd, 0, _HEADER.size) == header
            if not good or files.size(fd) != _SIZE:
                files.truncate(fd, 0)
                files.truncate(fd, _SIZE)  # sparse: a page is there once a slot of it is used
                files.write_at(fd, 0, header)
            mapping = mmap.mmap(fd, _SIZE)
        finally:
            files.close(fd)
        return cls(mapping, *_read_slots(mapping))

    def find(self, topic_id: bytes, index: int) -> Written | None:
        """What an earlier process left of that log; None when it left nothing that is believed."""
        slot = self._slots.get((topic_id, index))
        if slot is None:
            return None
        _, _, _, base_offset, position = _SLOT.unpack_from(self._mapping, _at(slot))
        return Written(base_offset, position - 1) if base_offset >= 0 and position > 0 else None

    def slot(self, topic_id: bytes, index: int) -> WrittenSlot | None:
        """Where the log keeps its position. None: all slots are taken."""
        slot = self._slots.get((topic_id, index))
        if slot is None:
            slot = self._take()
            if slot is None:
                return None
            self._slots[topic_id, index] = slot
            self._forget(slot)
            _SLOT.pack_into(self._mapping, _at(slot), topic_id, index, 0, 0, 0)
        return WrittenSlot(self._mapping, _at(slot) + PAIR_AT)

    def _take(self) -> int | None:
        if self._free:
            return self._free.pop()
        if self._used == WRITTEN_SLOTS_MAX:
            return None
        self._used += 1
        struct.pack_into("=q", self._mapping, _USED_AT, self._used)
        return self._used - 1

    def release(self, topic_id: bytes, index: int) -> None:
        """The log is no longer in this directory, or must not be believed."""
        slot = self._slots.pop((topic_id, index), None)
        if slot is not None:
            self._forget(slot)
            self._mapping[_at(slot) : _at(slot) + _SLOT.size] = _FREE
            self._free.append(slot)

    def _forget(self, slot: int) -> None:
        struct.pack_into("=q", self._mapping, _at(slot) + PAIR_AT + 8, 0)

    def keep_only(self, known: Collection[LogId]) -> None:
        """Forgets all other logs."""
        for topic_id, index in [log for log in self._slots if log not in known]:
            self.release(topic_id, index)

    def close(self) -> None:
        """Ends the use; the file stays. (A log that still has its slot keeps the memory mapped.)"""
        with contextlib.suppress(BufferError):
            self._mapping.close()


def _at(slot: int) -> int:
    return _HEADER_BYTES + slot * _SLOT.size


def _read_slots(mapping: mmap.mmap) -> tuple[dict[LogId, int], list[int]]:
    """The slots by log, and free ones among them. A log that has two slots is in none of them."""
    slots: dict[LogId, int] = {}
    free: list[int] = []
    doubtful: set[LogId] = set()
    (used,) = struct.unpack_from("=q", mapping, _USED_AT)
    for slot in range(min(max(used, 0), WRITTEN_SLOTS_MAX)):
        topic_id, index, _ = _IDENTITY.unpack_from(mapping, _at(slot))
        if topic_id == bytes(16):
            free.append(slot)
        elif (topic_id, index) in slots or (topic_id, index) in doubtful:
            doubtful.add((topic_id, index))
            free.append(slot)
        else:
            slots[topic_id, index] = slot
    for log in doubtful:
        free.append(slots.pop(log))
    for slot in free:
        # (A header that counts too many would otherwise have all of the file written.)
        if mapping[_at(slot) : _at(slot) + _SLOT.size] != _FREE:
            mapping[_at(slot) : _at(slot) + _SLOT.size] = _FREE
    return slots, free
