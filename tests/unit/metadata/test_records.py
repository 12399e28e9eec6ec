"""Change records: each has its own key, survives JSON and MessagePack, and knows what it ends."""

from __future__ import annotations

import msgspec
import pytest

from tidelog.errors import InvariantError
from tidelog.metadata.records import (
    ChangeRecord,
    ClusterRecord,
    ConfigRecord,
    EndMoveRecord,
    Endpoint,
    FeatureRecord,
    MoveRecord,
    NodeRecord,
    PartitionRecord,
    ProducerIdsRecord,
    QuotaRecord,
    RemoveNodeRecord,
    RemoveTopicRecord,
    TopicRecord,
    decode_record,
    encode_record,
    is_removal,
)

ID = bytes(range(16))

STORED: list[ChangeRecord] = [
    ClusterRecord("aaaaaaaaaaaaaaaaaaaaaa"),
    NodeRecord(1, 3, None, (Endpoint("PLAINTEXT", "", 9092),), "127.0.0.1", 9092, False, "node-1"),
    NodeRecord(2, 3, "r", (), "h", 1, False, "d", shutting_down=True, down=True),
    TopicRecord(ID, "täg"),
    PartitionRecord(ID, 7, (1, 2), (1,), 1, 4, 9, (3,), (2,)),
    ConfigRecord(2, "t", "retention.ms", "1000"),
    ConfigRecord(32, "a/b", "retention.ms", ""),
    QuotaRecord((("client-id", None), ("user", "a/b")), "consumer_byte_rate", 1.5),
    QuotaRecord((("user", "a/b"),), "consumer_byte_rate", 2.0),
    ProducerIdsRecord(2**62),
    FeatureRecord("metadata.version", 1),
    MoveRecord(ID, 7, 2, 1),
]
REMOVALS: list[ChangeRecord] = [
    RemoveNodeRecord(1),
    RemoveTopicRecord(ID),
    ConfigRecord(2, "t", "retention.ms", None),
    QuotaRecord((("user", "a/b"),), "consumer_byte_rate", None),
    FeatureRecord("metadata.version", 0),
    EndMoveRecord(ID, 7),
]


@pytest.mark.parametrize("record", STORED)
def test_stored_form_gives_the_record_back(record: ChangeRecord) -> None:
    assert decode_record(encode_record(record)) == record
    assert not is_removal(record)


@pytest.mark.parametrize("record", STORED + REMOVALS)
def test_records_travel_as_messagepack(record: ChangeRecord) -> None:
    data = msgspec.msgpack.encode(record)
    assert msgspec.msgpack.decode(data, type=ChangeRecord) == record


@pytest.mark.parametrize("record", REMOVALS)
def test_a_removal_has_no_stored_form(record: ChangeRecord) -> None:
    assert is_removal(record)
    with pytest.raises(InvariantError):
        encode_record(record)


def test_keys_differ_and_a_removal_has_the_key_of_what_it_ends() -> None:
    assert len({record.store_key for record in STORED}) == len(STORED)
    by_kind = {record.store_key for record in STORED}
    assert {record.store_key for record in REMOVALS} <= by_kind


def test_names_with_slashes_do_not_collide() -> None:
    one = ConfigRecord(32, "x/b", "a", "1")
    other = ConfigRecord(32, "b", "a/x", "1")
    assert one.store_key != ConfigRecord(32, "b", "a", "1").store_key
    # Config names have no slash, so that the first two of three parts are never ambiguous.
    assert one.store_key[1].split("/", 2) == ["32", "a", "x/b"]
    assert other.store_key[1].split("/", 2)[1] != "a/x"


def test_a_removed_topic_ends_its_partitions_only() -> None:
    kind, prefix = RemoveTopicRecord(ID).ends
    partition = PartitionRecord(ID, 12, (1,), (1,), 1, 0, 0)
    assert partition.store_key[0] == kind
    assert partition.store_key[1].startswith(prefix)
    other = PartitionRecord(bytes(16), 12, (1,), (1,), 1, 0, 0)
    assert not other.store_key[1].startswith(prefix)


@pytest.mark.parametrize("text", ["", "{}", '{"type":"topic"}', '{"type":"nothing"}', "[1]"])
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_record(text)


def test_a_node_stored_before_it_could_shut_down() -> None:
    old = (
        b'{"type":"node","node_id":1,"epoch":3,"rack":null,"endpoints":[],"internode_host":"h",'
        b'"internode_port":1,"fenced":false,"directory":"d"}'
    )
    assert decode_record(old) == NodeRecord(1, 3, None, (), "h", 1, False, "d")
