"""The groups of a shard by id."""

from __future__ import annotations

from tidelog.coordinator.group.registry import GroupRegistry


def test_a_group_is_found_until_it_is_removed() -> None:
    registry = GroupRegistry()
    assert registry.find("g") is None
    group = registry.create_classic("g", 0)
    assert registry.find("g") is group
    assert list(registry.groups()) == [group]
    del registry.classic["g"]
    assert registry.find("g") is None
