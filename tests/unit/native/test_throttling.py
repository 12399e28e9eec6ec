"""Quotas in the native lanes: what is charged, what an answer beyond the quota looks like, and a
connection that is paused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.native.lane_harness import Client, Node, batch
from tests.unit.native.test_connection import slow_frame
from tests.unit.native.test_fetch_lane import fetch, only, parts, put
from tests.unit.native.test_produce_lane import only as produced
from tests.unit.native.test_produce_lane import produce
from tests.unit.native.test_transport import turns, until

HOUR_MS = 3_600_000


class Quotas:
    """Stands for quotas.node.NodeQuotas; keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any, bytes, int, int]] = []
        self.throttle_ms = 0
        self.bytes_max = 2**31 - 1

    def produced(self, info: Any, client_id: bytes, size: int, busy_ns: int) -> int:
        self.told.append(("produced", info, client_id, size, busy_ns))
        return self.throttle_ms

    def fetched(self, info: Any, client_id: bytes, size: int, busy_ns: int) -> int:
        self.told.append(("fetched", info, client_id, size, busy_ns))
        return self.throttle_ms

    def fetch_bytes_max(self, info: Any, client_id: bytes) -> int:
        return self.bytes_max


@pytest.fixture
async def node(tmp_path: Path) -> Node:
    node = Node(tmp_path)
    node.topic("t")
    node.gates.quotas = Quotas()
    return node


@pytest.fixture
async def client(node: Node) -> Client:
    return node.connect()


@pytest.mark.parametrize("version", [3, 9, 13])
async def test_produced_bytes_are_those_of_the_frame(
    node: Node, client: Client, version: int
) -> None:
    node.gates.quotas.throttle_ms = 77
    frame = client.encode(produce(batch([b"a"])), version)
    await client.send(frame)
    answer = await client.answer(produce(b"").API, version, 1)
    assert (answer.throttle_time_ms, produced(answer).error_code) == (77, 0)
    ((kind, info, client_id, size, busy_ns),) = node.gates.quotas.told
    assert (kind, info, client_id, size) == ("produced", "peer", b"test", len(frame) - 4)
    assert 0 < busy_ns < 60_000_000_000


async def test_a_produce_that_wants_no_answer_is_charged(node: Node, client: Client) -> None:
    await client.send(client.encode(produce(batch([b"a"]), acks=0), 9))
    await until(lambda: node.gates.quotas.told)


async def test_fetched_bytes_are_those_of_the_answer(node: Node, client: Client) -> None:
    stored = await put(node, "t", b"x" * 5000)
    answer = await client.ask(fetch(("t", 0, 0)), 12)
    assert (answer.throttle_time_ms, only(answer).records) == (0, stored)
    ((kind, info, client_id, size, busy_ns),) = node.gates.quotas.told
    assert (kind, info, client_id) == ("fetched", "peer", b"test")
    assert len(stored) < size < len(stored) + 500
    assert 0 < busy_ns < 60_000_000_000


@pytest.mark.parametrize("version", range(4, 19))
async def test_a_fetch_beyond_its_quota_names_no_partition(
    node: Node, client: Client, version: int
) -> None:
    stored = await put(node, "t", b"a")
    node.gates.quotas.throttle_ms = 33
    answer = await client.ask(fetch(("t", 0, 0)), version)
    assert (answer.throttle_time_ms, answer.error_code, answer.responses) == (33, 0, [])
    node.gates.quotas.throttle_ms = 0
    assert only(await client.ask(fetch(("t", 0, 0)), version)).records == stored


async def test_an_answer_holds_what_the_quota_allows_but_one_batch(
    node: Node, client: Client
) -> None:
    first = await put(node, "t", b"a" * 100)
    second = await put(node, "t", b"b" * 100)
    node.gates.quotas.bytes_max = len(first) + len(second) - 1
    # (The last batch is cut, as with max_bytes.)
    cut = only(await client.ask(fetch(("t", 0, 0)), 12)).records
    assert cut == (first + second)[:-1]
    node.gates.quotas.bytes_max = 1
    assert only(await client.ask(fetch(("t", 0, 0), min_bytes=10_000), 12)).records == first
    node.gates.quotas.bytes_max = len(first) + len(second)
    assert only(await client.ask(fetch(("t", 0, 0)), 12)).records == first + second


async def test_a_session_is_begun_only_by_an_answer_with_partitions(
    node: Node, client: Client
) -> None:
    stored = await put(node, "t", b"a")
    node.gates.quotas.throttle_ms = 5
    refused = await client.ask(fetch(("t", 0, 0), session=(0, 0)), 12)
    assert (refused.session_id, parts(refused), len(node.sessions)) == (0, [], 0)
    node.gates.quotas.throttle_ms = 0
    begun = await client.ask(fetch(("t", 0, 0), session=(0, 0)), 12)
    assert (begun.session_id > 0, only(begun).records) == (True, stored)


async def test_a_session_goes_on_after_an_answer_without_partitions(
    node: Node, client: Client
) -> None:
    begun = await client.ask(fetch(("t", 0, 0), session=(0, 0)), 12)
    stored = await put(node, "t", b"a")
    node.gates.quotas.throttle_ms = 5
    refused = await client.ask(fetch(session=(begun.session_id, 1)), 12)
    assert (refused.session_id, refused.error_code, parts(refused)) == (begun.session_id, 0, [])
    node.gates.quotas.throttle_ms = 0
    again = await client.ask(fetch(session=(begun.session_id, 2)), 12)
    assert only(again).records == stored


async def test_a_fetch_that_waited_is_charged_when_it_is_answered(
    node: Node, client: Client
) -> None:
    await client.send(client.encode(fetch(("t", 0, 0), max_wait_ms=HOUR_MS), 12))
    await until(lambda: node.table.partition(b"t", 0).waiting_fetches)
    assert node.gates.quotas.told == []
    node.gates.quotas.throttle_ms = 9
    await put(node, "t", b"a")
    answer = await client.answer(fetch().API, 12, 1)
    assert (answer.throttle_time_ms, parts(answer)) == (9, [])
    assert [told[0] for told in node.gates.quotas.told] == ["fetched"]


async def test_a_fetch_that_began_before_there_was_a_quota_is_free(
    node: Node, client: Client
) -> None:
    quotas, node.gates.quotas = node.gates.quotas, None
    await client.send(client.encode(fetch(("t", 0, 0), max_wait_ms=HOUR_MS), 12))
    await until(lambda: node.table.partition(b"t", 0).waiting_fetches)
    quotas.throttle_ms = 9
    node.gates.quotas = quotas
    stored = await put(node, "t", b"a")
    answer = await client.answer(fetch().API, 12, 1)
    assert (answer.throttle_time_ms, only(answer).records) == (0, stored)
    assert quotas.told == []


async def test_followers_are_not_charged(node: Node, client: Client) -> None:
    node.gates.quotas.throttle_ms = 9
    request = fetch(("t", 0, 0))
    request.replica_id = 5
    assert (await client.ask(request, 12)).throttle_time_ms == 0
    assert node.gates.quotas.told == []


# -- a connection that is paused ------------------------------------------------------------------


class Timers:
    """Catches the timers of a loop that are hours away."""

    def __init__(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held: list[tuple[float, Callable[[], object], Timers.Handle]] = []
        call_at = node.loop.call_at

        def catch(when: float, callback: Any, *arguments: Any, **words: Any) -> Any:
            if when < node.loop.time() + 1000:
                return call_at(when, callback, *arguments, **words)
            handle = Timers.Handle()
            self.held.append((when, callback, handle))
            return handle

        monkeypatch.setattr(node.loop, "call_at", catch)

    class Handle:
        cancelled = False

        def cancel(self) -> None:
            self.cancelled = True

    def end(self) -> None:
        """The last one fires; those before it were cancelled."""
        assert [handle.cancelled for _, _, handle in self.held] == [True] * (len(self.held) - 1) + [
            False
        ]
        self.held[-1][1]()


@pytest.fixture
def timers(node: Node, monkeypatch: pytest.MonkeyPatch) -> Timers:
    return Timers(node, monkeypatch)


async def test_what_was_asked_is_answered_and_no_more_is_taken(
    node: Node, client: Client, timers: Timers
) -> None:
    def answer(frame: bytes, info: Any) -> bytes:
        client.connection.pause(HOUR_MS)
        return len(frame).to_bytes(4, "big") + frame

    node.dispatch = answer
    await client.send(slow_frame(b"1") + slow_frame(b"2"))
    assert await client.receive_frame() == slow_frame(b"1")[4:]
    await turns()
    assert (client.connection.requests, client.connection.paused) == (1, True)
    assert not client.connection.waits_for_peer
    timers.end()
    assert await client.receive_frame() == slow_frame(b"2")[4:]
    assert client.connection.requests == 2


async def test_the_longest_pause_counts(client: Client, timers: Timers) -> None:
    client.connection.pause(2 * HOUR_MS)
    client.connection.pause(HOUR_MS)
    assert len(timers.held) == 1
    client.connection.pause(3 * HOUR_MS)
    timers.end()
    assert not client.connection.paused


async def test_a_pause_and_a_stop_do_not_end_each_other(
    node: Node, client: Client, timers: Timers
) -> None:
    client.connection.pause(HOUR_MS)
    client.connection.mute(True)
    await client.send(slow_frame(b"1"))
    timers.end()
    await turns()
    assert client.connection.requests == 0
    client.connection.pause(HOUR_MS)
    client.connection.mute(False)
    await turns()
    assert client.connection.requests == 0
    timers.end()
    assert await client.receive_frame() == slow_frame(b"1")[4:]


async def test_a_connection_that_ends_leaves_no_timer(
    node: Node, client: Client, timers: Timers
) -> None:
    client.connection.pause(HOUR_MS)
    client.connection.close()
    assert timers.held[0][2].cancelled
    client.connection.pause(HOUR_MS)
    assert len(timers.held) == 1


async def test_a_real_timer_ends_the_pause(client: Client) -> None:
    client.connection.pause(1)
    await client.send(slow_frame(b"1"))
    assert await client.receive_frame() == slow_frame(b"1")[4:]
    async with asyncio.timeout(10):
        while client.connection.paused:
            await asyncio.sleep(0)
