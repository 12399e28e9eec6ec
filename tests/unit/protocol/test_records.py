"""Framing of the internal topics' records, with bytes that kafka-dump-log and Burrow would read."""

import pytest

from tidelog.errors import MalformedMessageError, UnsupportedVersionError
from tidelog.protocol import records
from tidelog.protocol.records import consumer_protocol, control, group, share, streams, transaction
from tidelog.protocol.schema import Data

KEY = bytes.fromhex("0001 0001 67 0001 74 00000002")
VALUE_V3 = bytes.fromhex("0003 0000000000000005 00000001 0001 6d 0000000000000007")


def test_a_committed_offset_byte_for_byte() -> None:
    key = group.OffsetCommitKey(group="g", topic="t", partition=2)
    value = group.OffsetCommitValue(offset=5, leader_epoch=1, metadata="m", commit_timestamp=7)
    assert records.encode_key(1, key) == KEY
    assert records.decode_key(group.RECORD_TYPES, KEY) == (1, key)
    assert records.encode_versioned(value, 3) == VALUE_V3
    assert records.decode_value(group.RECORD_TYPES, 1, VALUE_V3) == value


def test_the_older_type_of_a_committed_offset() -> None:
    record_type, key = records.decode_key(group.RECORD_TYPES, b"\x00\x00" + KEY[2:])
    assert record_type == 0
    assert isinstance(key, group.LegacyOffsetCommitKey)


def test_tagged_fields_of_a_transaction() -> None:
    value = transaction.TransactionLogValue(
        producer_id=1, next_producer_epoch=4, transaction_partitions=None
    )
    data = records.encode_versioned(value, 1)
    assert data.endswith(bytes.fromhex("01 03 02 0004"))
    assert records.decode_value(transaction.RECORD_TYPES, 0, data) == value


def test_bytes_behind_a_known_version_are_ignored() -> None:
    subscription = consumer_protocol.ConsumerProtocolSubscription(topics=["a"], rack_id="r")
    data = records.encode_versioned(subscription, 3)
    read = records.decode_versioned(consumer_protocol.ConsumerProtocolSubscription, data + b"new")
    assert read == subscription


def test_topics_are_read_from_a_subscription_of_any_version() -> None:
    subscription = consumer_protocol.ConsumerProtocolSubscription(topics=["a", "b"])
    for version in range(4):
        data = records.encode_versioned(subscription, version)
        assert consumer_protocol.subscribed_topics(data) == ["a", "b"]
    later = b"\x00\x09" + records.encode_versioned(subscription, 0)[2:] + b"what comes then"
    assert consumer_protocol.subscribed_topics(later) == ["a", "b"]
    for data in (b"", b"\0", b"\0\0\0\0\0\1"):
        with pytest.raises(MalformedMessageError):
            consumer_protocol.subscribed_topics(data)


def test_what_consumers_say_in_any_version() -> None:
    subscription = consumer_protocol.ConsumerProtocolSubscription(topics=["a"])
    later = b"\x00\x09" + records.encode_versioned(subscription, 3)[2:] + b"more"
    assert consumer_protocol.decode_subscription(later) == subscription
    assert consumer_protocol.subscription_version(later) == 9
    partition = consumer_protocol.TopicPartition(topic="a", partitions=[1])
    assignment = consumer_protocol.ConsumerProtocolAssignment(assigned_partitions=[partition])
    for version, written in ((0, 0), (3, 3), (9, 3), (-1, 0)):
        data = consumer_protocol.encode_assignment(assignment, version)
        assert records.read_number(data) == written
        assert consumer_protocol.decode_assignment(data) == assignment
    with pytest.raises(MalformedMessageError):
        consumer_protocol.decode_subscription(b"\xff\xff\0\0\0\0")


def test_a_marker_byte_for_byte() -> None:
    marker = control.EndTxnMarker(coordinator_epoch=6)
    assert records.encode_versioned(marker, 0) == bytes.fromhex("0000 00000006")
    key = control.ControlRecordTypeSchema(type=1)
    assert records.encode_versioned(key, 0) == bytes.fromhex("0000 0001")


@pytest.mark.parametrize("data", [b"", b"\x00"])
def test_too_short(data: bytes) -> None:
    with pytest.raises(MalformedMessageError, match="no key or value"):
        records.read_number(data)


def test_unknown_types_and_versions() -> None:
    with pytest.raises(UnsupportedVersionError, match="record type 99"):
        records.decode_key(group.RECORD_TYPES, b"\x00\x63")
    with pytest.raises(UnsupportedVersionError, match="no version 9"):
        records.decode_value(group.RECORD_TYPES, 1, b"\x00\x09")


@pytest.mark.parametrize("length", range(2, len(KEY)))
def test_truncated(length: int) -> None:
    with pytest.raises(MalformedMessageError):
        records.decode_key(group.RECORD_TYPES, KEY[:length])


def test_types_of_one_topic_do_not_clash() -> None:
    families = (group, share, streams)
    numbers = [number for family in families for number in family.RECORD_TYPES]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("module", [group, share, streams, transaction])
def test_every_struct_has_a_type(module: object) -> None:
    found = {
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Data) and value is not Data
    }
    listed = [cls for pair in module.RECORD_TYPES.values() for cls in pair]  # type: ignore[attr-defined]
    assert found == set(listed)
