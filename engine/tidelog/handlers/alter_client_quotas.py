"""AlterClientQuotas (key 49), versions 0-1 (KIP-546): sets and removes client quotas.

Behaviour: any node takes it and passes it to the controller; the answer comes when every live node
goes by the new quotas. See controller/quotas.py. An entity that occurs twice gets one answer, and
so does a type that occurs twice within one entity: its last name counts, as in Kafka.

Version notes: 1 is the first flexible version.
"""

from __future__ import annotations

from typing import Final

from tidelog.controller.requests import AlterQuotas, AlterQuotasAnswer, QuotaChange
from tidelog.errors import KafkaError
from tidelog.handlers.api import Api, message_of
from tidelog.handlers.authorization import CLUSTER_NAME, Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.handlers.controller_calls import ask_controller
from tidelog.metadata.quotas import entity_of
from tidelog.metadata.records import QuotaEntity
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.alter_client_quotas import (
    AlterClientQuotasRequest,
    AlterClientQuotasResponse,
    AlterClientQuotasResponseEntryData,
    EntityData,
    EntryData,
)

API: Final = Api(ApiKey.ALTER_CLIENT_QUOTAS, 0, 1)


async def handle(
    request: AlterClientQuotasRequest, context: RequestContext
) -> AlterClientQuotasResponse:
    if not context.authorize(Operation.ALTER_CONFIGS, Resource.CLUSTER, CLUSTER_NAME):
        raise KafkaError(ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
    changes = tuple(
        QuotaChange(
            _entity(entry), tuple((op.key, None if op.remove else op.value) for op in entry.ops)
        )
        for entry in request.entries
    )
    answer = await ask_controller(
        context.services.controller,
        AlterQuotas(changes, request.validate_only),
        AlterQuotasAnswer,
    )
    return AlterClientQuotasResponse(
        entries=[
            _result(item.entity, item.error_code, item.error_message) for item in answer.entries
        ]
    )


def error_answer(
    request: AlterClientQuotasRequest, code: ErrorCode, message: str | None, version: int
) -> AlterClientQuotasResponse:
    entities = dict.fromkeys(_entity(entry) for entry in request.entries)
    return AlterClientQuotasResponse(entries=[_result(each, code, message) for each in entities])


def _entity(entry: EntryData) -> QuotaEntity:
    return entity_of((part.entity_type, part.entity_name) for part in entry.entity)


def _result(
    entity: QuotaEntity, code: int, message: str | None
) -> AlterClientQuotasResponseEntryData:
    return AlterClientQuotasResponseEntryData(
        error_code=code,
        error_message=message_of(code, message),
        entity=[EntityData(entity_type=kind, entity_name=name) for kind, name in entity],
    )
