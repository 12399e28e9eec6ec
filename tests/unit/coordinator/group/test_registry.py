"""The groups of a shard by id."""

from __future__ import annotations

from tidelog.coordinator.group.registry import GroupRegistry


def test_a_group_is_forgotten_only_while_it_is_the_one() -> None:
    registry = GroupRegistry()
    old = registry.create_classic("g", 0)
    new = registry.create_classic("g", 1)
    assert registry.find("g") is new
    registry.forget(old)
    assert list(registry.groups()) == [new]
    registry.forget(new)
    assert registry.find("g") is None
