"""InitProducerId (key 22): gives out a producer id, and fences earlier users of a transactional id.

v3  asking for the next epoch (KIP-360)
v4  PRODUCER_FENCED
v5  TRANSACTION_ABORTABLE (KIP-890)
v6  two-phase commit (KIP-939): not advertised
"""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import Request, Response, boolean, int16, int32, int64, string


class InitProducerIdRequest(Request, api=ApiKey.INIT_PRODUCER_ID):
    transactional_id: str | None = string(nullable="0+")
    transaction_timeout_ms: int = int32()
    producer_id: int = int64("3+", default=-1)
    producer_epoch: int = int16("3+", default=-1)
    enable2_pc: bool = boolean("6+")
    keep_prepared_txn: bool = boolean("6+")


class InitProducerIdResponse(Response, api=ApiKey.INIT_PRODUCER_ID):
    throttle_time_ms: int = int32(ignorable=True)
    error_code: int = int16()
    producer_id: int = int64(default=-1)
    producer_epoch: int = int16()
    ongoing_txn_producer_id: int = int64("6+", default=-1)
    ongoing_txn_producer_epoch: int = int16("6+", default=-1)
