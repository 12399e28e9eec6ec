"""Ranges of versions."""

import pytest

from tidelog.protocol.versions import ALL, MAX_VERSION, NO_VERSIONS, Versions


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("3", 3, 3), ("1-4", 1, 4), ("9+", 9, MAX_VERSION), ("0", 0, 0), ("none", 0, -1)],
)
def test_parse_and_print(text: str, low: int, high: int) -> None:
    assert Versions.parse(text) == (low, high)
    assert str(Versions.parse(text)) == text


@pytest.mark.parametrize("text", ["", "x", "1-", "+", "-1", "1-2-3"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(ValueError):
        Versions.parse(text)


def test_has() -> None:
    assert [v for v in range(8) if Versions(2, 4).has(v)] == [2, 3, 4]
    assert ALL.has(0)
    assert ALL.has(MAX_VERSION)
    assert not any(NO_VERSIONS.has(v) for v in range(-1, 3))
