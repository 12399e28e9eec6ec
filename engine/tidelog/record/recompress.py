"""The slow lane of Produce: batches that have to be opened (CHECK_RECOMPRESS).

A topic whose compression.type is not `producer` gets every batch in its own codec; and a compressed
batch is opened where its header cannot settle what the topic asks of single records: keys on a
compacted topic, the limits of timestamps. Pure and without a clock; runs on a helper thread, since
it takes milliseconds. The batch has passed the native check before; it never appends anything.
"""

from __future__ import annotations

from typing import Final

from typing_extensions import Buffer

from tidelog._native.batch import BatchHeader, check_payload, parse
from tidelog._native.records import record_errors, stamp_append_time, stamp_batch
from tidelog.errors import InvariantError
from tidelog.limits import DECOMPRESSED_BYTES_MIN, DECOMPRESSED_TIMES_MAX
from tidelog.record.builder import BATCH_OVERHEAD, rebuild_batch
from tidelog.record.compression import (
    Codec,
    CompressionError,
    DecompressedTooLargeError,
    decompress,
)
from tidelog.record.reasons import InvalidBatchError, Reason, RecordError

#: max_message_bytes, timestamp_before_max_ms, timestamp_after_max_ms, log_append_time, compacted,
#: target_codec (-1: keep the producer's): CheckLimits of the native check.
Limits = tuple[int, int, int, bool, bool, int]

#: Errors of single records in one answer. Kafka lists every one; a batch can hold a million.
RECORD_ERRORS_MAX: Final = 1_000


def recompress(
    data: Buffer,
    *,
    now_ms: int,
    limits: Limits,
    level: int | None = None,
    decompressed_bytes_max: int | None = None,
    place: str = "",
) -> bytearray:
    """The batch that is to be appended instead of `data`, in the codec that `limits` ask for.

    `level`: of that codec, None for its default. Records, producer fields and, with CreateTime, the
    timestamps stay; with LogAppendTime the batch gets `now_ms`. Base offset and leader epoch are
    left to the append. `decompressed_bytes_max`: None is what max.message.bytes allows. `place`:
    the partition as `topic-0`, for texts. Raises InvalidBatchError with Kafka's code and the errors
    of single records.
    """
    view = memoryview(data).cast("B")
    header = parse(view)
    if header is None or header.size > len(view):
        raise InvariantError("a batch that was not checked came to be recompressed")
    max_message_bytes, _, _, is_log_append_time, _, wanted = limits
    if decompressed_bytes_max is None:
        decompressed_bytes_max = decompressed_limit(max_message_bytes)
    payload = _open(view[BATCH_OVERHEAD : header.size], header, decompressed_bytes_max)
    status, walked, reason, index = check_payload(payload, header, now_ms, limits)
    if status != 0:
        raise refusal(payload, header, Reason(reason), index, now_ms, limits, place)
    codec = header.codec if wanted < 0 else wanted
    if codec == header.codec:
        batch = bytearray(view[: header.size])
        stamp_batch(batch, walked, 0, -1)
    else:
        batch = rebuild_batch(walked, payload, codec=codec, level=level)
    if is_log_append_time:
        stamp_append_time(batch, now_ms)
    if len(batch) > max_message_bytes:
        raise InvalidBatchError(Reason.TOO_LARGE, detail=f"It has {len(batch)} bytes now.")
    return batch


def decompressed_limit(max_message_bytes: int) -> int:
    """How large the records of a batch may be when they are opened, for a topic's
    max.message.bytes."""
    return max(DECOMPRESSED_BYTES_MIN, DECOMPRESSED_TIMES_MAX * max_message_bytes)


def explain(
    data: Buffer, *, now_ms: int, limits: Limits, place: str = ""
) -> tuple[RecordError, ...]:
    """What is wrong with single records of a batch that the native check refused, for the
    record_errors of the answer (Produce v8+); empty when the batch as a whole is at fault.
    `place`: the partition as `topic-0`."""
    view = memoryview(data).cast("B")
    header = parse(view)
    if header is None or header.size > len(view) or header.codec != Codec.NONE:
        return ()
    payload = bytes(view[BATCH_OVERHEAD : header.size])
    return _record_errors(payload, header, now_ms, limits, place)


def refusal(
    payload: bytes,
    header: BatchHeader,
    reason: Reason,
    index: int,
    now_ms: int,
    limits: Limits,
    place: str,
) -> InvalidBatchError:
    """The error of a batch whose records did not pass check_payload()."""
    if reason not in _OF_RECORDS:
        return InvalidBatchError(reason, index)
    return InvalidBatchError(reason, index, _record_errors(payload, header, now_ms, limits, place))


def _open(payload: memoryview, header: BatchHeader, limit_bytes: int) -> bytes:
    try:
        return decompress(header.codec, payload, limit_bytes)
    except DecompressedTooLargeError as error:
        raise InvalidBatchError(Reason.DECOMPRESSED_TOO_LARGE, detail=f"({error})") from error
    except CompressionError as error:
        raise InvalidBatchError(Reason.DECOMPRESSION, detail=f"({error})") from error


def _record_errors(
    payload: bytes, header: BatchHeader, now_ms: int, limits: Limits, place: str
) -> tuple[RecordError, ...]:
    found = record_errors(payload, header, now_ms, limits, RECORD_ERRORS_MAX)
    return tuple(
        RecordError(index, _record_text(Reason(reason), index, timestamp, now_ms, limits, place))
        for index, reason, timestamp in found
    )


def _record_text(
    reason: Reason, index: int, timestamp: int, now_ms: int, limits: Limits, place: str
) -> str:
    """What Java's producers print of the record, in Kafka's words."""
    if reason == Reason.KEY_MISSING and place:
        return f"{reason.text[:-1]} in topic partition {place}"
    if reason != Reason.TIMESTAMP_RANGE:
        return reason.text
    _, before_max_ms, after_max_ms, *_ = limits
    earliest = max(now_ms - before_max_ms, 0)
    return (
        f"Timestamp {timestamp} of message with offset {index} is out of range. The timestamp "
        f"should be within [{earliest}, {now_ms + after_max_ms}]"
    )


_OF_RECORDS: Final = frozenset({Reason.KEY_MISSING, Reason.TIMESTAMP_RANGE, Reason.TIMESTAMP_TYPE})
