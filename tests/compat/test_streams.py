"""Kafka Streams with exactly-once processing while its instances and the broker's workers die."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compat.conftest import TARGET_IS_REFERENCE
from tests.compat.reference import ReferenceMissing
from tests.compat.streams.ordeal import Ordeal

pytestmark = [pytest.mark.usefixtures("java"), pytest.mark.timeout(280)]
SECONDS = 25.0


def test_money_and_words_are_exact(tmp_path: Path) -> None:
    if TARGET_IS_REFERENCE:
        pytest.skip("it kills Tidelog's workers")
    try:
        ordeal = Ordeal(tmp_path, seed=5)
    except ReferenceMissing as missing:
        pytest.skip(str(missing))
    with ordeal:
        ordeal.run(SECONDS)
    assert ordeal.problems == []
    assert ordeal.looks > 0
    assert sum(ordeal.kills.values()) > 0
