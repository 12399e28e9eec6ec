"""What a consumer group answers about itself."""

from __future__ import annotations

import pytest

from tests.unit.coordinator.group.shard_harness import ShardHarness
from tidelog.coordinator.group.consumer_group import preferred_assignor
from tidelog.coordinator.group.consumer_member import ConsumerMember


def started() -> ShardHarness:
    h = ShardHarness()
    h.topics(t=2)
    assert h.beat("m", 0, "t").member_epoch == 2
    return h


@pytest.mark.parametrize(
    ("member", "epoch", "version", "expected"),
    [
        ("m", 2, 9, 0),
        ("m", 2, 8, 35),
        ("m", 1, 9, 113),
        ("m", 3, 9, 113),
        ("n", 2, 9, 25),
        ("", -1, 9, 25),
    ],
)
def test_commits(member: str, epoch: int, version: int, expected: int) -> None:
    h = started()
    assert h.commit(1, member_id=member, generation_id=epoch, version=version) == expected


def test_an_empty_group_takes_commits_of_anybody() -> None:
    h = started()
    h.beat("m", -1)
    assert h.commit(1) == 0
    assert h.delete_offsets("t") == [0]


def test_offsets_of_topics_that_are_subscribed_to_stay() -> None:
    h = started()
    h.commit(1, member_id="m", generation_id=2, version=9)
    assert h.delete_offsets("t", "other") == [86, 0]
    assert h.delete_group() == 68


def test_a_deleted_group_is_gone_with_its_records() -> None:
    h = started()
    h.commit(1, member_id="m", generation_id=2, version=9)
    h.beat("m", -1)
    assert h.delete_group() == 0
    for _ in range(2):
        assert (h.shard.registry.consumer, h.shard.groups, h.committed()) == ({}, {}, -1)
        h.reload()


def test_an_empty_group_expires_with_its_offsets() -> None:
    h = ShardHarness(offsets_retention_ms=60_000)
    h.topics(t=1)
    h.beat("m", 0, "t")
    h.commit(1, member_id="m", generation_id=2, version=9)
    h.beat("m", -1)
    h.advance(1_200_000)
    assert (h.committed(), h.shard.registry.consumer) == (-1, {})


def test_the_assignor_of_most_members() -> None:
    def members(*names: str | None) -> list[ConsumerMember]:
        return [ConsumerMember(str(n), server_assignor=name) for n, name in enumerate(names)]

    assert preferred_assignor(members(None, None), "uniform") == "uniform"
    assert preferred_assignor(members("range", None), "uniform") == "range"
    assert preferred_assignor(members("range", "uniform"), "uniform") == "range"
    assert preferred_assignor(members("range", "uniform", "uniform"), "range") == "uniform"
