"""Tests of the digests of full segments: what they hold, cover and say of a bad file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import xxhash

from tests.unit.native.log_harness import filled_segment
from tidelog._native.scan import SegmentScanner
from tidelog.storage.checkpoints import MalformedFileError
from tidelog.storage.digests import (
    Digest,
    compute_digest,
    decode_digest,
    read_digest,
    write_digest,
)
from tidelog.storage.files import SYSTEM_FILES, Files
from tidelog.storage.segment_files import path_of

GOOD = Digest(1000, 10, 12, "0123456789abcdef" * 2)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    segment, written = filled_segment(tmp_path, 5000, base_offset=7)
    assert write_digest(SYSTEM_FILES, segment)
    digest = read_digest(str(tmp_path), 7)
    headers = xxhash.xxh3_128(b"".join(data[:61] for data in written)).hexdigest()
    assert digest == Digest(segment.size, 5000, 5007, headers)


def test_every_byte_of_a_header_counts(tmp_path: Path) -> None:
    segment, written = filled_segment(tmp_path, 3)
    whole = b"".join(written)

    def digest_of(data: bytes) -> Digest:
        with open(segment.log_path, "r+b") as file:
            file.write(data)
            file.flush()
            scanner = SegmentScanner(file.fileno(), 0, len(data), verify_from=len(data))
            return compute_digest(scanner)

    before = digest_of(whole)
    for at in range(61):
        changed = bytearray(whole)
        changed[len(written[0]) + at] ^= 1
        assert digest_of(bytes(changed)) != before, at


def test_a_segment_that_is_bad_already_gets_none(tmp_path: Path) -> None:
    segment, written = filled_segment(tmp_path, 3)
    segment.set_damaged([len(written[0])])
    assert not write_digest(SYSTEM_FILES, segment)
    segment.set_damaged([])
    with open(segment.log_path, "r+b") as file:
        file.seek(len(written[0]) + 8)
        file.write(b"\xff\xff\xff\xff")
    assert not write_digest(SYSTEM_FILES, segment)
    assert read_digest(str(tmp_path), 0) is None


def test_without_room_the_segment_lives_without_a_digest(tmp_path: Path) -> None:
    class Full(Files):
        code = errno.ENOSPC

        def write(self, path: str, data: bytes, *, durable: bool = True) -> None:
            raise OSError(self.code, os.strerror(self.code), path)

    segment, _ = filled_segment(tmp_path, 3)
    files = Full()
    assert not write_digest(files, segment)
    files.code = errno.EIO
    with pytest.raises(OSError):
        write_digest(files, segment)


def test_encoding() -> None:
    assert decode_digest(GOOD.encode(), "x") == GOOD
    assert GOOD.encode() == (
        b"version: 0\nsize: 1000\nbatches: 10\nnext_offset: 12\n"
        b"xxh3_128_of_headers: 0123456789abcdef0123456789abcdef\n"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"version: 0", b"version: 1"),
        (b"size: 1000", b"size: -1"),
        (b"size: 1000", b"size: many"),
        (b"size: 1000\n", b""),
        (b"batches", b"badges"),
        (b"abcdef\n", b"abcdeg\n"),
        (b"abcdef\n", b"\n"),
        (b"next_offset: 12", b"next_offset: \xff"),
    ],
)
def test_malformed(tmp_path: Path, old: bytes, new: bytes) -> None:
    data = GOOD.encode()
    assert old in data
    Path(path_of(str(tmp_path), 0, ".digest")).write_bytes(data.replace(old, new))
    with pytest.raises(MalformedFileError):
        read_digest(str(tmp_path), 0)
