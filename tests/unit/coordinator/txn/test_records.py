"""Records of __transaction_state: Kafka's bytes, both versions."""

from __future__ import annotations

import pytest

from tests.unit.coordinator.txn.txn_harness import T0, T1
from tidelog.coordinator.txn.records import (
    tombstone,
    transaction_of,
    transaction_record,
    value_version,
)
from tidelog.coordinator.txn.states import TransactionState
from tidelog.coordinator.txn.transaction import Transaction
from tidelog.errors import MalformedMessageError
from tidelog.protocol.records import decode_value
from tidelog.protocol.records.transaction import RECORD_TYPES, TransactionLogValue

FULL = Transaction(
    "x", 5, 7, 60_000, TransactionState.PREPARE_COMMIT, frozenset({T0, T1}), 20, 30, 4, 9, 2
)  # fmt: skip


def read(value: bytes | None) -> Transaction:
    assert value is not None
    decoded = decode_value(RECORD_TYPES, 0, value)
    assert isinstance(decoded, TransactionLogValue)
    return transaction_of("x", decoded)


@pytest.mark.parametrize(("level", "version"), [(0, 0), (1, 1), (2, 1)])
def test_the_version_follows_the_feature(level: int, version: int) -> None:
    assert value_version(level) == version


def test_version_1_keeps_everything() -> None:
    assert read(transaction_record(FULL, 1).value) == FULL


def test_version_0_keeps_what_it_has_fields_for() -> None:
    record = transaction_record(FULL, 0)
    assert record.key == b"\x00\x00\x00\x01x"
    assert record.value == (
        b"\x00\x00" + b"\x00" * 7 + b"\x05" + b"\x00\x07" + (60_000).to_bytes(4, "big") + b"\x02"
        b"\x00\x00\x00\x01" + b"\x00\x01t" + b"\x00\x00\x00\x02" + bytes(4) + b"\x00\x00\x00\x01"
        + (30).to_bytes(8, "big") + (20).to_bytes(8, "big")
    )  # fmt: skip
    again = read(record.value)
    assert (again.previous_producer_id, again.next_producer_id) == (-1, -1)
    assert again.client_transaction_version == 0


def test_without_a_transaction_the_partitions_are_null() -> None:
    empty = Transaction("x", 5, 7, 60_000, TransactionState.EMPTY)
    value = transaction_record(empty, 0).value
    assert value is not None
    assert value[17:21] == b"\xff\xff\xff\xff"
    assert read(value) == empty


def test_a_state_that_does_not_exist() -> None:
    value = bytearray(transaction_record(FULL, 0).value or b"")
    value[16] = 8
    with pytest.raises(MalformedMessageError):
        read(bytes(value))


def test_a_tombstone() -> None:
    assert tombstone("x") == (b"\x00\x00\x00\x01x", None)
