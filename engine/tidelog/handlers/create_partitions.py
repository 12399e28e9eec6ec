"""CreatePartitions (key 37), versions 0-3.

Behaviour: any node takes it and passes it to the controller; the answer comes when the new leaders
serve. A topic that occurs twice gets one answer, error 42, as in Kafka.

Version notes: 2 is the first flexible version, 3 allows a quota's error (KIP-599).
"""

from __future__ import annotations

from typing import Final

from tidelog.controller.requests import CreatePartitions, CreatePartitionsAnswer, MorePartitions
from tidelog.handlers.api import Api, message_of
from tidelog.handlers.authorization import Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.handlers.controller_calls import ask_controller
from tidelog.handlers.mutations import QUOTA_EXCEEDED, mutations, owe
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopic,
    CreatePartitionsTopicResult,
)
from tidelog.quotas.clients import Mutations

API: Final = Api(ApiKey.CREATE_PARTITIONS, 0, 3)

#: From this version on a quota refuses partitions (KIP-599).
_STRICT_FROM: Final = 3


async def handle(
    request: CreatePartitionsRequest, context: RequestContext
) -> CreatePartitionsResponse:
    results: dict[str, CreatePartitionsTopicResult] = {}
    wanted: list[MorePartitions] = []
    for topic in request.topics:
        if context.authorize(Operation.ALTER, Resource.TOPIC, topic.name):
            wanted.append(_more_partitions(topic))
        else:
            results[topic.name] = _result(topic.name, ErrorCode.TOPIC_AUTHORIZATION_FAILED)
    allowed = mutations(context, _STRICT_FROM)
    if allowed is not None:
        wanted = await _within(allowed, wanted, request, context, results)
        owe(context, allowed)
    if wanted:
        answer = await ask_controller(
            context.services.controller,
            CreatePartitions(tuple(wanted), request.validate_only),
            CreatePartitionsAnswer,
            request.timeout_ms,
        )
        for item in answer.topics:
            results[item.name] = _result(item.name, item.error_code, item.error_message)
    return CreatePartitionsResponse(results=list(results.values()))


async def _within(
    allowed: Mutations,
    wanted: list[MorePartitions],
    request: CreatePartitionsRequest,
    context: RequestContext,
    results: dict[str, CreatePartitionsTopicResult],
) -> list[MorePartitions]:
    """What of it goes on to the controller: all but what its quota does not allow, which has its
    refusal. Only what would be made counts, so the controller is asked first.
    """
    answer = await ask_controller(
        context.services.controller,
        CreatePartitions(tuple(wanted), validate_only=True),
        CreatePartitionsAnswer,
        request.timeout_ms,
    )
    counts = {topic.name: topic.partition_count for topic in wanted}
    refused = set()
    for item in answer.topics:
        topic = context.image.topics.get(item.name)
        more = counts[item.name] - (len(topic.partitions) if topic is not None else 0)
        if item.error_code == ErrorCode.NONE and not allowed.take(more):
            refused.add(item.name)
            results[item.name] = _result(item.name, QUOTA_EXCEEDED)
    return [topic for topic in wanted if topic.name not in refused]


def error_answer(
    request: CreatePartitionsRequest, code: ErrorCode, message: str | None, version: int
) -> CreatePartitionsResponse:
    names = dict.fromkeys(topic.name for topic in request.topics)
    return CreatePartitionsResponse(results=[_result(name, code, message) for name in names])


def _more_partitions(topic: CreatePartitionsTopic) -> MorePartitions:
    assignments = topic.assignments
    return MorePartitions(
        topic.name,
        topic.count,
        None if assignments is None else tuple(tuple(each.broker_ids) for each in assignments),
    )


def _result(name: str, code: int, message: str | None = None) -> CreatePartitionsTopicResult:
    return CreatePartitionsTopicResult(
        name=name, error_code=code, error_message=message_of(code, message)
    )
