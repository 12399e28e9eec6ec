"""Records of consumer groups, to bytes and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tidelog.coordinator.group import consumer_records as records_of
from tidelog.coordinator.group.consumer_member import (
    ClassicMembership,
    ConsumerMember,
    MemberState,
)
from tidelog.coordinator.shard import CoordinatorRecord
from tidelog.protocol.records import decode_key, decode_value
from tidelog.protocol.records.group import RECORD_TYPES

T, U = b"t" * 16, b"u" * 16
MEMBER = ConsumerMember(
    "m",
    instance_id="one",
    rack_id="r",
    client_id="c",
    client_host="/h",
    rebalance_timeout_ms=7,
    topic_names=frozenset({"t", "u"}),
    topic_regex="x.*",
    server_assignor="range",
    classic=ClassicMembership(5, (("range", b"meta"),)),
    epoch=4,
    previous_epoch=3,
    state=MemberState.UNREVOKED_PARTITIONS,
    assigned={(T, 1): 2, (U, 0): 4},
    revoking={(T, 0): 2},
)


def read(record: CoordinatorRecord) -> tuple[int, Any, Any]:
    record_type, key = decode_key(RECORD_TYPES, record.key)
    value = None
    if record.value is not None:
        value = decode_value(RECORD_TYPES, record_type, record.value)
    return record_type, key, value


def test_what_a_member_said_is_read_back() -> None:
    for member in (MEMBER, replace(MEMBER, classic=None, topic_regex=None, instance_id=None)):
        record_type, key, value = read(records_of.member_record("g", member))
        assert (record_type, key.group_id, key.member_id) == (5, "g", "m")
        fields: Any = records_of.said_by(ConsumerMember("m"), value)
        expected = replace(
            member, epoch=0, previous_epoch=-1, state=MemberState.STABLE, assigned={}, revoking={}
        )
        assert replace(ConsumerMember("m"), **fields) == expected


def test_what_a_member_has_is_read_back() -> None:
    record_type, _, value = read(records_of.current_record("g", MEMBER))
    assert record_type == 8
    fields: Any = records_of.had_by(value)
    assert replace(ConsumerMember("m"), **fields).assigned == MEMBER.assigned
    assert (fields["epoch"], fields["previous_epoch"], fields["state"]) == (4, 3, 1)
    assert fields["revoking"] == MEMBER.revoking
    gone: Any = records_of.had_by(None)
    assert (gone["epoch"], gone["assigned"]) == (records_of.LEFT_EPOCH, {})


def test_older_records_have_no_epochs_and_newer_ones_other_states() -> None:
    _, _, value = read(records_of.current_record("g", MEMBER))
    for topic in value.assigned_partitions:
        topic.assignment_epochs = None
    value.state = 99
    fields: Any = records_of.had_by(value)
    assert fields["assigned"] == {(T, 1): 4, (U, 0): 4}
    assert fields["state"] is MemberState.UNRELEASED_PARTITIONS


def test_the_other_records() -> None:
    target = frozenset({(T, 1), (T, 0)})
    record_type, key, value = read(records_of.target_record("g", "m", target))
    assert (record_type, key.member_id) == (7, "m")
    assert [(t.topic_id, t.partitions) for t in value.topic_partitions] == [(T, [0, 1])]
    record_type, _, value = read(records_of.group_epoch_record("g", 3, -5))
    assert (record_type, value.epoch, value.metadata_hash) == (3, 3, -5)
    record_type, _, value = read(records_of.target_epoch_record("g", 3, 77))
    assert (record_type, value.assignment_epoch, value.assignment_timestamp) == (6, 3, 77)
    record_type, key, value = read(records_of.regex_record("g", "x.*", {"xb", "xa"}, 9, 77))
    assert (record_type, key.regular_expression, value.topics) == (16, "x.*", ["xa", "xb"])


def test_tombstones_have_the_keys_of_what_they_remove() -> None:
    for record, tombstone in (
        (records_of.group_epoch_record("g", 1, 0), records_of.group_tombstone("g")),
        (records_of.member_record("g", MEMBER), records_of.member_tombstone("g", "m")),
        (records_of.target_epoch_record("g", 1, 0), records_of.target_epoch_tombstone("g")),
        (records_of.target_record("g", "m", frozenset()), records_of.target_tombstone("g", "m")),
        (records_of.current_record("g", MEMBER), records_of.current_tombstone("g", "m")),
        (records_of.regex_record("g", "x", (), 0, 0), records_of.regex_tombstone("g", "x")),
    ):
        assert (tombstone.key, tombstone.value) == (record.key, None)
