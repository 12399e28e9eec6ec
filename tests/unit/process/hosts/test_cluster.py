"""Several hosts are one cluster: one controller, the same metadata everywhere, and what happens
when one of them goes, is silent, or loses the service.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.house.memory_ensemble import MemoryService, Unknown
from tests.unit.process.hosts.scene import CLUSTER_ID, Host, until
from tidelog.controller.requests import (
    CreateTopics,
    Done,
    NewTopic,
    RegisterNode,
    RequestFailed,
    StartCluster,
)
from tidelog.metadata.records import ClusterRecord, TopicRecord
from tidelog.process.channel import encode_frame
from tidelog.process.hosts.messages import Greeting
from tidelog.process.node_report import NodePhase
from tidelog.protocol.error_codes import ErrorCode

Join = Callable[[int], Awaitable[list[Host]]]


@pytest.fixture
async def join() -> AsyncIterator[Join]:
    """Makes that many hosts that serve; all are closed in the end."""
    service = MemoryService()
    hosts: list[Host] = []

    async def made(count: int) -> list[Host]:
        for _ in range(count):
            host = Host(service, len(hosts) + 1)
            hosts.append(host)
            await host.start()
            await host.serve()
        return hosts

    yield made
    for host in hosts:
        await host.close()
        assert host.failures == []


def controller(hosts: list[Host]) -> Host:
    leading = [host for host in hosts if host.control.leads]
    assert len(leading) == 1
    return leading[0]


async def test_hosts_are_one_cluster(join: Join) -> None:
    one, two, three = await join(3)
    assert [host.control.leads for host in (one, two, three)] == [True, False, False]
    created = await three.create("t", 3)
    assert created.topics[0].error_code == 0
    # The answer was given when every live node had it.
    for host in (one, two, three):
        assert "t" in host.control.image.topics
        assert host.control.image == one.control.image
        assert host.versions == sorted(set(host.versions))
    nodes = one.control.image.nodes
    assert {node: nodes[node].host_id for node in nodes} == {1: "host1", 2: "host2", 3: "host3"}
    assert all(node.is_live for node in nodes.values())


async def test_an_answer_waits_for_the_nodes_of_other_hosts(join: Join) -> None:
    one, two = await join(2)
    two.applies = False
    answer = asyncio.ensure_future(one.create("t"))
    await until(lambda: "t" in two.control.image.topics, "the delta comes")
    assert not answer.done()
    two.control.node_version(2, two.control.image.version)
    await answer


async def test_another_host_takes_over_when_the_controller_leaves(join: Join) -> None:
    one, two, three = await join(3)
    await one.create("t")
    version = one.control.image.version
    await one.close()
    await until(lambda: two.control.leads or three.control.leads, "a controller")
    created = await two.create("u")
    assert created.topics[0].error_code == 0
    await until(lambda: two.control.image == three.control.image, "the same metadata")
    assert two.control.image.version > version
    # A host that has left is no host any more: its node is fenced.
    await until(lambda: three.control.image.nodes[1].fenced, "the node of the host is fenced")
    # Nobody needed the whole metadata once more.
    assert two.images == three.images == 1


async def test_a_lost_session_moves_the_seat(join: Join) -> None:
    one, two = await join(2)
    one.ensemble.lose_session()
    seat = two.ensemble.look().seat
    await until(lambda: two.ensemble.look().seat not in (None, seat), "the seat is taken")
    await until(lambda: one.control.leads != two.control.leads, "there is one controller")
    # Whoever stood first has it; what can be repeated is answered by whoever that is.
    assert await two.ask(StartCluster(CLUSTER_ID)) == Done()
    created = await two.create("t")
    assert created.topics[0].error_code == 0
    await until(lambda: "t" in one.control.image.topics, "both know it")
    assert one.control.leads != two.control.leads


async def test_the_service_being_away_stops_decisions_and_nothing_else(join: Join) -> None:
    one, two = await join(2)
    one.ensemble.unreachable()
    two.ensemble.unreachable()
    answer = await two.ask(CreateTopics((NewTopic("t", 1, 1),)))
    assert isinstance(answer, RequestFailed)
    assert all(node.is_live for node in two.control.image.nodes.values())
    one.ensemble.reachable_again()
    two.ensemble.reachable_again()
    await until(lambda: one.control.leads or two.control.leads, "a controller")
    created = await two.create("u")
    assert created.topics[0].error_code == 0


@pytest.mark.parametrize("outcome", list(Unknown))
async def test_an_unknown_commit_is_found_out(join: Join, outcome: Unknown) -> None:
    """What can be repeated is; whoever asked for something else is told that nobody knows."""
    one, two = await join(2)
    leading = controller([one, two])
    leading.ensemble.lose_answer(outcome)
    answer = await two.ask(StartCluster(CLUSTER_ID))
    assert answer == Done()
    leading.ensemble.lose_answer(outcome)
    answer = await two.ask(CreateTopics((NewTopic("t", 1, 1),)))
    assert isinstance(answer, RequestFailed)
    assert answer.error_code == ErrorCode.REQUEST_TIMED_OUT
    again = await two.create("t")
    assert again.topics[0].error_code in (0, ErrorCode.TOPIC_ALREADY_EXISTS)
    await until(lambda: one.control.image == two.control.image, "the same metadata")


async def test_a_node_of_another_host_is_refused(join: Join) -> None:
    one, two = await join(2)
    answer = await two.ask(RegisterNode(1, None, (), "127.0.0.1", 1, host_id="host2"))
    assert isinstance(answer, Done)
    assert answer.error_code == ErrorCode.DUPLICATE_BROKER_REGISTRATION
    assert one.control.image.nodes[1].host_id == "host1"


async def test_a_node_that_died_while_nobody_could_be_told_is_found_out(join: Join) -> None:
    one, two = await join(2)
    await one.create("t", 2)
    two.phase = NodePhase.GONE
    await until(lambda: one.control.image.nodes[2].down, "it is down")
    two.phase = NodePhase.SERVING
    await until(lambda: one.control.image.nodes[2].is_live, "it is back")


async def test_strangers_learn_nothing_and_cost_nothing(join: Join) -> None:
    (one,) = await join(1)
    view = one.ensemble.look()
    assert view.seat is not None
    address = ("127.0.0.1", int(view.seat.address.rpartition(":")[2]))
    greeting = encode_frame(Greeting("host9", view.seat.epoch, b"wrong", b"n", -1))
    for sent in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100, b"\0\0\0\1x", greeting):
        with socket.create_connection(address, timeout=5) as sock:
            sock.sendall(sent)
            received = await asyncio.to_thread(_all_of, sock)
        assert len(received) < 100  # the challenge
    await one.create("t")


def _all_of(sock: socket.socket) -> bytes:
    received = b""
    try:
        while data := sock.recv(65536):
            received += data
    except ConnectionResetError:
        pass
    return received


async def test_metadata_that_a_host_brings_is_the_clusters() -> None:
    service = MemoryService()
    importer, other = Host(service, 1), Host(service, 2)
    records = [ClusterRecord(CLUSTER_ID), TopicRecord(bytes(15) + b"\1", "brought")]
    # The importer has agreed, and then it died: nobody begins without what it brings.
    importer.ensemble.connect(1_000)
    importer.ensemble.agree(CLUSTER_ID, "host1")
    joining = asyncio.ensure_future(other.start())
    await until(lambda: service.epoch > 1, "the other host has had the seat, and given it back")
    assert not joining.done()
    await importer.start((41, records))
    await joining
    assert importer.control.leads
    for host in (importer, other):
        assert "brought" in host.control.image.topics
        assert host.control.image.version >= 41
    await importer.close()
    await other.close()


async def test_a_silent_host_is_lost_and_comes_back(join: Join) -> None:
    """A host that is connected, and says nothing: its nodes are fenced, then they are back."""
    one, two = await join(2)
    link = two.control._following
    assert link is not None
    link.report = lambda reports: None  # type: ignore[method-assign]
    assert one.control.image.nodes[2].is_live  # a report that is missing is no loss yet
    await until(lambda: one.control.image.nodes[2].fenced, "it is fenced")
    del link.report
    await until(lambda: one.control.image.nodes[2].is_live, "it is back")


async def test_a_controller_that_hears_nobody_gives_its_seat_up(join: Join) -> None:
    """The others have their sessions: they are not lost, and one of them is the controller."""
    one, two, three = await join(3)
    leading = one.control._leading
    assert leading is not None
    leading._liveness.heard = lambda host_id, now_ms: None  # type: ignore[method-assign]
    await until(lambda: two.control.leads or three.control.leads, "another controller")
    assert not one.control.leads
    await two.create("t")
    for host in (one, two, three):
        await until(lambda host=host: "t" in host.control.image.topics, "all know it")  # type: ignore[misc]
        assert all(node.is_live for node in host.control.image.nodes.values())
