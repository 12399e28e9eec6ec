"""TxnOffsetCommit (key 28), versions 0-5: a producer commits offsets with its transaction.

Behaviour:
* Needs WRITE on the transactional id, READ on the group and on each topic.
* Topics and partitions that don't exist are refused here (error 3); the rest goes to the group
  coordinator, which asks the transaction's coordinator whether the transaction has the partition of
  `__consumer_offsets`, and writes offsets that count when the marker commits.
* A refusal of the group or of the transaction stands on every partition.

Version notes: 2 leader epochs, 3 member and generation are checked (KIP-447), 4
TRANSACTION_ABORTABLE, 5 the partition of `__consumer_offsets` joins the transaction by it
(KIP-890).
"""

from __future__ import annotations

from typing import Final

from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.handlers.partitions import codes_of, merged_codes
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitRequestTopic,
    TxnOffsetCommitResponse,
    TxnOffsetCommitResponsePartition,
    TxnOffsetCommitResponseTopic,
)

API: Final = Api(ApiKey.TXN_OFFSET_COMMIT, 0, 5)


async def handle(
    request: TxnOffsetCommitRequest, context: RequestContext
) -> TxnOffsetCommitResponse:
    if not context.authorize(Operation.WRITE, Resource.TRANSACTIONAL_ID, request.transactional_id):
        raise KafkaError(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    if not context.authorize(Operation.READ, Resource.GROUP, request.group_id):
        raise KafkaError(ErrorCode.GROUP_AUTHORIZATION_FAILED)
    topics = request.topics
    codes = [_resolve(topic, context) for topic in topics]
    accepted = [
        (position, _only(topic, codes[position]))
        for position, topic in enumerate(topics)
        if ErrorCode.NONE in codes[position]
    ]
    if accepted:
        request.topics = [topic for _, topic in accepted]
        try:
            answer = await context.services.groups.commit_transactional(request, context)
        except KafkaError as error:
            for position, topic in accepted:
                refused = [error.error_code] * len(topic.partitions)
                codes[position] = merged_codes(codes[position], refused)
        else:
            for (position, _), result in zip(accepted, answer.topics, strict=True):
                answered = [each.error_code for each in result.partitions]
                codes[position] = merged_codes(codes[position], answered)
    return TxnOffsetCommitResponse(
        topics=[_result(topic, code) for topic, code in zip(topics, codes, strict=True)]
    )


def error_answer(
    request: TxnOffsetCommitRequest, code: ErrorCode, message: str | None, version: int
) -> TxnOffsetCommitResponse:
    return TxnOffsetCommitResponse(
        topics=[_result(topic, [code] * len(topic.partitions)) for topic in request.topics]
    )


def _resolve(topic: TxnOffsetCommitRequestTopic, context: RequestContext) -> list[int]:
    """For each partition whether it can be committed for."""
    indexes = [each.partition_index for each in topic.partitions]
    if not context.authorize(Operation.READ, Resource.TOPIC, topic.name):
        return [ErrorCode.TOPIC_AUTHORIZATION_FAILED] * len(indexes)
    found = codes_of(context.image.topics.get(topic.name), indexes)
    return [found[index] for index in indexes]


def _only(topic: TxnOffsetCommitRequestTopic, codes: list[int]) -> TxnOffsetCommitRequestTopic:
    """The topic with the partitions that were not refused."""
    return TxnOffsetCommitRequestTopic(
        name=topic.name,
        partitions=[each for each, code in zip(topic.partitions, codes, strict=True) if code == 0],
    )


def _result(topic: TxnOffsetCommitRequestTopic, codes: list[int]) -> TxnOffsetCommitResponseTopic:
    return TxnOffsetCommitResponseTopic(
        name=topic.name,
        partitions=[
            TxnOffsetCommitResponsePartition(partition_index=each.partition_index, error_code=code)
            for each, code in zip(topic.partitions, codes, strict=True)
        ],
    )
