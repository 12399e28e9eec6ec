"""Counts and times of requests, as the lanes and the transport leave them."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.native.lane_harness import Client, Node, batch
from tests.unit.native.test_fetch_lane import fetch
from tests.unit.native.test_produce_lane import produce
from tidelog._native.request_stats import BUCKETS_S, STAGES, RequestStats
from tidelog.errors import PeerError

PRODUCE, FETCH, HEARTBEAT = 0, 1, 12


@pytest.fixture
async def node(tmp_path: Path) -> Node:
    made = Node(tmp_path)
    made.reactor.stats.timing = True
    return made


@pytest.fixture
async def client(node: Node) -> Client:
    return node.connect()


def stages_of(stats: RequestStats, api: int) -> dict[str, int]:
    """How many times were taken of each stage."""
    return {
        STAGES[stage]: sum(counts)
        for key, stage, counts, _ in stats.stage_histograms()
        if key == api
    }


def frame(api: int, version: int) -> bytes:
    body = struct.pack(">hhih", api, version, 7, -1)
    return struct.pack(">i", len(body)) + body


async def test_produce_is_counted_by_version_and_timed_by_stage(node: Node, client: Client) -> None:
    node.topic("t")
    for version in (9, 9, 8):
        await client.ask(produce(batch([b"a"])), version)
    stats = node.reactor.stats
    assert stats.request_counts() == [(PRODUCE, 8, 1), (PRODUCE, 9, 2)]
    assert stages_of(stats, PRODUCE) == dict.fromkeys(
        ("queue", "parse", "append", "send", "total"), 3
    )
    assert stats.error_counts() == []


async def test_a_roll_is_a_part_of_the_append(node: Node, client: Client) -> None:
    entry = node.topic("t")
    owner: Any = entry.partitions[0].log.owner
    await client.ask(produce(batch([b"a"])), 9)
    assert owner.rolls == 1
    assert stages_of(node.reactor.stats, PRODUCE)["append"] == 1
    assert stages_of(node.reactor.stats, PRODUCE)["total"] == 1


async def test_a_produce_that_waits_for_a_flush_says_so(node: Node, client: Client) -> None:
    log = node.topic("t").partitions[0].log
    await client.ask(produce(batch([b"a"])), 9)
    log.configure(flush_messages=1)
    asked = asyncio.ensure_future(client.ask(produce(batch([b"b"])), 9))
    while not log.owner.flush_requests:
        await asyncio.sleep(0)
    log.on_flushed(log.log_end_offset)
    node.table.partition(b"t", 0).update_progress()
    await asked
    assert stages_of(node.reactor.stats, PRODUCE)["flush"] == 1
    assert "wait" not in stages_of(node.reactor.stats, PRODUCE)


async def test_a_fetch_that_waits_for_data_says_so(node: Node, client: Client) -> None:
    node.topic("t")
    other = node.connect()
    asked = asyncio.ensure_future(client.ask(fetch(("t", 0, 0), max_wait_ms=60_000), 12))
    while not node.table.partition(b"t", 0).waiting_fetches:
        await asyncio.sleep(0)
    await other.ask(produce(batch([b"a", b"b"])), 9)
    await asked
    await client.ask(fetch(("t", 0, 0)), 12)
    stages = stages_of(node.reactor.stats, FETCH)
    assert stages == {"queue": 2, "parse": 2, "read": 2, "wait": 1, "send": 2, "total": 2}


async def test_bytes_and_records_are_counted_by_partition(node: Node, client: Client) -> None:
    node.topic("t")
    data = batch([b"a", b"b", b"c"])
    await client.ask(produce(data), 9)
    await client.ask(produce(data), 9)
    await client.ask(fetch(("t", 0, 0)), 12)
    partition = node.table.partition(b"t", 0)
    assert (partition.bytes_in, partition.records_in) == (2 * len(data), 6)
    assert (partition.bytes_out, partition.records_out) == (2 * len(data), 6)
    await client.ask(fetch(("t", 0, 3)), 12)
    assert (partition.bytes_out, partition.records_out) == (3 * len(data), 9)


async def test_records_of_a_cut_answer_are_estimated(node: Node, client: Client) -> None:
    node.topic("t")
    data = batch([b"a", b"b", b"c"])
    for _ in range(10):
        await client.ask(produce(data), 9)
    await client.ask(fetch(("t", 0, 0), max_bytes=2 * len(data)), 12)
    partition = node.table.partition(b"t", 0)
    assert (partition.bytes_out, partition.records_out) == (2 * len(data), 6)


async def test_errors_are_counted_by_code(node: Node, client: Client) -> None:
    await client.ask(produce(batch([b"a"])), 9)
    await client.ask(fetch(("t", 0, 0)), 12)
    await client.ask(fetch(("t", 0, 0)), 12)
    assert sorted(node.reactor.stats.error_counts()) == [(PRODUCE, 3, 1), (FETCH, 3, 2)]


async def test_a_refused_produce_without_acks_is_counted(node: Node, client: Client) -> None:
    await client.send(client.encode(produce(batch([b"a"]), acks=0), 9))
    assert await client.is_closed()
    assert node.reactor.stats.error_counts() == [(PRODUCE, 3, 1)]


async def test_other_requests_are_handled_or_wait(node: Node, client: Client) -> None:
    release = asyncio.Event()

    async def later(data: bytes) -> bytes:
        await release.wait()
        return struct.pack(">i", len(data)) + data

    await client.send(frame(HEARTBEAT, 4))
    await client.receive_frame()
    node.dispatch = lambda data, info: later(data)
    await client.send(frame(HEARTBEAT, 4))
    while client.connection.idle:
        await asyncio.sleep(0)
    release.set()
    await client.receive_frame()
    stats = node.reactor.stats
    assert stats.request_counts() == [(HEARTBEAT, 4, 2)]
    assert stages_of(stats, HEARTBEAT) == {
        "queue": 2, "handle": 2, "wait": 1, "send": 2, "total": 2
    }  # fmt: skip


async def test_what_nobody_serves_is_no_series(node: Node, client: Client) -> None:
    def refuse(data: bytes, info: Any) -> bytes:
        raise PeerError("not served here")

    node.dispatch = refuse
    await client.send(frame(127, 31))
    assert await client.is_closed()
    assert node.reactor.stats.request_counts() == []
    assert node.reactor.stats.stage_histograms() == [] or stages_of(node.reactor.stats, 127) == {
        "queue": 1
    }


@pytest.fixture
def untimed(node: Node) -> Iterator[Node]:
    node.reactor.stats.timing = False
    yield node


async def test_without_timing_only_counts_are_kept(untimed: Node, client: Client) -> None:
    untimed.topic("t")
    await client.ask(produce(batch([b"a"])), 9)
    assert untimed.reactor.stats.request_counts() == [(PRODUCE, 9, 1)]
    assert untimed.reactor.stats.stage_histograms() == []


async def test_a_flood_is_sampled_and_still_counted_whole(node: Node, client: Client) -> None:
    """The weights of the sample add up to about the number of requests."""
    node.topic("t")
    await client.ask(produce(batch([b"a"])), 9)
    one = client.encode(produce(batch([b"a"]), acks=0), 9)
    rounds, each = 200, 50
    for _ in range(rounds):
        await client.send(one * each)
        await client.ask(fetch(("t", 0, 0)), 12)
    stats = node.reactor.stats
    assert stats.request_counts()[0] == (PRODUCE, 9, rounds * each + 1)
    told = stages_of(stats, PRODUCE)["append"] + stages_of(stats, FETCH)["read"]
    assert 0.5 * rounds * each < told < 2 * rounds * (each + 1)


def test_bounds_rise_and_stages_have_names() -> None:
    assert list(BUCKETS_S) == sorted(BUCKETS_S)
    assert STAGES[0] == "queue"
    assert STAGES[-1] == "total"
