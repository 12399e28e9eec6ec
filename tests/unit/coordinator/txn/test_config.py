"""The configs of a transaction coordinator are one value: a change is another one."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from tests.unit.coordinator.txn.txn_harness import CONFIG


def test_it_does_not_change_under_a_shard() -> None:
    with pytest.raises(FrozenInstanceError):
        CONFIG.max_timeout_ms = 1  # type: ignore[misc]
