"""Offsets by time: the first record that is not older, and the newest record.

Reads segments through the time index, then batch headers, then the records of one batch. May wait
for the disk; PartitionLog offers it both ways (at once, and on a helper thread). Works on the
segments that it is given and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tidelog._native.batch import BatchHeader, parse
from tidelog._native.scan import find_batch_by_timestamp, find_record
from tidelog._native.segment import CorruptSegmentError, Segment
from tidelog.errors import KafkaError, StorageError
from tidelog.limits import SEARCHED_BATCH_BYTES_MAX
from tidelog.protocol.error_codes import ErrorCode
from tidelog.record.compression import CompressionError, decompress

_HEADER_BYTES = 61
_ANY_TIME = -(2**63)


class TimestampOffset(NamedTuple):
    """A record's time and offset, and the leader epoch of its batch."""

    timestamp: int
    offset: int
    leader_epoch: int


def offset_for_timestamp(
    segments: Sequence[Segment], timestamp: int, start_offset: int
) -> TimestampOffset | None:
    """First record from `start_offset` on with at least that timestamp, in offset order.

    Raises OSError, CorruptSegmentError.
    """
    for segment in segments:
        if segment.next_offset <= start_offset or largest_timestamp(segment) < timestamp:
            continue
        found = _search(segment, timestamp, start_offset)
        if found is not None:
            return found
    return None


def max_timestamp_offset(segments: Sequence[Segment], start_offset: int) -> TimestampOffset | None:
    """The record with the largest timestamp (the first of them). Raises as above."""
    candidates = [s for s in segments if s.next_offset > start_offset and s.max_timestamp >= 0]
    while candidates:
        best = max(candidates, key=lambda segment: segment.max_timestamp)
        found = _search(best, best.max_timestamp, start_offset)
        if found is not None:
            return found
        candidates.remove(best)  # its newest record lies before the start
    return None


def newest(segments: Sequence[Segment], _: int, start_offset: int) -> TimestampOffset | None:
    """max_timestamp_offset in the form of offset_for_timestamp."""
    return max_timestamp_offset(segments, start_offset)


def search(
    find: Callable[[Sequence[Segment], int, int], TimestampOffset | None],
    segments: Sequence[Segment],
    timestamp: int,
    start_offset: int,
) -> TimestampOffset | None:
    """One of the look-ups above for a client. Raises KafkaError."""
    try:
        return find(segments, timestamp, start_offset)
    except StorageError as error:
        raise KafkaError(ErrorCode.CORRUPT_MESSAGE, str(error)) from error
    except OSError as error:
        raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, str(error)) from error


def largest_timestamp(segment: Segment) -> int:
    """Of its records, or when it was written last if they have none. ms."""
    return segment.max_timestamp if segment.max_timestamp >= 0 else segment.last_modified_ms


def _search(segment: Segment, timestamp: int, start_offset: int) -> TimestampOffset | None:
    indexed_offset = segment.time_index.find(timestamp)[1]
    position = segment.offset_index.find(max(indexed_offset, start_offset))[1]
    size = segment.size
    file = segment.take_file()  # held until the end of the search
    while True:
        try:
            found = find_batch_by_timestamp(
                file.fd, position, size, segment.base_offset, timestamp, start_offset
            )
        except ValueError as error:
            raise CorruptSegmentError(f"{segment.log_path}: {error}") from None
        if found is None:
            return None
        batch = segment.read_at(*found)
        record = _search_batch(batch, timestamp, start_offset)
        if record is not None:
            return record
        position = found[0] + found[1]


def _search_batch(batch: bytes, timestamp: int, start_offset: int) -> TimestampOffset | None:
    header = parse(batch)
    if header is None:
        return None
    try:
        payload = _payload(batch, header)
        if header.is_log_append_time:
            found = find_record(payload, 0, _ANY_TIME, start_offset - header.base_offset)
            if found is not None:
                found = (found[0], header.max_timestamp)
        else:
            found = find_record(
                payload, header.base_timestamp, timestamp, start_offset - header.base_offset
            )
    except (CompressionError, ValueError):
        # Cannot be opened: no earlier offset can be right, and a consumer gets the batch whole.
        return TimestampOffset(
            header.max_timestamp,
            max(header.base_offset, start_offset),
            header.partition_leader_epoch,
        )
    if found is None:
        return None
    return TimestampOffset(found[1], header.base_offset + found[0], header.partition_leader_epoch)


def _payload(batch: bytes, header: BatchHeader) -> bytes | memoryview:
    records = memoryview(batch)[_HEADER_BYTES : header.size]
    return decompress(header.codec, records, SEARCHED_BATCH_BYTES_MAX) if header.codec else records
