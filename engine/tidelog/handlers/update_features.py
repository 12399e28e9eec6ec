"""UpdateFeatures (key 57), versions 0-2 (KIP-584, KIP-778).

Behaviour: all features are changed or none; the error is that of the first that cannot be. The flag
of version 0 that allows downgrades is not looked at, as in Kafka: every change of it is an upgrade.

Version notes: 1 the kind of change, validate_only; 2 one result for all (KIP-1022).
"""

from __future__ import annotations

from typing import Final

from tidelog.controller.requests import Done, FeatureUpdate, UpdateFeatures
from tidelog.errors import KafkaError
from tidelog.handlers.api import Api, message_of
from tidelog.handlers.authorization import CLUSTER_NAME, Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.handlers.controller_calls import ask_controller
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.update_features import (
    UpdatableFeatureResult,
    UpdateFeaturesRequest,
    UpdateFeaturesResponse,
)

API: Final = Api(ApiKey.UPDATE_FEATURES, 0, 2)


async def handle(request: UpdateFeaturesRequest, context: RequestContext) -> UpdateFeaturesResponse:
    if not context.authorize(Operation.ALTER, Resource.CLUSTER, CLUSTER_NAME):
        raise KafkaError(ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
    wanted = UpdateFeatures(
        tuple(
            FeatureUpdate(update.feature, update.max_version_level, update.upgrade_type)
            for update in request.feature_updates
        ),
        request.validate_only,
    )
    done = await ask_controller(context.services.controller, wanted, Done, request.timeout_ms)
    if done.error_code:
        message = (
            "The update failed for all features since the following feature had an error: "
            f"{done.error_message}"
        )
        raise KafkaError(done.error_code, message)
    return UpdateFeaturesResponse(
        error_message=None,
        results=[
            UpdatableFeatureResult(feature=update.feature, error_code=0, error_message="NONE")
            for update in request.feature_updates
        ],
    )


def error_answer(
    request: UpdateFeaturesRequest, code: ErrorCode, message: str | None, version: int
) -> UpdateFeaturesResponse:
    return UpdateFeaturesResponse(error_code=code, error_message=message_of(code, message))
