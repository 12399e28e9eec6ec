"""DeleteTopics (key 20): deletes topics, by name or id.

v1  throttle_time_ms
v5  error_message, THROTTLING_QUOTA_EXCEEDED (KIP-599)
v6  topics with name or topic_id (KIP-516)
"""

from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import (
    STRING,
    Request,
    Response,
    Struct,
    array,
    int16,
    int32,
    string,
    uuid,
)


class DeleteTopicState(Struct):
    name: str | None = string(nullable="6+", default=None)
    topic_id: bytes = uuid()


class DeleteTopicsRequest(Request, api=ApiKey.DELETE_TOPICS):
    topics: list[DeleteTopicState] = array(DeleteTopicState, "6+")
    topic_names: list[str] = array(STRING, "0-5", ignorable=True)
    timeout_ms: int = int32()


class DeletableTopicResult(Struct):
    name: str | None = string(nullable="6+")
    topic_id: bytes = uuid("6+", ignorable=True)
    error_code: int = int16()
    error_message: str | None = string("5+", nullable="5+", default=None, ignorable=True)


class DeleteTopicsResponse(Response, api=ApiKey.DELETE_TOPICS):
    throttle_time_ms: int = int32(ignorable=True)
    responses: list[DeletableTopicResult] = array(DeletableTopicResult)
