"""Changes of features: all or none, up by upgrades and down by downgrades."""

from __future__ import annotations

import pytest

from tidelog.controller.features import update_features
from tidelog.controller.requests import Done, FeatureUpdate, UpdateFeatures
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import FeatureRecord

SUPPORTED = {"a.version": (0, 2), "b.version": (1, 3)}
UPGRADE, SAFE, UNSAFE = 1, 2, 3
IMAGE = MetadataImage().apply([FeatureRecord("a.version", 1)], 1)


def ask(
    *updates: tuple[str, int, int], validate_only: bool = False
) -> tuple[list[tuple[str, int]], int]:
    """What is recorded, and the error code."""
    request = UpdateFeatures(tuple(FeatureUpdate(*update) for update in updates), validate_only)
    decision = update_features(IMAGE, request, SUPPORTED)
    done = decision.answer
    assert isinstance(done, Done)
    assert bool(done.error_message) == bool(done.error_code)
    recorded = []
    for record in decision.records:
        assert isinstance(record, FeatureRecord)
        recorded.append((record.name, record.level))
    return recorded, done.error_code


@pytest.mark.parametrize(
    ("update", "recorded"),
    [
        (("a.version", 2, UPGRADE), [("a.version", 2)]),
        (("a.version", 1, UPGRADE), []),
        (("a.version", 0, SAFE), [("a.version", 0)]),
        (("a.version", 0, UNSAFE), [("a.version", 0)]),
        (("a.version", 1, SAFE), []),
        (("b.version", 3, UPGRADE), [("b.version", 3)]),
    ],
)
def test_a_change(update: tuple[str, int, int], recorded: list[tuple[str, int]]) -> None:
    assert ask(update) == (recorded, 0)
    assert ask(update, validate_only=True) == ([], 0)


@pytest.mark.parametrize(
    "update",
    [
        ("a.version", 0, UPGRADE),
        ("a.version", 2, SAFE),
        ("a.version", 2, UNSAFE),
        ("a.version", 3, UPGRADE),
        ("a.version", -1, SAFE),
        ("a.version", 2, 0),
        ("a.version", 2, 4),
        ("c.version", 1, UPGRADE),
    ],
)
def test_a_change_that_cannot_be(update: tuple[str, int, int]) -> None:
    assert ask(update) == ([], 95)
    # Nor can what is asked for together with it.
    assert ask(("b.version", 1, UPGRADE), update) == ([], 95)


def test_several() -> None:
    found = ask(("a.version", 2, UPGRADE), ("b.version", 1, UPGRADE))
    assert found == ([("a.version", 2), ("b.version", 1)], 0)
