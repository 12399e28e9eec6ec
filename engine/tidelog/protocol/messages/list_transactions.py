"""ListTransactions (key 66): the transactional ids that this node coordinates (KIP-664).

v1  filter by duration (KIP-994)
v2  filter by a pattern (KIP-1152)
"""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import (
    INT64,
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


class ListTransactionsRequest(Request, api=ApiKey.LIST_TRANSACTIONS):
    """Empty filters, and a duration of -1, let everything pass."""

    state_filters: list[str] = array(STRING)
    producer_id_filters: list[int] = array(INT64)
    duration_filter: int = int64("1+", default=-1)
    transactional_id_pattern: str | None = string("2+", nullable="2+", default=None)


class TransactionState(Struct):
    transactional_id: str = string()
    producer_id: int = int64()
    transaction_state: str = string()


class ListTransactionsResponse(Response, api=ApiKey.LIST_TRANSACTIONS):
    throttle_time_ms: int = int32()
    error_code: int = int16()
    unknown_state_filters: list[str] = array(STRING)
    transaction_states: list[TransactionState] = array(TransactionState)
