"""How shares are written."""

from __future__ import annotations

import pytest

from bench.load.assignments import short


@pytest.mark.parametrize(
    ("partitions", "text"),
    [([], ""), ([3], "3"), ([3, 4], "3,4"), ([3, 4, 5], "3-5"), ([0, 2, 4], "0,2,4")],
)
def test_short(partitions: list[int], text: str) -> None:
    assert short(partitions) == text
