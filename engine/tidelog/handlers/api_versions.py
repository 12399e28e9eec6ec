"""ApiVersions (key 18), versions 0-4.

Behaviour:
* Lists what the registry has, and nothing else; Produce from version 0, though 0-2 are refused
  (KAFKA-18659: older librdkafka reads a higher minimum as "no compression").
* A version that is unknown here is answered by the dispatcher with version 0, error 35 and the
  range of ApiVersions itself (KIP-511).
* Features: only those that are finalized in the metadata. Nothing that needs transaction.version 2
  is claimed.

Version notes: 3 carries the client's name and version, checked by pattern (42 when it does not
fit), and features. 4 may list features whose lowest level is 0 (KIP-584); older clients cannot read
that, so it is left out for them.
"""

from __future__ import annotations

import re
from typing import Final

from tidelog.handlers.api import Api
from tidelog.handlers.context import RequestContext
from tidelog.metadata.features import SUPPORTED_FEATURES
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.api_versions import (
    ApiVersion,
    ApiVersionsRequest,
    ApiVersionsResponse,
    FinalizedFeatureKey,
    SupportedFeatureKey,
)

API: Final = Api(ApiKey.API_VERSIONS, 0, 4)

_SOFTWARE: Final = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9.\-]*[a-zA-Z0-9])?")


def handle(request: ApiVersionsRequest, context: RequestContext) -> ApiVersionsResponse:
    version = context.api_version
    if version >= 3:
        software = (request.client_software_name, request.client_software_version)
        if not all(_SOFTWARE.fullmatch(word) for word in software):
            return ApiVersionsResponse(error_code=ErrorCode.INVALID_REQUEST)
        context.connection.software = software
    image = context.image
    return ApiVersionsResponse(
        api_keys=[_row(api) for api in context.services.apis],
        supported_features=[
            SupportedFeatureKey(name=name, min_version=low, max_version=high)
            for name, (low, high) in SUPPORTED_FEATURES.items()
            if low > 0 or version >= 4
        ],
        finalized_features_epoch=image.version if image.features else -1,
        finalized_features=[
            FinalizedFeatureKey(name=name, min_version_level=level, max_version_level=level)
            for name, level in sorted(image.features.items())
        ],
    )


def error_answer(
    request: ApiVersionsRequest, code: ErrorCode, message: str | None, version: int
) -> ApiVersionsResponse:
    return ApiVersionsResponse(error_code=code)


def unsupported_version_answer() -> ApiVersionsResponse:
    """What a client that asked in an unknown version learns: the versions to ask in."""
    return ApiVersionsResponse(error_code=ErrorCode.UNSUPPORTED_VERSION, api_keys=[_row(API)])


def _row(api: Api) -> ApiVersion:
    return ApiVersion(
        api_key=api.key, min_version=api.advertised_min_version, max_version=api.max_version
    )
