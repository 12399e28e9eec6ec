"""IncrementalAlterConfigs (key 44), versions 0-1 (KIP-339): sets, deletes, appends and subtracts
single configs.

Behaviour: see config_changes.py, which it shares with AlterConfigs. A resource that occurs twice
gets one answer, error 42.

Version notes: 1 is the first flexible version.
"""

from __future__ import annotations

from typing import Final

from tidelog.controller.requests import AlteredResource, ConfigChange, ResourceChange
from tidelog.handlers.api import Api, message_of
from tidelog.handlers.config_changes import alter_configs
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.incremental_alter_configs import (
    AlterConfigsResourceResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)

API: Final = Api(ApiKey.INCREMENTAL_ALTER_CONFIGS, 0, 1)


async def handle(
    request: IncrementalAlterConfigsRequest, context: RequestContext
) -> IncrementalAlterConfigsResponse:
    changes = [
        ResourceChange(
            resource.resource_type,
            resource.resource_name,
            tuple(
                ConfigChange(config.name, config.value, config.config_operation)
                for config in resource.configs
            ),
        )
        for resource in request.resources
    ]
    altered = await alter_configs(
        changes, context, validate_only=request.validate_only, incremental=True
    )
    return IncrementalAlterConfigsResponse(responses=[_result(resource) for resource in altered])


def error_answer(
    request: IncrementalAlterConfigsRequest, code: ErrorCode, message: str | None, version: int
) -> IncrementalAlterConfigsResponse:
    keys = dict.fromkeys((item.resource_type, item.resource_name) for item in request.resources)
    return IncrementalAlterConfigsResponse(
        responses=[_result(AlteredResource(kind, name, code, message)) for kind, name in keys]
    )


def _result(resource: AlteredResource) -> AlterConfigsResourceResponse:
    return AlterConfigsResourceResponse(
        error_code=resource.error_code,
        error_message=message_of(resource.error_code, resource.error_message),
        resource_type=resource.resource_type,
        resource_name=resource.resource_name,
    )
