"""FindCoordinator (key 10), versions 0-6.

Behaviour:
* The coordinator of a group is the leader of its partition of `__consumer_offsets`, that of a
  transactional id the leader of its partition of `__transaction_state`
  (coordinator/partitioning.py). The topic is created when the first client asks, and the answer
  waits for it.
* Other key types, share groups among them: 42.

Version notes: 1 key types and messages (a success says "NONE", as Kafka's does), 4 several keys in
one request, 6 share groups.
"""

from __future__ import annotations

from typing import Final

from tidelog.coordinator.partitioning import coordinator_partition
from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.handlers.nodes import live_addresses
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.find_coordinator import (
    Coordinator,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
)
from tidelog.types import GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC

API: Final = Api(ApiKey.FIND_COORDINATOR, 0, 6)

GROUP: Final = 0
TRANSACTION: Final = 1


async def handle(
    request: FindCoordinatorRequest, context: RequestContext
) -> FindCoordinatorResponse:
    if context.api_version >= 4:
        coordinators = [
            await _find(key, request.key_type, context) for key in request.coordinator_keys
        ]
        return FindCoordinatorResponse(coordinators=coordinators)
    found = await _find(request.key, request.key_type, context)
    return FindCoordinatorResponse(
        error_code=found.error_code,
        error_message=found.error_message if found.error_code else "NONE",
        node_id=found.node_id,
        host=found.host,
        port=found.port,
    )


def error_answer(
    request: FindCoordinatorRequest, code: ErrorCode, message: str | None, version: int
) -> FindCoordinatorResponse:
    if version >= 4:
        coordinators = [_error(key, code, message) for key in request.coordinator_keys]
        return FindCoordinatorResponse(coordinators=coordinators)
    return FindCoordinatorResponse(
        error_code=code, error_message=message or code.text, node_id=-1, host="", port=-1
    )


async def _find(key: str, key_type: int, context: RequestContext) -> Coordinator:
    try:
        if key_type == TRANSACTION:
            if not context.authorize(Operation.DESCRIBE, Resource.TRANSACTIONAL_ID, key):
                raise KafkaError(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
            return await _leader(key, TRANSACTION_STATE_TOPIC, context)
        if key_type != GROUP:
            raise KafkaError(ErrorCode.INVALID_REQUEST)
        if not context.authorize(Operation.DESCRIBE, Resource.GROUP, key):
            raise KafkaError(ErrorCode.GROUP_AUTHORIZATION_FAILED)
        return await _leader(key, GROUP_METADATA_TOPIC, context)
    except KafkaError as error:
        return _error(key, ErrorCode(error.error_code), error.message)


async def _leader(key: str, topic_name: str, context: RequestContext) -> Coordinator:
    """Who leads the key's partition of an internal topic."""
    if topic_name not in context.image.topics:
        codes = await context.services.topic_creation.create([topic_name])
        if codes[topic_name]:
            raise KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
    image = context.image
    topic = image.topics.get(topic_name)
    if topic is None:  # Created by somebody else; its delta is on its way to this node.
        raise KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
    partition = topic.partitions[coordinator_partition(key, len(topic.partitions))]
    address = live_addresses(image, context).get(partition.leader)
    if address is None:
        raise KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
    return Coordinator(key=key, node_id=address.node_id, host=address.host, port=address.port)


def _error(key: str, code: ErrorCode, message: str | None) -> Coordinator:
    return Coordinator(
        key=key,
        node_id=-1,
        host="",
        port=-1,
        error_code=code,
        error_message=message or code.text,
    )
