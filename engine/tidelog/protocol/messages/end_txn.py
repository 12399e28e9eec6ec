"""EndTxn (key 26): commits or aborts a transaction.

v2  PRODUCER_FENCED
v4  TRANSACTION_ABORTABLE (KIP-890)
v5  a new epoch after each transaction (KIP-890)
"""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import Request, Response, boolean, int16, int32, int64, string


class EndTxnRequest(Request, api=ApiKey.END_TXN):
    transactional_id: str = string()
    producer_id: int = int64()
    producer_epoch: int = int16()
    committed: bool = boolean()


class EndTxnResponse(Response, api=ApiKey.END_TXN):
    throttle_time_ms: int = int32()
    error_code: int = int16()
    producer_id: int = int64("5+", default=-1, ignorable=True)
    producer_epoch: int = int16("5+", default=-1, ignorable=True)
