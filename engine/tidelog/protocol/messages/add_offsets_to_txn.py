"""AddOffsetsToTxn (key 25): adds a group's offsets partition to a transaction.

v2  PRODUCER_FENCED
v4  TRANSACTION_ABORTABLE (KIP-890)
"""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import Request, Response, int16, int32, int64, string


class AddOffsetsToTxnRequest(Request, api=ApiKey.ADD_OFFSETS_TO_TXN):
    transactional_id: str = string()
    producer_id: int = int64()
    producer_epoch: int = int16()
    group_id: str = string()


class AddOffsetsToTxnResponse(Response, api=ApiKey.ADD_OFFSETS_TO_TXN):
    throttle_time_ms: int = int32()
    error_code: int = int16()
