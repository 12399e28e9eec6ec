"""AddOffsetsToTxn (key 25)."""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import Request, Response, int16, int32, int64, string


class AddOffsetsToTxnRequest(Request, api=ApiKey.ADD_OFFSETS_TO_TXN):
    """AddOffsetsToTxn: the question."""

    transactional_id: str = string()
    producer_id: int = int64()
    producer_epoch: int = int16()
    group_id: str = string()


class AddOffsetsToTxnResponse(Response, api=ApiKey.ADD_OFFSETS_TO_TXN):
    """AddOffsetsToTxn: the answer."""

    throttle_time_ms: int = int32()
    error_code: int = int16()
