"""Records of __consumer_offsets, in the versions that Kafka writes."""

from __future__ import annotations

import pytest

from tidelog.coordinator.group.records import CommittedOffset, group_record, offset_record
from tidelog.protocol.records import decode_key, decode_value, read_number
from tidelog.protocol.records.group import RECORD_TYPES, GroupMetadataValue


@pytest.mark.parametrize(("expire", "version"), [(-1, 4), (99, 1)])
def test_offsets(expire: int, version: int) -> None:
    committed = CommittedOffset(7, 3, "note", 50, expire, b"i" * 16)
    record = offset_record("g", "t", 2, committed)
    assert record.value is not None
    record_type, key = decode_key(RECORD_TYPES, record.key)
    value = decode_value(RECORD_TYPES, record_type, record.value)
    assert (record_type, read_number(record.value)) == (1, version)
    assert repr(key) == "OffsetCommitKey(group='g', topic='t', partition=2)"
    assert (value.offset, value.metadata, value.commit_timestamp) == (7, "note", 50)  # type: ignore[attr-defined]
    if version == 4:
        assert (value.leader_epoch, value.topic_id) == (3, b"i" * 16)  # type: ignore[attr-defined]
    else:
        assert value.expire_timestamp == 99  # type: ignore[attr-defined]


def test_groups() -> None:
    record = group_record("g", GroupMetadataValue(protocol_type="consumer", generation=4))
    assert record.value is not None
    record_type, key = decode_key(RECORD_TYPES, record.key)
    assert (record_type, read_number(record.value)) == (2, 3)
    assert repr(key) == "GroupMetadataKey(group='g')"
