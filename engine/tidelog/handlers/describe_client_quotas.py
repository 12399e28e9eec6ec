"""DescribeClientQuotas (key 48), versions 0-1 (KIP-546): the client quotas that fit a filter.

Behaviour:
* Every component of the filter has to fit: exactly that name, the default (no name), or any name,
  the default included. With strict, entities of further types are left out.
* Without components all entities fit; with strict then none does.
* An unknown type of entity is error 35, any other fault of the filter 42.

Version notes: 1 is the first flexible version.
"""

from __future__ import annotations

from typing import Final

from tidelog.errors import KafkaError
from tidelog.handlers.api import Api, message_of
from tidelog.handlers.authorization import CLUSTER_NAME, Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.metadata.quotas import ENTITY_TYPES, IP, Component, Match, matching
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.describe_client_quotas import (
    ComponentData,
    DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
    EntityData,
    EntryData,
    ValueData,
)

API: Final = Api(ApiKey.DESCRIBE_CLIENT_QUOTAS, 0, 1)


def handle(
    request: DescribeClientQuotasRequest, context: RequestContext
) -> DescribeClientQuotasResponse:
    if not context.authorize(Operation.DESCRIBE_CONFIGS, Resource.CLUSTER, CLUSTER_NAME):
        raise KafkaError(ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
    components: dict[str, Component] = {}
    for part in request.components:
        if part.entity_type in components:
            raise _bad(f"the entity type {part.entity_type} occurs twice")
        components[part.entity_type] = _component(part)
    if IP in components and len(components) > 1:
        raise _bad("an ip is asked for alone")
    found = matching(context.image.quotas, components.values(), strict=request.strict)
    if request.strict and not components:
        found = iter(())
    return DescribeClientQuotasResponse(
        error_message="",
        entries=[
            EntryData(
                entity=[EntityData(entity_type=kind, entity_name=name) for kind, name in entity],
                values=[ValueData(key=key, value=value) for key, value in values.items()],
            )
            for entity, values in found
        ],
    )


def error_answer(
    request: DescribeClientQuotasRequest, code: ErrorCode, message: str | None, version: int
) -> DescribeClientQuotasResponse:
    return DescribeClientQuotasResponse(
        error_code=code, error_message=message_of(code, message), entries=None
    )


def _component(part: ComponentData) -> Component:
    if not part.entity_type:
        raise _bad("an entity type is empty")
    if part.entity_type not in ENTITY_TYPES:
        raise KafkaError(
            ErrorCode.UNSUPPORTED_VERSION, f"there is no entity type {part.entity_type!r}"
        )
    try:
        match = Match(part.match_type)
    except ValueError:
        raise _bad(f"there is no match type {part.match_type}") from None
    if (match is Match.EXACT) != (part.match is not None):
        raise _bad(f"match type {match} {'needs a' if match is Match.EXACT else 'has no'} name")
    return Component(part.entity_type, match, part.match)


def _bad(message: str) -> KafkaError:
    return KafkaError(ErrorCode.INVALID_REQUEST, message)
