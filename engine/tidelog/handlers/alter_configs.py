"""AlterConfigs (key 33), versions 0-2: replaces all configs that are set on a resource (deprecated,
but used).

Behaviour: see config_changes.py, which it shares with IncrementalAlterConfigs. A resource that
occurs twice gets one answer, error 42 (a Kafka 4.3.1 gives no answer at all to that).

Version notes: 2 is the first flexible version.
"""

from __future__ import annotations

from typing import Final

from tidelog.controller.requests import AlteredResource, ConfigChange, ResourceChange
from tidelog.handlers.api import Api, message_of
from tidelog.handlers.config_changes import alter_configs
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.alter_configs import (
    AlterConfigsRequest,
    AlterConfigsResourceResponse,
    AlterConfigsResponse,
)

API: Final = Api(ApiKey.ALTER_CONFIGS, 0, 2)


async def handle(request: AlterConfigsRequest, context: RequestContext) -> AlterConfigsResponse:
    changes = [
        ResourceChange(
            resource.resource_type,
            resource.resource_name,
            tuple(ConfigChange(config.name, config.value) for config in resource.configs),
        )
        for resource in request.resources
    ]
    altered = await alter_configs(
        changes, context, validate_only=request.validate_only, incremental=False
    )
    return AlterConfigsResponse(responses=[_result(resource) for resource in altered])


def error_answer(
    request: AlterConfigsRequest, code: ErrorCode, message: str | None, version: int
) -> AlterConfigsResponse:
    keys = dict.fromkeys((item.resource_type, item.resource_name) for item in request.resources)
    return AlterConfigsResponse(
        responses=[_result(AlteredResource(kind, name, code, message)) for kind, name in keys]
    )


def _result(resource: AlteredResource) -> AlterConfigsResourceResponse:
    return AlterConfigsResourceResponse(
        error_code=resource.error_code,
        error_message=message_of(resource.error_code, resource.error_message),
        resource_type=resource.resource_type,
        resource_name=resource.resource_name,
    )
