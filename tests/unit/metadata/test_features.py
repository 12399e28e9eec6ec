"""Features: what is claimed can be finalized, and a new cluster has the highest levels."""

from __future__ import annotations

from tidelog.metadata.features import (
    FEATURES_OF_NEW_CLUSTERS,
    SUPPORTED_FEATURES,
    TRANSACTION_VERSION,
)


def test_levels() -> None:
    assert SUPPORTED_FEATURES[TRANSACTION_VERSION] == (0, 2)
    assert all(0 <= low <= high for low, high in SUPPORTED_FEATURES.values())
    assert dict(FEATURES_OF_NEW_CLUSTERS) == {
        name: high for name, (_, high) in SUPPORTED_FEATURES.items()
    }
