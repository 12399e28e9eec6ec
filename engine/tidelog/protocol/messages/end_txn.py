"""EndTxn (key 26)."""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import Request, Response, boolean, int16, int32, int64, string


class EndTxnRequest(Request, api=ApiKey.END_TXN):
    """EndTxn: the question."""

    transactional_id: str = string()
    producer_id: int = int64()
    producer_epoch: int = int16()
    committed: bool = boolean()


class EndTxnResponse(Response, api=ApiKey.END_TXN):
    """EndTxn: the answer."""

    throttle_time_ms: int = int32()
    error_code: int = int16()
    producer_id: int = int64("5+", default=-1, ignorable=True)
    producer_epoch: int = int16("5+", default=-1, ignorable=True)
