"""Which error codes an answer holds."""

from __future__ import annotations

from tidelog.handlers.error_counts import error_codes
from tidelog.protocol.messages.heartbeat import HeartbeatResponse
from tidelog.protocol.messages.metadata import MetadataResponse
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)


def test_an_answer_without_errors_has_none() -> None:
    assert list(error_codes(HeartbeatResponse())) == []


def test_the_code_of_the_whole_answer() -> None:
    assert list(error_codes(HeartbeatResponse(error_code=27))) == [27]


def test_the_codes_of_its_parts() -> None:
    answer = OffsetCommitResponse(
        topics=[
            OffsetCommitResponseTopic(
                name=name,
                partitions=[
                    OffsetCommitResponsePartition(partition_index=i, error_code=code)
                    for i, code in enumerate(codes)
                ],
            )
            for name, codes in (("a", (0, 12)), ("b", (3, 12)))
        ]
    )
    assert list(error_codes(answer)) == [12, 3, 12]


def test_an_array_may_be_null() -> None:
    answer = MetadataResponse(error_code=1)
    assert list(error_codes(answer)) == [1]
