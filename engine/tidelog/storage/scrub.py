"""Checks the segments of logs against their checksums and digests. Reads only; a broker may run.

One segment is one call, for whoever scrubs a directory to say how far it is. What is checked: every
batch with its checksum, that offsets ascend, and, where the segment was sealed, that it is there
and the same sequence of batches, no byte shorter or longer (`storage/digests.py`). What a running
broker changes meanwhile (the last segment, those that it removes or compacts) is passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from tidelog._native.batch import parse
from tidelog._native.scan import SegmentScanner
from tidelog.record.view import BATCH_OVERHEAD
from tidelog.storage.checkpoints import MalformedFileError
from tidelog.storage.digests import Digest, compute_digest, read_digest
from tidelog.storage.directory import find_folders
from tidelog.storage.files import Files
from tidelog.storage.segment_files import (
    DELETED_SUFFIX,
    DIGEST_SUFFIX,
    LOG_SUFFIX,
    parse_name,
    path_of,
)

_EVERY_OFFSET = 2**63 - 1


@dataclass(frozen=True, slots=True)
class SegmentToScrub:
    """One segment of a log. `last`: the one that takes appends when the log is open."""

    directory: str
    base_offset: int
    size: int
    last: bool

    @property
    def path(self) -> str:
        return path_of(self.directory, self.base_offset, LOG_SUFFIX)


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that is not as it was written. position, offset: -1 when not of one place."""

    path: str
    problem: str
    position: int = -1
    offset: int = -1


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What one segment was found to be."""

    segment: SegmentToScrub
    bytes_read: int
    batches: int
    digest: bool  # it has one
    damage: tuple[Damage, ...]


def find_segments(files: Files, directory: str) -> Iterator[SegmentToScrub]:
    """The segments of one log's folder, by offset, also those of which the digest is left. Raises
    OSError.
    """
    bases: set[int] = set()
    sealed: set[int] = set()
    for entry in files.list_directory(directory):
        found = parse_name(entry.name) if entry.is_file else None
        if found and found[1] == LOG_SUFFIX:
            bases.add(found[0])
        elif found and found[1] == DIGEST_SUFFIX:
            sealed.add(found[0])
    for base in sorted(bases | sealed):
        try:
            size = files.size_of(path_of(directory, base, LOG_SUFFIX))
        except FileNotFoundError:
            if not _is_lost(files, directory, base):
                continue  # a broker removed it
            size = 0
        yield SegmentToScrub(directory, base, size, base == max(bases, default=-1))


def _is_lost(files: Files, directory: str, base_offset: int) -> bool:
    """Whether a digest has no segment any more. Who removes a segment renames its log first, then
    its digest, and unlinks neither before: so these are asked in this order.
    """
    path = path_of(directory, base_offset, LOG_SUFFIX)
    return (
        not files.exists(path)
        and not files.exists(path + DELETED_SUFFIX)
        and files.exists(path_of(directory, base_offset, DIGEST_SUFFIX))
    )


def find_logs(files: Files, directory: str) -> list[str]:
    """The folders of logs in a node's folder, or the folder itself if it is a log's."""
    names = [entry.name for entry in files.list_directory(directory) if entry.is_file]
    if any(name.endswith(LOG_SUFFIX) and parse_name(name) for name in names):
        return [directory]
    return [
        os.path.join(directory, folder.name)
        for folder in find_folders(files, directory)
        if folder.topic
    ]


def scrub_segment(files: Files, segment: SegmentToScrub) -> Scrubbed | None:
    """Reads it whole. None: it is gone. Raises OSError."""
    try:
        fd = files.open_to_read(segment.path)
    except FileNotFoundError:
        if not _is_lost(files, segment.directory, segment.base_offset):
            return None
        lost = Damage(segment.path, "the file is gone, its digest is there")
        return Scrubbed(segment, 0, 0, True, (lost,))
    try:
        size = files.size(fd)
        scanner = SegmentScanner(
            fd, segment.base_offset, size, verify_from=0, keep_below=_EVERY_OFFSET
        )
        now = compute_digest(scanner)
        problems = [_problem(files, fd, *place) for place in scanner.damaged]
    finally:
        files.close(fd)
    if scanner.io_errno:
        raise OSError(scanner.io_errno, os.strerror(scanner.io_errno), segment.path)
    damage = [
        Damage(segment.path, problem, *place)
        for problem, place in zip(problems, scanner.damaged, strict=True)
    ]
    if scanner.reason:
        tail = " (the next start cuts an end that was torn)" if segment.last else ""
        problem = scanner.reason_text + tail
        damage.append(Damage(segment.path, problem, scanner.valid_bytes, scanner.next_offset))
    sealed = None
    try:
        sealed = read_digest(segment.directory, segment.base_offset, files)
    except MalformedFileError as error:
        damage.append(Damage(segment.path, f"digest cannot be read: {error}"))
    if sealed is not None:
        damage.extend(_compare(segment, size, now, sealed, bool(damage)))
    if damage and not files.exists(segment.path):
        return None  # replaced or removed while it was read
    return Scrubbed(segment, size, scanner.batches, sealed is not None, tuple(damage))


def _problem(files: Files, fd: int, position: int, offset: int) -> str:
    """What is wrong at a place where the scanner found damage."""
    header = parse(files.read_at(fd, position, BATCH_OVERHEAD))
    if header is not None and header.base_offset == offset:
        return "wrong checksum"
    return "no batch where one should be"


def _compare(
    segment: SegmentToScrub, size: int, now: Digest, sealed: Digest, explained: bool
) -> Iterator[Damage]:
    if size < sealed.size:
        yield Damage(
            segment.path,
            f"{sealed.size - size} bytes are missing at its end",
            size,
            now.next_offset,
        )
    elif size > sealed.size:
        yield Damage(segment.path, f"{size - sealed.size} bytes too many", sealed.size)
    elif now.headers != sealed.headers and not explained:
        yield Damage(segment.path, "headers of batches are not those that were written")
