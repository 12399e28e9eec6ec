"""Why a record batch was refused: reasons, their texts, and the exception that carries them.

The numbers are those of `_native/batch.pxd` (REASON_*); the hot lane finds a text by its number.
Pure values; belongs to no task.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple, Self

from tidelog.errors import KafkaError
from tidelog.protocol.error_codes import ErrorCode


class Reason(IntEnum):
    """`error_code` is the code of the whole batch, `text` its error_message."""

    error_code: int
    text: str

    # The defaults are never used; they let a type checker accept the look-up Reason(3).
    def __new__(cls, value: int, error_code: int = 0, text: str = "") -> Self:
        member = int.__new__(cls, value)
        member._value_ = value
        member.error_code = int(error_code)
        member.text = text
        return member

    NONE = 0, ErrorCode.NONE, ""
    NO_BATCH = 1, ErrorCode.INVALID_RECORD, "There is no complete record batch for the partition."
    SIZE_FIELD = 2, ErrorCode.CORRUPT_MESSAGE, "The batch's length field is too small for a batch."
    MAGIC_UNKNOWN = 3, ErrorCode.CORRUPT_MESSAGE, "The batch's magic byte is none that exists."
    MAGIC_OLD = 4, ErrorCode.INVALID_RECORD, "Only record batches of magic 2 are accepted."
    ZSTD_VERSION = (
        5,
        ErrorCode.UNSUPPORTED_COMPRESSION_TYPE,
        "zstd may be used from version 7 of Produce on.",
    )
    SEVERAL_BATCHES = 6, ErrorCode.INVALID_RECORD, "There is more than one batch for the partition."
    BASE_OFFSET = 7, ErrorCode.INVALID_RECORD, "The base offset of a produced batch must be 0."
    TOO_LARGE = (
        8,
        ErrorCode.MESSAGE_TOO_LARGE,
        "The request included a message larger than the max message size the server will accept.",
    )
    CRC = 9, ErrorCode.CORRUPT_MESSAGE, "The batch's checksum is wrong."
    CODEC_UNKNOWN = 10, ErrorCode.UNKNOWN_SERVER_ERROR, "The batch's codec is none that exists."
    OFFSET_RANGE = 11, ErrorCode.INVALID_RECORD, "The batch's last offset delta is negative."
    COUNT = 12, ErrorCode.INVALID_RECORD, "The batch does not count at least one record."
    COUNT_MISMATCH = (
        13,
        ErrorCode.INVALID_RECORD,
        "The batch's record count does not fit its last offset delta.",
    )
    CONTROL = 14, ErrorCode.INVALID_RECORD, "Clients may not write control batches."
    SEQUENCE = 15, ErrorCode.INVALID_RECORD, "A batch with a producer id needs a sequence number."
    RECORD_FRAMING = 16, ErrorCode.INVALID_RECORD, "A record's lengths do not fit the batch."
    OFFSET_DELTA = 17, ErrorCode.INVALID_RECORD, "The offset deltas are not 0, 1, 2 and so on."
    RECORDS_LEFT = 18, ErrorCode.INVALID_RECORD, "There are bytes behind the batch's last record."
    KEY_MISSING = (
        19,
        ErrorCode.INVALID_RECORD,
        "Compacted topic cannot accept message without key.",
    )
    TIMESTAMP_RANGE = (
        20,
        ErrorCode.INVALID_TIMESTAMP,
        "A timestamp is outside of what the topic's message.timestamp.before.max.ms and "
        "message.timestamp.after.max.ms allow.",
    )
    TIMESTAMP_TYPE = (
        21,
        ErrorCode.INVALID_TIMESTAMP,
        "A producer may not set the timestamp type to LogAppendTime.",
    )
    # Kafka has no code for it. CORRUPT_MESSAGE would make producers send the same bytes again.
    DECOMPRESSION = (
        22,
        ErrorCode.UNKNOWN_SERVER_ERROR,
        "The batch's records cannot be decompressed.",
    )
    DECOMPRESSED_TOO_LARGE = (
        23,
        ErrorCode.MESSAGE_TOO_LARGE,
        "The batch's records are too large when decompressed.",
    )


#: Texts by number, for the hot lane.
REASONS: tuple[str, ...] = tuple(reason.text for reason in Reason)


class RecordError(NamedTuple):
    """What is wrong with one record, for `record_errors` of a Produce answer (v8+)."""

    batch_index: int
    message: str


class InvalidBatchError(KafkaError):
    """A batch that is refused. `record_index`: the first bad record, -1: the batch as a whole."""

    def __init__(
        self,
        reason: Reason,
        record_index: int = -1,
        record_errors: Sequence[RecordError] = (),
        detail: str = "",
    ) -> None:
        super().__init__(reason.error_code, f"{reason.text} {detail}".rstrip())
        self.reason = reason
        self.record_index = record_index
        self.record_errors = tuple(record_errors)
