"""Members of a group."""

from __future__ import annotations

import pytest

from tidelog.coordinator.group.member import Member


def member(instance: str | None = None) -> Member:
    return Member(
        "m", instance, "c", "/h", 1, 2, "consumer", (("b", b"B"), ("a", b"A"))
    )  # fmt: skip


def test_votes_for_its_first_choice_among_the_candidates() -> None:
    assert member().vote({"a", "b"}) == "b"
    assert member().vote({"a"}) == "a"
    assert member().metadata_for("a") == b"A"
    with pytest.raises(KeyError):
        member().metadata_for("c")


def test_is_static_with_an_instance_id() -> None:
    assert member("i").is_static
    assert not member().is_static
