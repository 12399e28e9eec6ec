"""Copies in transactions while members and workers are killed: a short version of the program."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recovery.chain import Chain


@pytest.mark.timeout(180)
def test_every_record_once_and_in_order(tmp_path: Path) -> None:
    chain = Chain(tmp_path, steps=2, members=2, seed=3)
    chain.run(20_000, 3, (0.0, 0.5))
    assert chain.problems == []
    assert sum(chain.kills.values()) > 0
