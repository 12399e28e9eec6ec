"""Offset checkpoints of a log directory, and the error of every small text file.

| file | what it holds per partition |
|---|---|
| recovery-point-offset-checkpoint | everything below is on the disk |
| log-start-offset-checkpoint | first offset that may be read (when it is not a segment's base) |
| replication-offset-checkpoint | high watermark |
| cleaner-offset-checkpoint | first offset that was not cleaned yet |

Format (Kafka's, version 0): UTF-8 text, one line each for the version, the number of entries, and
every entry: `topic partition offset`, ended by a newline. Runs on helper threads (it waits for the
disk); it never decides what an offset should be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from tidelog.errors import StorageError
from tidelog.storage.files import SYSTEM_FILES, Files

RECOVERY_POINT_CHECKPOINT = "recovery-point-offset-checkpoint"
LOG_START_CHECKPOINT = "log-start-offset-checkpoint"
REPLICATION_CHECKPOINT = "replication-offset-checkpoint"
CLEANER_CHECKPOINT = "cleaner-offset-checkpoint"

CHECKPOINT_VERSION = 0
_INTEGER = re.compile(r"-?[0-9]{1,19}\Z", re.ASCII)

#: (topic, partition)
TopicPartition = tuple[str, int]
Entry = TypeVar("Entry")


class MalformedFileError(StorageError):
    """A small file that does not hold what its name promises. `line` counts from 1; 0: the file."""

    def __init__(self, path: str, line: int, problem: str) -> None:
        super().__init__(f"{path}, line {line}: {problem}" if line else f"{path}: {problem}")
        self.path = path
        self.line = line
        self.problem = problem


def encode_offsets(offsets: Mapping[TopicPartition, int]) -> bytes:
    """The file's content; entries ordered by topic and partition."""
    return encode_checkpoint(
        f"{topic} {partition} {offset}" for (topic, partition), offset in sorted(offsets.items())
    )


def decode_offsets(data: bytes, path: str) -> dict[TopicPartition, int]:
    """Raises MalformedFileError (`path` only names the file)."""
    return dict(decode_checkpoint(data, path, _offset_entry))


def read_offsets(path: str, files: Files = SYSTEM_FILES) -> dict[TopicPartition, int]:
    """Empty when there is no such file. Raises MalformedFileError, OSError."""
    try:
        data = files.read(path)
    except FileNotFoundError:
        return {}
    return decode_offsets(data, path)


def write_offsets(
    path: str, offsets: Mapping[TopicPartition, int], files: Files = SYSTEM_FILES
) -> None:
    """Replaces the file atomically and durably. Raises OSError."""
    files.write(path, encode_offsets(offsets))


def encode_checkpoint(entries: Iterable[str]) -> bytes:
    """A checkpoint file of any entry kind: version, count, one line for each."""
    lines = list(entries)
    return "\n".join([str(CHECKPOINT_VERSION), str(len(lines)), *lines, ""]).encode()


def decode_checkpoint(
    data: bytes, path: str, parse: Callable[[list[str]], Entry | None]
) -> list[Entry]:
    """Entries of a checkpoint file, `parse` being given an entry's fields (None: malformed).

    An empty file has no entries: it is what Kafka finds after it made the file and crashed.
    """
    if not data:
        return []
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise MalformedFileError(path, number, "not UTF-8") from None
    if lines[-1] == "":
        lines.pop()
    if integer(lines[0]) != CHECKPOINT_VERSION:
        raise MalformedFileError(path, 1, f"version {CHECKPOINT_VERSION} expected")
    expected = integer(lines[1]) if len(lines) > 1 else None
    if expected is None or expected < 0:
        raise MalformedFileError(path, 2, "the number of entries expected")
    if len(lines) - 2 != expected:
        # A file that was cut would otherwise pass for one with fewer entries.
        raise MalformedFileError(path, 2, f"{expected} entries announced, {len(lines) - 2} found")
    entries = []
    for number, line in enumerate(lines[2:], 3):
        entry = parse(line.split())
        if entry is None:
            raise MalformedFileError(path, number, f"malformed entry {line[:100]!r}")
        entries.append(entry)
    return entries


def integer(text: str) -> int | None:
    """A decimal integer of 64 bits, None if the text is something else."""
    if not _INTEGER.match(text):
        return None
    value = int(text)
    return value if -(2**63) <= value < 2**63 else None


def _offset_entry(fields: list[str]) -> tuple[TopicPartition, int] | None:
    if len(fields) != 3:
        return None
    partition, offset = integer(fields[1]), integer(fields[2])
    if partition is None or offset is None or not 0 <= partition < 2**31:
        return None
    return (fields[0], partition), offset
