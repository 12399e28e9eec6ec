"""Changes of finalized features (KIP-584, KIP-778). Pure.

A feature is raised by an upgrade and lowered by a downgrade, never the other way round, and only to
a level that this code serves: every node of the cluster runs the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidelog.controller.decision import Decision
from tidelog.controller.requests import Done, FeatureUpdate, UpdateFeatures, UpgradeType
from tidelog.metadata.features import SUPPORTED_FEATURES
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import ChangeRecord, FeatureRecord
from tidelog.protocol.error_codes import ErrorCode


def update_features(
    image: MetadataImage,
    request: UpdateFeatures,
    supported: Mapping[str, tuple[int, int]] = SUPPORTED_FEATURES,
) -> Decision:
    """All updates, or the error of the first one that cannot be made."""
    levels = dict(image.features)
    for update in request.updates:
        refusal = _refusal(update, levels.get(update.name, 0), supported)
        if refusal is not None:
            message = f"Invalid update version {update.level} for feature {update.name}. {refusal}"
            return Decision([], Done(ErrorCode.INVALID_UPDATE_VERSION, message))
        levels[update.name] = update.level
    records: list[ChangeRecord] = [
        FeatureRecord(update.name, levels[update.name])
        for update in {update.name: update for update in request.updates}.values()
        if levels[update.name] != image.features.get(update.name, 0)
    ]
    return Decision([] if request.validate_only else records, Done())


def _refusal(
    update: FeatureUpdate, current: int, supported: Mapping[str, tuple[int, int]]
) -> str | None:
    """Why a feature cannot be set to a level, None if it can."""
    if update.upgrade_type not in set(UpgradeType):
        return "The controller does not support the given upgrade type."
    if update.level < 0:
        return "A feature version cannot be less than 0."
    if update.name not in supported:
        return "The cluster does not support this feature."
    low, high = supported[update.name]
    if update.level and not low <= update.level <= high:
        return f"The nodes support the versions {low} to {high}."
    is_upgrade = update.upgrade_type == UpgradeType.UPGRADE
    if update.level < current and is_upgrade:
        return (
            "Can't downgrade the version of this feature without setting the upgrade type to "
            "either safe or unsafe downgrade."
        )
    if update.level > current and not is_upgrade:
        return "Can't downgrade to a newer version."
    return None
