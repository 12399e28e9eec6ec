"""The shard: replay, unknown records (its requests: test_classic.py,
test_offset_operations.py)."""

from __future__ import annotations

import pytest

from tests.unit.coordinator.group.shard_harness import ShardHarness
from tidelog.coordinator.group.records import CommittedOffset, group_record, offset_record
from tidelog.coordinator.shard import CoordinatorRecord
from tidelog.errors import KafkaError
from tidelog.protocol.messages.leave_group import LeaveGroupRequest
from tidelog.protocol.records.group import GroupMetadataValue


def test_records_of_other_kinds_are_skipped() -> None:
    h = ShardHarness()
    for key in (b"", b"\0", b"\x7f\xff", b"\0\x03\0\x01g", b"\0\x05garbage that is no key"):
        try:
            h.shard.replay(CoordinatorRecord(key, None))
        except Exception as error:
            pytest.fail(f"{key!r}: {error!r}")
    assert h.shard.groups == {}


def test_tombstones_take_offsets_and_groups_away() -> None:
    h = ShardHarness()
    offset = offset_record("g", "t", 0, CommittedOffset(1, -1, "", 0))
    group = group_record("g", GroupMetadataValue(protocol_type="consumer", generation=1))
    for record in (offset, group):
        h.shard.replay(record)
    assert h.committed() == 1
    h.shard.replay(CoordinatorRecord(offset.key, None))
    assert h.committed() == -1
    h.shard.replay(CoordinatorRecord(group.key, None))
    assert "g" not in h.shard.groups


def test_a_group_has_a_name() -> None:
    h = ShardHarness()
    with pytest.raises(KafkaError):
        h.shard.leave(LeaveGroupRequest(group_id=""), 3, 0)
