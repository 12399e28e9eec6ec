"""Producer snapshots: `<20-digit offset>.snapshot`, the producer state below that offset.

Format (Kafka's, version 1; big endian):

| bytes | field |
|---|---|
| 2 | version (1) |
| 4 | CRC-32C of everything behind this field |
| 4 | number of entries |
| 46 each | producer id 8, epoch 2, last sequence 4, last offset 8, offset delta 4, timestamp 8, coordinator epoch 4, first offset of the open transaction 8 |

An entry keeps the last batch only; without one its sequence and offset are -1. Runs on helper
threads; the entries come from ProducerStates.dump_bytes() on the loop. It never decides when to
write or remove a snapshot.
"""  # noqa: E501 - a table

from __future__ import annotations

import re
import struct
from collections.abc import Iterable

from tidelog._native.crc32c import crc32c
from tidelog.errors import StorageError
from tidelog.storage.files import SYSTEM_FILES, Files

#: As ProducerStates.dump() gives it; the fields are those of the table above.
SnapshotEntry = tuple[int, int, int, int, int, int, int, int]

SNAPSHOT_VERSION = 1
SNAPSHOT_SUFFIX = ".snapshot"

_HEADER = struct.Struct(">hIi")
_ENTRY = struct.Struct(">qhiqiqiq")
_NAME = re.compile(r"([0-9]{20})\.snapshot\Z", re.ASCII)
# What the checksum covers begins behind version and checksum.
_CHECKED_FROM = 6


class CorruptSnapshotError(StorageError):
    """A snapshot that cannot be used; state is then rebuilt from an older one and the log."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


def snapshot_name(offset: int) -> str:
    """File name of the snapshot that covers the offsets below `offset`."""
    return f"{offset:020d}{SNAPSHOT_SUFFIX}"


def snapshot_offset(name: str) -> int | None:
    """The offset in a snapshot's file name; None when the name is not one."""
    match = _NAME.match(name)
    return int(match[1]) if match else None


def encode_snapshot(entries: bytes | Iterable[SnapshotEntry]) -> bytes:
    """File content from ProducerStates.dump_bytes() or the tuples of dump()."""
    if isinstance(entries, bytes):
        body = entries
    else:
        body = b"".join(_ENTRY.pack(*entry) for entry in entries)
    count = len(body) // _ENTRY.size
    checked = crc32c(body, crc32c(count.to_bytes(4, "big")))
    return _HEADER.pack(SNAPSHOT_VERSION, checked, count) + body


def decode_snapshot(data: bytes, path: str) -> list[SnapshotEntry]:
    """The entries, for ProducerStates.load(). Raises CorruptSnapshotError; `path` names it."""
    if len(data) < _HEADER.size:
        raise CorruptSnapshotError(path, f"{len(data)} bytes are too few for a snapshot")
    version, checksum, count = _HEADER.unpack_from(data)
    if version != SNAPSHOT_VERSION:
        raise CorruptSnapshotError(path, f"version {version}, not {SNAPSHOT_VERSION}")
    if crc32c(memoryview(data)[_CHECKED_FROM:]) != checksum:
        raise CorruptSnapshotError(path, "the checksum is wrong")
    if count < 0 or len(data) != _HEADER.size + count * _ENTRY.size:
        raise CorruptSnapshotError(path, f"{len(data)} bytes do not hold {count} entries")
    return list(_ENTRY.iter_unpack(memoryview(data)[_HEADER.size :]))


def read_snapshot(path: str, files: Files = SYSTEM_FILES) -> list[SnapshotEntry]:
    """Raises CorruptSnapshotError, OSError (FileNotFoundError included)."""
    return decode_snapshot(files.read(path), path)


def write_snapshot(
    path: str, entries: bytes | Iterable[SnapshotEntry], files: Files = SYSTEM_FILES
) -> None:
    """Replaces the file atomically and durably. Raises OSError."""
    files.write(path, encode_snapshot(entries))
