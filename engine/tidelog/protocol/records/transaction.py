"""Records of __transaction_state.

Framing: tidelog.protocol.records. Version 1 of the value adds tagged fields: ids and epochs of a
transaction that bumps its epoch at the end (KIP-890), and the client's transaction version.
"""

from typing import Final

from tidelog.protocol.schema import INT32, Data, Struct, array, int8, int16, int32, int64, string


class TransactionLogKey(Data, versions="0"):
    transactional_id: str = string()


class PartitionsSchema(Struct):
    topic: str = string()
    partition_ids: list[int] = array(INT32)


class TransactionLogValue(Data, versions="0-1", flexible="1+"):
    producer_id: int = int64()
    previous_producer_id: int = int64("1+", default=-1, tag=0)
    next_producer_id: int = int64("1+", default=-1, tag=1)
    producer_epoch: int = int16()
    next_producer_epoch: int = int16("1+", default=-1, tag=3)
    transaction_timeout_ms: int = int32()
    transaction_status: int = int8()
    transaction_partitions: list[PartitionsSchema] | None = array(PartitionsSchema, nullable="0+")
    transaction_last_update_timestamp_ms: int = int64()
    transaction_start_timestamp_ms: int = int64()
    client_transaction_version: int = int16("1+", tag=2)


RECORD_TYPES: Final[dict[int, tuple[type[Data], type[Data]]]] = {
    0: (TransactionLogKey, TransactionLogValue),
}
