"""ListConfigResources (key 74), versions 0-1 (KIP-1142): names of what can have configs.

Behaviour: all topics, the live nodes (as brokers and as their loggers), and the client metrics and
groups that have configs of their own. No types ask for all of them; an unknown one is error 35.

Version notes: 0 lists client metrics only, 1 the types that are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tidelog.config import ResourceType
from tidelog.errors import KafkaError
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import CLUSTER_NAME, Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.metadata.image import MetadataImage
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.list_config_resources import (
    ConfigResource,
    ListConfigResourcesRequest,
    ListConfigResourcesResponse,
)

API: Final = Api(ApiKey.LIST_CONFIG_RESOURCES, 0, 1)

_TYPES: Final = (
    ResourceType.TOPIC,
    ResourceType.BROKER,
    ResourceType.BROKER_LOGGER,
    ResourceType.CLIENT_METRICS,
    ResourceType.GROUP,
)


def handle(
    request: ListConfigResourcesRequest, context: RequestContext
) -> ListConfigResourcesResponse:
    if not context.authorize(Operation.DESCRIBE_CONFIGS, Resource.CLUSTER, CLUSTER_NAME):
        raise KafkaError(ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
    wanted = dict.fromkeys(request.resource_types)
    if context.api_version < 1:
        wanted = {int(ResourceType.CLIENT_METRICS): None}
    for kind in wanted:
        if kind not in _TYPES:
            raise KafkaError(ErrorCode.UNSUPPORTED_VERSION)
    return ListConfigResourcesResponse(
        config_resources=[
            ConfigResource(resource_name=name, resource_type=kind)
            for kind in (wanted or _TYPES)
            for name in _names(context.image, ResourceType(kind))
        ]
    )


def error_answer(
    request: ListConfigResourcesRequest, code: ErrorCode, message: str | None, version: int
) -> ListConfigResourcesResponse:
    return ListConfigResourcesResponse(error_code=code)


def _names(image: MetadataImage, kind: ResourceType) -> Iterable[str]:
    if kind is ResourceType.TOPIC:
        return image.topics
    if kind in (ResourceType.BROKER, ResourceType.BROKER_LOGGER):
        return [str(node.node_id) for node in image.alive_nodes()]
    return [name for resource_type, name in image.configs if resource_type == kind]
