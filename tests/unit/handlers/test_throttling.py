"""Quotas of requests that have no native lane: what is measured, and what the answer tells."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.handlers import throttling
from tidelog.handlers.api import Answer
from tidelog.handlers.context import RequestContext
from tidelog.handlers.throttling import began_ns, charged
from tidelog.metadata.records import QuotaRecord
from tidelog.protocol.codec import response_class
from tidelog.protocol.messages.add_partitions_to_txn import AddPartitionsToTxnRequest
from tidelog.protocol.messages.api_versions import ApiVersionsRequest
from tidelog.protocol.messages.find_coordinator import FindCoordinatorRequest
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse
from tidelog.protocol.messages.metadata import MetadataRequest
from tidelog.protocol.messages.write_txn_markers import WriteTxnMarkersRequest
from tidelog.protocol.schema import Request

CLIENT = (("client-id", "test"),)
MS = 1_000_000


class Ticking:
    """A clock of which every look takes `step_ns`."""

    def __init__(self, step_ns: int) -> None:
        self.now_ns, self.step_ns = 0, step_ns

    def __call__(self) -> int:
        self.now_ns += self.step_ns
        return self.now_ns


async def limited(monkeypatch: pytest.MonkeyPatch, percentage: float, step_ns: int) -> Node:
    """A node whose requests take `step_ns` each, as its clock says."""
    monkeypatch.setattr(throttling, "perf_counter_ns", Ticking(step_ns))
    node = Node()
    node.controller.apply(QuotaRecord(CLIENT, "request_percentage", percentage))
    await node.follow()
    return node


@pytest.mark.parametrize("version", [0, 1, 2, 3, 9, 12])
async def test_answers_tell_the_time(monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    node = await limited(monkeypatch, 1.0, 51 * MS)
    paused: list[tuple[int, int]] = []
    node.quotas.pause = lambda connection_id, ms: paused.append((connection_id, ms))
    # Of the cache from the second one on.
    answers = [await node.ask(MetadataRequest(topics=[]), version) for _ in range(3)]
    told = [0, 200, 1000] if version >= 3 else [0, 0, 0]
    assert [answer.throttle_time_ms for answer in answers] == told
    assert all(answer.brokers for answer in answers)
    assert paused == [(7, 200), (7, 1000)]


async def test_versions_without_the_field_are_held_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = await limited(monkeypatch, 1.0, 1000 * MS)
    paused: list[int] = []
    node.quotas.pause = lambda connection_id, ms: paused.append(ms)
    await node.ask(ApiVersionsRequest(), 0)
    await node.ask(FindCoordinatorRequest(key="g"), 0)
    assert paused == [1000, 1000]


async def test_what_a_request_waits_for_is_not_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    node = await limited(monkeypatch, 1.0, 34 * MS)
    go_on = asyncio.Event()

    async def join(*_: Any) -> JoinGroupResponse:
        await go_on.wait()
        return JoinGroupResponse()

    monkeypatch.setattr(node.groups, "join_group", join, raising=False)
    asking = asyncio.ensure_future(node.ask(JoinGroupRequest(group_id="g"), 5))
    for _ in range(50):
        await asyncio.sleep(0)
    go_on.set()
    # Its call, and its two steps.
    assert (await asking).throttle_time_ms == 200


async def test_a_cancelled_request_is_cancelled_within(monkeypatch: pytest.MonkeyPatch) -> None:
    node = await limited(monkeypatch, 1.0, MS)
    ended: list[str] = []

    async def join(*_: Any) -> Answer:
        try:
            # (Nothing here is a future that is cancelled by itself.)
            for _ in range(1000):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        raise AssertionError

    monkeypatch.setattr(node.groups, "join_group", join, raising=False)
    asking = asyncio.ensure_future(node.ask(JoinGroupRequest(group_id="g"), 5))
    for _ in range(5):
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert ended == ["cancelled"]


async def test_an_error_of_a_measured_request_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    node = await limited(monkeypatch, 1.0, MS)

    async def join(*_: Any) -> Answer:
        await asyncio.sleep(0)
        raise OSError("broken")

    monkeypatch.setattr(node.groups, "join_group", join, raising=False)
    answer = await node.ask(JoinGroupRequest(group_id="g"), 5)
    assert answer.error_code == -1


async def test_nothing_is_measured_without_quotas(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> int:
        raise AssertionError("the clock was read")

    monkeypatch.setattr(throttling, "perf_counter_ns", never)
    node = Node()
    assert (await node.ask(MetadataRequest(topics=[]), 9)).throttle_time_ms == 0


@pytest.mark.parametrize(
    ("request_", "version", "held"),
    [
        (WriteTxnMarkersRequest(), 1, False),
        (AddPartitionsToTxnRequest(), 4, False),
        (AddPartitionsToTxnRequest(), 3, True),
    ],
)
async def test_what_nodes_ask_each_other_is_held_by_no_quota(
    monkeypatch: pytest.MonkeyPatch, request_: Request, version: int, held: bool
) -> None:
    node = await limited(monkeypatch, 1e-6, 60 * MS)
    paused: list[int] = []
    node.quotas.pause = lambda connection_id, ms: paused.append(ms)
    context = RequestContext(
        request_.API, version, 1, "test", node.connection, node.services, busy_ns=60 * MS
    )
    assert bool(began_ns(context)) is held
    answer = charged(response_class(request_.API)(), context)
    assert bool(getattr(answer, "throttle_time_ms", 0)) is bool(paused) is held
