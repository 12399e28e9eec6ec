"""What a shard tells about its groups."""

from __future__ import annotations

from tests.unit.coordinator.group.shard_harness import ShardHarness


def test_groups_by_state_and_type() -> None:
    h = ShardHarness()
    h.stable("")
    h.commit(1, group="offsets")
    listed = {each.group_id: each for each in h.shard.list_groups((), ())}
    assert sorted(listed) == ["g", "offsets"]
    assert (listed["g"].protocol_type, listed["g"].group_state) == ("consumer", "Stable")
    assert (listed["offsets"].protocol_type, listed["offsets"].group_state) == ("", "Empty")
    assert {each.group_type for each in listed.values()} == {"classic"}
    assert [g.group_id for g in h.shard.list_groups((" stable ", "Dead"), ("CLASSIC",))] == ["g"]
    assert h.shard.list_groups((), ("consumer",)) == []


def test_a_stable_group_shows_what_its_members_have() -> None:
    h = ShardHarness()
    (member,), generation = h.stable("")
    described = h.shard.describe_classic("g", 6)
    assert (described.group_state, described.protocol_data) == ("Stable", "range")
    (found,) = described.members
    assert (found.member_id, found.member_metadata, found.member_assignment) == (
        member,
        b"m",
        member.encode(),
    )
    h.join()
    described = h.shard.describe_classic("g", 6)
    assert (described.group_state, described.protocol_data) == ("PreparingRebalance", "")
    (found,) = [each for each in described.members if each.member_id == member]
    # What it had, until there is a new one.
    assert (found.member_metadata, found.member_assignment) == (b"", member.encode())
    assert generation == 1


def test_an_unknown_group_is_dead_and_from_version_6_an_error() -> None:
    h = ShardHarness()
    old, new = h.shard.describe_classic("g", 5), h.shard.describe_classic("g", 6)
    assert (old.error_code, old.group_state) == (0, "Dead")
    assert (new.error_code, new.error_message) == (69, "Group g not found.")
