"""Offsets asked of a cluster in memory."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState, KafkaError

from tests.unit.cli.clusters import failed
from tidelog.cli.cluster import CommandError
from tidelog.cli.group_offsets import (
    check_inactive,
    committed_offsets,
    end_offsets,
    listed_offsets,
)


class Client:
    """Topic t ends at 7; what else is asked for fails with `code`."""

    def __init__(self, code: int = KafkaError.UNKNOWN_TOPIC_OR_PART) -> None:
        self.code = code

    def list_offsets(self, requests: dict[Any, Any], **_: object) -> dict[Any, Future[Any]]:
        futures = {}
        for one in requests:
            futures[one] = future = Future[Any]()
            if one.topic == "t":
                future.set_result(SimpleNamespace(offset=7))
            else:
                future.set_exception(failed(self.code, "no"))
        return futures

    def list_consumer_group_offsets(self, asked: Any, **_: object) -> dict[str, Future[Any]]:
        future = Future[Any]()
        (group,) = asked
        partitions = [
            SimpleNamespace(topic="t", partition=0, offset=5),
            SimpleNamespace(topic="t", partition=1, offset=-1001),
        ]
        future.set_result(SimpleNamespace(topic_partitions=partitions))
        return {group.group_id: future}


def test_offsets_that_are_committed() -> None:
    client: Any = Client()
    assert committed_offsets(client, "g") == {("t", 0): 5}


class Describing:
    """Describes the group, or fails with `code`."""

    def __init__(self, members: int = 0, code: int | None = None) -> None:
        self.members, self.code = members, code

    def describe_consumer_groups(self, names: list[str], **_: object) -> dict[str, Future[Any]]:
        future = Future[Any]()
        if self.code is None:
            found = SimpleNamespace(members=[None] * self.members, state=ConsumerGroupState.STABLE)
            future.set_result(found)
        else:
            future.set_exception(failed(self.code, "no"))
        return dict.fromkeys(names, future)


def test_a_group_with_members_is_not_moved() -> None:
    idle: Any = Describing()
    check_inactive(idle, "g")
    new: Any = Describing(code=KafkaError.GROUP_ID_NOT_FOUND)
    check_inactive(new, "g")
    for count, word in ((1, "1 member "), (2, "2 members ")):
        busy: Any = Describing(count)
        with pytest.raises(CommandError, match=f"group g has {word}.*: stop them first"):
            check_inactive(busy, "g")
    refused: Any = Describing(code=KafkaError.GROUP_AUTHORIZATION_FAILED)
    with pytest.raises(CommandError, match="group g cannot be described: no"):
        check_inactive(refused, "g")


def test_ends_of_deleted_topics_are_left_out() -> None:
    client: Any = Client()
    assert end_offsets(client, [("t", 0), ("gone", 0)]) == {("t", 0): 7}
    assert end_offsets(client, []) == {}


def test_other_failures_are_told() -> None:
    client: Any = Client(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(CommandError, match="offsets of u"):
        end_offsets(client, [("u", 0)])
    with pytest.raises(CommandError, match="offsets of u"):
        listed_offsets(client, {("u", 0): None})  # type: ignore[dict-item]
    assert listed_offsets(client, {}) == {}
