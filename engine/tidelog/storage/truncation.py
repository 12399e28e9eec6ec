"""Cutting the end off a log that is open (truncation by a new leader's history).

Runs on a helper thread while the log takes no appends. The segments that the loop still reads from
stay as they are; what replaces them is a value that the loop installs. Index files are never made
shorter here: the loop may still look up in a mapping of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from tidelog._native.producer_state import ProducerStates
from tidelog._native.scan import SegmentScanner
from tidelog._native.segment import Segment
from tidelog.storage.aborted import index_of
from tidelog.storage.files import Files
from tidelog.storage.loader import replay
from tidelog.storage.producer_snapshot import (
    CorruptSnapshotError,
    read_snapshot,
    snapshot_name,
    snapshot_offset,
)
from tidelog.storage.segment_files import (
    SegmentSettings,
    activate,
    create_segment,
    mark_deleted,
    reopen_segment,
)


@dataclass(slots=True)
class Truncated:
    """What a truncation left."""

    segments: list[Segment]
    producers: ProducerStates
    deleted_files: list[str] = field(default_factory=list)


def truncate_log(
    files: Files,
    directory: str,
    segments: Sequence[Segment],
    offset: int,
    log_start_offset: int,
    settings: SegmentSettings,
    now_ms: int,
    verify_transactions: bool,
) -> Truncated:
    """Removes everything from `offset` on; log_start_offset <= offset. Raises OSError."""
    kept = [segment for segment in segments if segment.base_offset <= offset]
    doomed = [segment.base_offset for segment in segments[len(kept) :]]
    deleted: list[str] = []
    # Newest first, so that a crash in between leaves a log without a hole.
    for base_offset in reversed(doomed):
        deleted += mark_deleted(files, directory, [base_offset])
    if not kept:
        raise ValueError(f"offset {offset} lies before the log")
    kept[-1] = _cut_segment(files, kept[-1], offset, settings, now_ms)
    producers = _rebuild_producers(
        files, directory, kept, offset, log_start_offset, verify_transactions
    )
    files.sync_directory(directory)
    return Truncated(kept, producers, deleted)


def restart_log(
    files: Files,
    directory: str,
    segments: Sequence[Segment],
    offset: int,
    settings: SegmentSettings,
    now_ms: int,
    verify_transactions: bool,
) -> Truncated:
    """Removes everything; the log starts anew, empty, at `offset`. Raises OSError."""
    deleted: list[str] = []
    for segment in reversed(segments):
        deleted += mark_deleted(files, directory, [segment.base_offset])
    _remove_snapshots(files, directory, -1)
    producers = ProducerStates(verify_transactions=verify_transactions)
    producers.truncate_fully_and_start_at(offset)
    segment = create_segment(files, directory, offset, settings, now_ms)
    files.sync_directory(directory)
    return Truncated([segment], producers, deleted)


def _cut_segment(
    files: Files, old: Segment, offset: int, settings: SegmentSettings, now_ms: int
) -> Segment:
    found = old.find(offset)
    size = old.size if found is None else found[0]
    segment = reopen_segment(files, old, settings, now_ms)
    if size < old.size:
        files.truncate(segment.fd, size)
        # Or what is cut off might come back after a power cut, behind new batches of the same size.
        files.sync(segment.fd)
    segment.offset_index.truncate_to(offset)
    segment.time_index.truncate_to(offset)
    if segment.txn_index is not None:
        index_of(files, segment).truncate_to(offset)
    # What the log holds behind the last time entry may be newer than it.
    position = segment.offset_index.find(segment.time_index.last_offset)[1]
    scanner = SegmentScanner(
        segment.fd, segment.base_offset, size, verify_from=size, keep_below=offset
    )
    scanner.start_at(position)
    scanner.run()
    newer = scanner.max_timestamp > segment.time_index.last_timestamp
    segment.resize(size, scanner.next_offset if scanner.batches else segment.base_offset)
    segment.restore(
        rolling_based_timestamp=old.rolling_based_timestamp if size else -1,
        max_timestamp=scanner.max_timestamp if newer else segment.time_index.last_timestamp,
        offset_of_max_timestamp=(
            scanner.offset_of_max_timestamp if newer else segment.time_index.last_offset
        ),
        last_modified_ms=now_ms,
    )
    activate(files, segment, settings)
    return segment


def _rebuild_producers(
    files: Files,
    directory: str,
    segments: Sequence[Segment],
    end_offset: int,
    log_start_offset: int,
    verify_transactions: bool,
) -> ProducerStates:
    producers = ProducerStates(verify_transactions=verify_transactions)
    producers.truncate_fully_and_start_at(log_start_offset)
    for offset in reversed(_remove_snapshots(files, directory, end_offset)):
        if offset <= log_start_offset:
            break
        try:
            entries = read_snapshot(os.path.join(directory, snapshot_name(offset)), files)
        except CorruptSnapshotError:
            continue
        producers.load(entries, offset)
        break
    replay(files, list(segments), producers, producers.map_end_offset)
    producers.advance_to(end_offset)
    return producers


def _remove_snapshots(files: Files, directory: str, end_offset: int) -> list[int]:
    """Removes the snapshots beyond `end_offset`; returns the offsets of the others, ascending."""
    kept = []
    for entry in files.list_directory(directory):
        offset = snapshot_offset(entry.name)
        if offset is None:
            continue
        if offset > end_offset:
            files.unlink(os.path.join(directory, entry.name))
        else:
            kept.append(offset)
    return sorted(kept)
