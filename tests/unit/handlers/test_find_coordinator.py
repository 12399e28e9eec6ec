"""FindCoordinator: groups by hash, the offsets topic made on demand, and the error table."""

from __future__ import annotations

import pytest

from tests.unit.controller.worlds import node as node_record
from tests.unit.handlers.worlds import Node
from tidelog.coordinator.partitioning import coordinator_partition
from tidelog.protocol.messages.find_coordinator import FindCoordinatorRequest
from tidelog.types import GROUP_METADATA_TOPIC


@pytest.mark.parametrize("version", range(7))
async def test_the_coordinator_of_a_group(version: int) -> None:
    node = Node(nodes=3)
    groups = ["g1", "my-group-7", "", "group-ä"]
    for group in groups:
        several = {"coordinator_keys": [group, group]}
        keys = several if version >= 4 else {"key": group}
        answer = await node.ask(FindCoordinatorRequest(**keys), version)
        topic = node.image.topics[GROUP_METADATA_TOPIC]
        assert len(topic.partitions) == 50
        leader = topic.partitions[coordinator_partition(group, 50)].leader
        found = answer.coordinators if version >= 4 else [answer]
        assert len(found) == (2 if version >= 4 else 1)
        for each in found:
            assert (each.error_code, each.node_id) == (0, leader)
            assert (each.host, each.port) == ("127.0.0.1", 9091 + leader)
        if 1 <= version < 4:
            assert answer.error_message == "NONE"
    assert len(node.requests) == 1


@pytest.mark.parametrize("version", [1, 3, 4, 6])
async def test_transactional_ids_have_a_topic_of_their_own(version: int) -> None:
    node = Node()
    keys = {"coordinator_keys": ["x"]} if version >= 4 else {"key": "x"}
    answer = await node.ask(FindCoordinatorRequest(key_type=1, **keys), version)
    found = answer.coordinators[0] if version >= 4 else answer
    topic = node.image.topics["__transaction_state"]
    leader = topic.partitions[coordinator_partition("x", 50)].leader
    assert (found.error_code, found.node_id) == (0, leader)
    assert "__consumer_offsets" not in node.image.topics


@pytest.mark.parametrize(("version", "key_type"), [(1, 5), (4, 9), (5, 2), (6, 2)])
async def test_other_key_types(version: int, key_type: int) -> None:
    keys = {"coordinator_keys": ["x", "y"]} if version >= 4 else {"key": "x"}
    answer = await Node().ask(FindCoordinatorRequest(key_type=key_type, **keys), version)
    found = answer.coordinators if version >= 4 else [answer]
    assert {each.error_code for each in found} == {42}


async def test_no_keys() -> None:
    assert (await Node().ask(FindCoordinatorRequest(), 4)).coordinators == []


async def test_the_offsets_topic_is_not_there_yet() -> None:
    node = Node()
    await node.follow()
    node.lagging = True
    answer = await node.ask(FindCoordinatorRequest(key="g"), 3)
    assert (answer.error_code, answer.node_id) == (15, -1)
    node.lagging = False
    assert (await node.ask(FindCoordinatorRequest(key="g"), 3)).error_code == 0


async def test_a_silent_controller() -> None:
    node = Node()
    await node.follow()
    node.silent = True
    assert (await node.ask(FindCoordinatorRequest(key="g"), 3)).error_code == 15


async def test_a_coordinator_that_is_not_alive() -> None:
    node = Node(nodes=2)
    await node.ask(FindCoordinatorRequest(key="g"), 3)
    partition = coordinator_partition("g", 50)
    leader = node.image.topics[GROUP_METADATA_TOPIC].partitions[partition].leader
    node.controller.apply(node_record(leader, fenced=True, epoch=1))
    assert (await node.ask(FindCoordinatorRequest(key="g"), 3)).error_code == 15
