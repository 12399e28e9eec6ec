"""DescribeCluster (key 60), versions 0-2.

Behaviour: the live nodes under the addresses of nodes.py. The endpoint type has to be 1 (brokers):
2 asks for a controller listener, which is none of ours (114), anything else is 115.

Version notes: 1 endpoint type (KIP-919), 2 fenced nodes on request (KIP-1073).
"""

from __future__ import annotations

from typing import Final

from tidelog.handlers.api import Api, message_of
from tidelog.handlers.authorization import CLUSTER_NAME, Resource
from tidelog.handlers.context import RequestContext
from tidelog.handlers.nodes import address_of
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.describe_cluster import (
    DescribeClusterBroker,
    DescribeClusterRequest,
    DescribeClusterResponse,
)

API: Final = Api(ApiKey.DESCRIBE_CLUSTER, 0, 2)

_BROKERS: Final = 1
_CONTROLLERS: Final = 2


def handle(request: DescribeClusterRequest, context: RequestContext) -> DescribeClusterResponse:
    if request.endpoint_type == _CONTROLLERS:
        code = ErrorCode.MISMATCHED_ENDPOINT_TYPE
        return error_answer(request, code, "this listener is for clients", context.api_version)
    if request.endpoint_type != _BROKERS:
        code = ErrorCode.UNSUPPORTED_ENDPOINT_TYPE
        return error_answer(
            request, code, f"there is no endpoint type {request.endpoint_type}", context.api_version
        )
    image = context.image
    brokers = []
    for _, node in sorted(image.nodes.items()):
        if node.fenced and not request.include_fenced_brokers:
            continue
        address = address_of(node, image, context)
        if address is not None:
            brokers.append(
                DescribeClusterBroker(
                    broker_id=address.node_id,
                    host=address.host,
                    port=address.port,
                    rack=address.rack,
                    is_fenced=address.fenced,
                )
            )
    return DescribeClusterResponse(
        cluster_id=image.cluster_id,
        controller_id=image.controller_id,
        brokers=brokers,
        cluster_authorized_operations=context.authorized_operations(
            Resource.CLUSTER, CLUSTER_NAME, asked=request.include_cluster_authorized_operations
        ),
    )


def error_answer(
    request: DescribeClusterRequest, code: ErrorCode, message: str | None, version: int
) -> DescribeClusterResponse:
    return DescribeClusterResponse(error_code=code, error_message=message_of(code, message))
