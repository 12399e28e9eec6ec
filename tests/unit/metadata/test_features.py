"""Features: nothing is claimed that clients would act upon without support behind it."""

from __future__ import annotations

from tidelog.metadata.features import SUPPORTED_FEATURES


def test_transactions_version_2_is_not_claimed() -> None:
    assert SUPPORTED_FEATURES.get("transaction.version", (0, 0))[1] < 2
    assert all(0 <= low <= high for low, high in SUPPORTED_FEATURES.values())
