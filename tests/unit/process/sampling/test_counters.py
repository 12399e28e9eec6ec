"""What is counted during a run, read from a node in miniature."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.native.lane_harness import Node, batch
from tests.unit.native.test_produce_lane import produce
from tidelog.cpu_samples import Counted, StageTime
from tidelog.process.sampling.counters import NodeCounters, api_name, difference


def counted(**values: int) -> Counted:
    made = dict.fromkeys(
        [
            "received_bytes",
            "sent_bytes",
            "appended_bytes",
            "appended_records",
            "fetched_bytes",
            "syncs",
            "sync_ns",
            "process_cpu_ns",
        ],
        0,
    )
    return Counted({}, stages=[], **(made | values))


def test_only_what_was_counted_between_is_told() -> None:
    before = counted(received_bytes=5, appended_bytes=9)
    before.requests.update({"Produce": 3, "Metadata": 1})
    before.stages.append(StageTime("Produce", "wait", 2, 10))
    after = counted(received_bytes=7, appended_bytes=4)
    after.requests.update({"Produce": 5, "Metadata": 1, "Fetch": 2})
    after.stages.extend([StageTime("Produce", "wait", 3, 14), StageTime("Fetch", "read", 1, 1)])
    found = difference(before, after)
    assert found.requests == {"Produce": 2, "Fetch": 2}
    assert found.received_bytes == 2
    assert found.appended_bytes == 0  # a topic that was deleted took its count along
    assert found.stages == [StageTime("Produce", "wait", 1, 4), StageTime("Fetch", "read", 1, 1)]


def test_names_of_apis() -> None:
    assert api_name(0) == "Produce" and api_name(18) == "ApiVersions" and api_name(999) == "999"


@pytest.fixture
async def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


async def test_requests_are_counted_and_timed_while_it_is_wanted(node: Node) -> None:
    node.topic("t")
    client = node.connect()
    counters = NodeCounters(node.reactor, node.table)
    assert counters.timing(True) is False
    before = counters.read()
    await client.ask(produce(batch([b"x"])), 9)
    assert counters.timing(False) is True
    found = difference(before, counters.read())
    assert found.requests == {"Produce": 1}
    assert found.appended_records == 1 and found.appended_bytes > 0 and found.received_bytes > 0
    assert ("Produce", "append") in {(one.api, one.stage) for one in found.stages}
