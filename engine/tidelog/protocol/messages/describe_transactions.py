"""DescribeTransactions (key 65): state of transactional ids (KIP-664)."""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import (
    INT32,
    STRING,
    Request,
    Response,
    Struct,
    array,
    int16,
    int32,
    int64,
    string,
)


class DescribeTransactionsRequest(Request, api=ApiKey.DESCRIBE_TRANSACTIONS):
    transactional_ids: list[str] = array(STRING)


class TopicData(Struct):
    topic: str = string()
    partitions: list[int] = array(INT32)


class TransactionState(Struct):
    error_code: int = int16()
    transactional_id: str = string()
    transaction_state: str = string()
    transaction_timeout_ms: int = int32()
    transaction_start_time_ms: int = int64()
    producer_id: int = int64()
    producer_epoch: int = int16()
    topics: list[TopicData] = array(TopicData)


class DescribeTransactionsResponse(Response, api=ApiKey.DESCRIBE_TRANSACTIONS):
    throttle_time_ms: int = int32()
    transaction_states: list[TransactionState] = array(TransactionState)
