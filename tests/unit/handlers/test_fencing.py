"""PRODUCER_FENCED has another name for clients that do not know it."""

from __future__ import annotations

import pytest

from tidelog.handlers.fencing import fencing_code


@pytest.mark.parametrize(
    ("code", "version", "answered"), [(90, 1, 47), (90, 2, 90), (47, 1, 47), (51, 0, 51), (0, 0, 0)]
)
def test_codes(code: int, version: int, answered: int) -> None:
    assert fencing_code(code, version, 2) == answered
