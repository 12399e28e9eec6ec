"""The digest of a full segment: what its file held when it took its last batch.

Written on a helper thread when a segment is sealed and synced, read when the log is opened and by
`tidelog scrub`. It covers the headers of the batches, in their order, with XXH3 (128 bits); a
header holds the CRC32C of what follows it, so that together they cover every byte, and sealing
reads headers only. It never says what becomes of a segment that is damaged.

Format, `.digest` beside the `.log`: lines of text as in `partition.metadata`.

| key | value |
|---|---|
| `version` | 0 |
| `size` | bytes of the `.log` |
| `batches` | how many |
| `next_offset` | behind the last batch |
| `xxh3_128_of_headers` | 32 hexadecimal digits: of the 61 bytes of each batch's header |
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

import xxhash

from tidelog._native.scan import SegmentScanner
from tidelog._native.segment import Segment
from tidelog.errors import may_be_tried_again
from tidelog.storage.checkpoints import MalformedFileError, integer
from tidelog.storage.files import SYSTEM_FILES, Files
from tidelog.storage.segment_files import DIGEST_SUFFIX, path_of

logger: Final = logging.getLogger(__name__)

DIGEST_VERSION: Final = 0
_LIMIT_BYTES: Final = 4096
_HEX_DIGITS: Final = 32


@dataclass(frozen=True, slots=True)
class Digest:
    """What a `.digest` says."""

    size: int
    batches: int
    next_offset: int
    headers: str

    def encode(self) -> bytes:
        return (
            f"version: {DIGEST_VERSION}\nsize: {self.size}\nbatches: {self.batches}\n"
            f"next_offset: {self.next_offset}\nxxh3_128_of_headers: {self.headers}\n"
        ).encode()


def decode_digest(data: bytes, path: str) -> Digest:
    """Raises MalformedFileError (`path` only names the file)."""
    try:
        lines = data.decode("ascii").splitlines()
    except UnicodeDecodeError:
        raise MalformedFileError(path, 1, "not ASCII") from None
    names = ("version", "size", "batches", "next_offset", "xxh3_128_of_headers")
    if len(lines) != len(names):
        raise MalformedFileError(path, len(lines), f"{len(names)} lines expected")
    values = []
    for number, (name, line) in enumerate(zip(names, lines, strict=True), 1):
        key, separator, value = line.partition(": ")
        if key != name or not separator:
            raise MalformedFileError(path, number, f"{name} expected")
        values.append(value)
    numbers = [integer(value) for value in values[:4]]
    headers = values[4]
    if numbers[0] != DIGEST_VERSION:
        raise MalformedFileError(path, 1, f"version {DIGEST_VERSION} expected")
    if any(number is None or number < 0 for number in numbers):
        raise MalformedFileError(path, 2, "a number is expected")
    if len(headers) != _HEX_DIGITS or set(headers) - set("0123456789abcdef"):
        raise MalformedFileError(path, len(lines), "no XXH3-128 digest")
    _, size, batches, next_offset = (number or 0 for number in numbers)
    return Digest(size, batches, next_offset, headers)


def read_digest(directory: str, base_offset: int, files: Files = SYSTEM_FILES) -> Digest | None:
    """None when there is none. Raises MalformedFileError, OSError."""
    path = path_of(directory, base_offset, DIGEST_SUFFIX)
    try:
        data = files.read(path, _LIMIT_BYTES)
    except FileNotFoundError:
        return None
    return decode_digest(data, path)


def compute_digest(scanner: SegmentScanner) -> Digest:
    """Runs a scanner that is at its start. Where it stops early, so does the digest."""
    headers = xxhash.xxh3_128()
    scanner.run(on_heads=headers.update)
    return Digest(scanner.valid_bytes, scanner.batches, scanner.next_offset, headers.hexdigest())


def write_digest(files: Files, segment: Segment, durable: bool = True) -> bool:
    """Gives a sealed, synced segment its digest. Returns whether it has one now. Raises OSError.

    A segment in which something is bad already gets none: it would only say so of what is left.
    """
    file = segment.take_file()
    digest = compute_digest(
        SegmentScanner(
            file.fd, segment.base_offset, segment.size, verify_from=segment.size, file=file
        )
    )
    if segment.damaged or digest.size != segment.size or digest.next_offset > segment.next_offset:
        return False
    path = path_of(segment.directory, segment.base_offset, DIGEST_SUFFIX)
    try:
        files.write(path, digest.encode(), durable=durable)
    except OSError as error:
        if not may_be_tried_again(error):
            raise
        logger.warning("no segment digest path=%s error=%s", path, error)
        return False
    return True
