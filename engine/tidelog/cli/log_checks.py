"""Whether the files of one segment fit together, for `tidelog dump-log --verify`. Changes nothing.

What is checked: every batch's checksum and the order of the offsets; every entry of the offset
index against the batch that it points to; every entry of the time index against the largest
timestamp up to its offset.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from tidelog.cli.log_files import Line, batches, broken
from tidelog.record.view import BatchView


def verify(log: Path) -> Iterator[Line]:
    """The defects of a segment with its indexes, one line each. Raises OSError."""
    base = int(log.name[:20]) if log.name[:20].isdigit() else 0
    last_by_position: dict[int, int] = {}
    newest: list[tuple[int, int]] = []  # (last offset, largest timestamp so far)
    expected = base
    largest = -1
    with log.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        for position, found in batches(file, 0, size):
            if not isinstance(found, BatchView):
                yield broken(found, file=log.name, position=position)
                continue
            header = found.header
            if not found.is_crc_ok:
                yield broken("wrong checksum", file=log.name, position=position)
            if header.base_offset < expected:
                yield broken(
                    f"offset {header.base_offset} follows {expected - 1}",
                    file=log.name,
                    position=position,
                )
            expected = header.last_offset + 1
            last_by_position[position] = header.last_offset
            if header.max_timestamp > largest:
                largest = header.max_timestamp
            newest.append((header.last_offset, largest))
    yield from _verify_offset_index(log.with_suffix(".index"), base, last_by_position)
    yield from _verify_time_index(log.with_suffix(".timeindex"), base, newest)


def _entries(path: Path, layout: struct.Struct) -> Iterator[tuple[int, ...]]:
    if not path.exists():
        return
    data = path.read_bytes()
    for entry in layout.iter_unpack(data[: len(data) - len(data) % layout.size]):
        if any(entry):
            yield entry


def _verify_offset_index(path: Path, base: int, last: dict[int, int]) -> Iterator[Line]:
    before = (-1, -1)
    for relative, position in _entries(path, struct.Struct(">ii")):
        found = last.get(position)
        if found is None:
            yield broken(f"no batch at position {position}", file=path.name, offset=base + relative)
        elif found != base + relative:
            yield broken(
                f"the batch at position {position} ends at {found}",
                file=path.name,
                offset=base + relative,
            )
        if (relative, position) <= before:
            yield broken("entries do not ascend", file=path.name, offset=base + relative)
        before = (relative, position)


def _verify_time_index(path: Path, base: int, newest: list[tuple[int, int]]) -> Iterator[Line]:
    at = 0
    before = -1
    for timestamp, relative in _entries(path, struct.Struct(">qi")):
        offset = base + relative
        while at < len(newest) and newest[at][0] < offset:
            at += 1
        if at == len(newest):
            yield broken(f"offset {offset} is not in the log", file=path.name, timestamp=timestamp)
            return
        if newest[at][1] != timestamp:
            yield broken(
                f"the largest timestamp up to offset {offset} is {newest[at][1]}",
                file=path.name,
                timestamp=timestamp,
            )
        if timestamp < before:
            yield broken("entries do not ascend", file=path.name, timestamp=timestamp)
        before = timestamp
