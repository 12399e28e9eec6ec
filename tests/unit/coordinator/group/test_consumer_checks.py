"""Which heartbeats are refused, and with which code."""

from __future__ import annotations

from typing import Any

import pytest

from tidelog.coordinator.group import consumer_checks as checks
from tidelog.coordinator.group.consumer_group import ConsumerGroup
from tidelog.coordinator.group.consumer_member import ConsumerMember
from tidelog.errors import KafkaError
from tidelog.protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest

P, Q = (b"t" * 16, 0), (b"t" * 16, 1)


def joining(**changes: Any) -> ConsumerGroupHeartbeatRequest:
    request = ConsumerGroupHeartbeatRequest(
        group_id="g",
        member_id="m",
        member_epoch=0,
        rebalance_timeout_ms=5,
        subscribed_topic_names=["t"],
        topic_partitions=[],
    )
    for name, value in changes.items():
        setattr(request, name, value)
    return request


def code(request: ConsumerGroupHeartbeatRequest, version: int = 1) -> int:
    try:
        checks.check_request(request, version, ("uniform",))
    except KafkaError as error:
        assert error.message
        return error.error_code
    return 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0),
        ({"group_id": ""}, 42),
        ({"member_id": ""}, 42),
        ({"instance_id": ""}, 42),
        ({"rack_id": ""}, 42),
        ({"group_id": " "}, 42),
        ({"member_id": " \t\x1f"}, 42),
        ({"instance_id": "\n"}, 42),
        ({"rack_id": "  "}, 42),
        ({"rebalance_timeout_ms": -1}, 42),
        ({"topic_partitions": None}, 42),
        ({"subscribed_topic_names": None}, 42),
        ({"subscribed_topic_names": None, "subscribed_topic_regex": "x"}, 0),
        ({"server_assignor": "uniform"}, 0),
        ({"server_assignor": "range"}, 112),
        ({"member_epoch": -3}, 42),
        ({"member_epoch": -2}, 42),
        ({"member_epoch": -2, "instance_id": "one"}, 0),
        ({"member_epoch": 3, "rebalance_timeout_ms": -1, "topic_partitions": None}, 0),
    ],
)
def test_requests(changes: dict[str, Any], expected: int) -> None:
    assert code(joining(**changes)) == expected


def test_before_version_1_the_broker_names_the_member() -> None:
    assert code(joining(member_id=""), 0) == 0
    assert code(joining(member_id="", member_epoch=2), 0) == 42


@pytest.mark.parametrize(
    ("epoch", "owned", "expected"),
    [
        (5, None, 0),
        (6, None, 110),
        (4, None, 110),
        (4, {P}, 0),
        (4, {P, Q}, 110),
        (3, {P}, 110),
    ],
)
def test_epochs(epoch: int, owned: set[tuple[bytes, int]] | None, expected: int) -> None:
    member = ConsumerMember("m", epoch=5, previous_epoch=4, assigned={P: 4})
    try:
        checks.check_epoch(member, epoch, owned)
        found = 0
    except KafkaError as error:
        found = error.error_code
    assert found == expected


def refused(call: Any, *arguments: Any) -> int:
    with pytest.raises(KafkaError) as caught:
        call(*arguments)
    return int(caught.value.error_code)


def test_members_are_known_by_id_and_by_instance() -> None:
    group = ConsumerGroup("g")
    member = ConsumerMember("m", instance_id="one", epoch=3)
    group.members["m"], group.static_members["one"] = member, "m"
    assert checks.known_member(group, "m") is member
    assert checks.known_static_member(group, "one", "m") is member
    assert refused(checks.known_member, group, "n") == 25
    assert refused(checks.known_static_member, group, "two", "m") == 25
    assert refused(checks.known_static_member, group, "one", "n") == 82
    assert refused(checks.check_released, member, "one") == 111
    checks.check_released(member.in_epoch(-2), "one")


def test_leaving() -> None:
    assert [epoch for epoch in range(-3, 2) if checks.is_leaving(epoch)] == [-2, -1]
