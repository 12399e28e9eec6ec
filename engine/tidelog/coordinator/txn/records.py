"""The records of `__transaction_state`: to bytes and back.

Pure. Kafka's own key and value, so that its console consumer's formatter reads them. Version 0 of
the value until transaction.version 1 is finalized (KIP-584: an older node must be able to read it).
"""

from __future__ import annotations

from typing import Final

from tidelog.coordinator.shard import CoordinatorRecord
from tidelog.coordinator.txn.states import TransactionState
from tidelog.coordinator.txn.transaction import TopicPartition, Transaction
from tidelog.errors import MalformedMessageError
from tidelog.protocol.records import encode_key, encode_versioned
from tidelog.protocol.records.transaction import (
    PartitionsSchema,
    TransactionLogKey,
    TransactionLogValue,
)

TRANSACTION_KEY: Final = 0


def value_version(transaction_version: int) -> int:
    """The version of a value at this level of transaction.version."""
    return 1 if transaction_version >= 1 else 0


def transaction_record(transaction: Transaction, version: int) -> CoordinatorRecord:
    """A transactional id as it is now, in a version of the value."""
    value = TransactionLogValue(
        producer_id=transaction.producer_id,
        producer_epoch=transaction.producer_epoch,
        transaction_timeout_ms=transaction.timeout_ms,
        transaction_status=transaction.state,
        transaction_partitions=_topics(transaction),
        transaction_last_update_timestamp_ms=transaction.last_update_timestamp_ms,
        transaction_start_timestamp_ms=transaction.start_timestamp_ms,
    )
    if version >= 1:
        value.previous_producer_id = transaction.previous_producer_id
        value.next_producer_id = transaction.next_producer_id
        value.client_transaction_version = transaction.client_transaction_version
    return CoordinatorRecord(_key(transaction.transactional_id), encode_versioned(value, version))


def tombstone(transactional_id: str) -> CoordinatorRecord:
    """A transactional id is no more."""
    return CoordinatorRecord(_key(transactional_id), None)


def transaction_of(transactional_id: str, value: TransactionLogValue) -> Transaction:
    """What a record says. Raises MalformedMessageError for a state that does not exist."""
    try:
        state = TransactionState(value.transaction_status)
    except ValueError:
        raise MalformedMessageError(
            f"{transactional_id}: there is no state {value.transaction_status}"
        ) from None
    return Transaction(
        transactional_id=transactional_id,
        producer_id=value.producer_id,
        producer_epoch=value.producer_epoch,
        timeout_ms=value.transaction_timeout_ms,
        state=state,
        partitions=frozenset(
            TopicPartition(topic.topic, index)
            for topic in value.transaction_partitions or ()
            for index in topic.partition_ids
        ),
        start_timestamp_ms=value.transaction_start_timestamp_ms,
        last_update_timestamp_ms=value.transaction_last_update_timestamp_ms,
        previous_producer_id=value.previous_producer_id,
        next_producer_id=value.next_producer_id,
        client_transaction_version=value.client_transaction_version,
    )


def _key(transactional_id: str) -> bytes:
    return encode_key(TRANSACTION_KEY, TransactionLogKey(transactional_id=transactional_id))


def _topics(transaction: Transaction) -> list[PartitionsSchema] | None:
    """Sorted, so that equal transactions have equal records; null without a transaction."""
    if transaction.state is TransactionState.EMPTY:
        return None
    topics: dict[str, list[int]] = {}
    for topic, index in sorted(transaction.partitions):
        topics.setdefault(topic, []).append(index)
    return [PartitionsSchema(topic=name, partition_ids=ids) for name, ids in topics.items()]
