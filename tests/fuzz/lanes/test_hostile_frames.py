"""Mutated and cut requests: the connection is closed for a reason or answered, others go on, and
nothing is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.lanes.lane_world import LOOPS, Fetch, Produce, World, fetches, produces, run
from tests.unit.native.lane_harness import batch
from tests.unit.native.test_fetch_lane import fetch, put
from tests.unit.native.test_produce_lane import only, produce

hostile = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])

#: Lengths and numbers that a parser may stumble over.
NUMBERS = [
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\xfe",
    b"\x00\x01\x00\x00",
    b"\x7f\xff",
    b"\xff\xff",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\x7f",
    b"\x80\x80\x80\x80\x08",
    b"\x00",
    b"\x01",
]
#: (where in thousandths of the frame, how, with what)
mutations = st.lists(
    st.tuples(
        st.integers(0, 999),
        st.sampled_from(["put", "insert", "remove", "flip"]),
        st.one_of(st.sampled_from(NUMBERS), st.binary(min_size=1, max_size=4)),
    ),
    min_size=1,
    max_size=4,
)


def mutate(frame: bytes, changes: list[tuple[int, str, bytes]], true_size: bool) -> bytes:
    """The frame changed behind its size, which is made true again or left."""
    body = bytearray(frame[4:])
    for where, how, what in changes:
        at = where * len(body) // 1000
        match how:
            case "put":
                body[at : at + len(what)] = what
            case "insert":
                body[at:at] = what
            case "remove":
                del body[at : at + len(what)]
            case "flip":
                body[at : at + 1] = bytes([body[at] ^ (what[0] or 1)]) if at < len(body) else b""
    # Produce and Fetch only: the dispatcher of the harness echoes everything else.
    body[:2] = frame[4:6]
    return (struct.pack(">i", len(body)) if true_size else frame[:4]) + bytes(body)


@pytest.mark.parametrize("loop", LOOPS)
@hostile
@given(
    victims=st.lists(
        st.tuples(st.one_of(produces, fetches), mutations, st.booleans()), min_size=1, max_size=5
    ),
    scratch_size=st.sampled_from([64, 1 << 18]),
)
def test_mutated_frames(
    loop: str,
    victims: list[tuple[Produce | Fetch, list[tuple[int, str, bytes]], bool]],
    scratch_size: int,
) -> None:
    async def work(world: World) -> None:
        node, (good, *others) = world.node, world.clients
        for place in ("small", "t"):
            await put(node, place, b"a", b"b")
        for client, (step, changes, true_size) in zip(others, victims, strict=False):
            frame = mutate(world.encode(client, step), changes, true_size)
            with contextlib.suppress(ConnectionError):
                await client.send(frame)
            # It goes on beside it, and what waits is woken.
            assert only(await good.ask(produce(batch([b"c"])), 9)).error_code == 0
            answer = await good.ask(fetch(("t", 0, 0)), 12)
            assert answer.responses[0].partitions[0].error_code == 0
        assert None not in node.closed

    run(loop, work, 6, scratch_size=scratch_size)


@pytest.mark.parametrize("loop", LOOPS)
@hostile
@given(step=st.one_of(produces, fetches), data=st.data())
def test_frames_cut_short(loop: str, step: Produce | Fetch, data: st.DataObject) -> None:
    async def work(world: World) -> None:
        good, whole, short, stalled = world.clients
        frame = world.encode(whole, step)
        cut = data.draw(st.integers(0, len(frame) - 5))
        with contextlib.suppress(ConnectionError):
            # The size says what comes: a request that ends too early.
            await short.send(struct.pack(">i", cut) + frame[4 : 4 + cut])
            # The size is true, but the rest does not come.
            await stalled.send(frame[: 4 + cut])
        stalled.socket.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(10):
            while not (short.connection.closed and stalled.connection.closed):
                await asyncio.sleep(0)
        assert only(await good.ask(produce(batch([b"c"])), 9)).error_code == 0
        assert None in world.node.closed  # it went by itself
        assert set(world.node.closed) - {None} <= {
            "a frame without a request header",
            "malformed request header",
            "malformed Produce request",
            "malformed Fetch request",
        }

    run(loop, work, 4)


@pytest.mark.parametrize("loop", LOOPS)
@hostile
@given(
    steps=st.lists(st.one_of(produces, fetches), min_size=1, max_size=20),
    flush_messages=st.sampled_from([1, 2**63 - 1]),
    turns=st.integers(0, 12),
)
def test_peers_that_go_at_any_moment(
    loop: str, steps: list[Produce | Fetch], flush_messages: int, turns: int
) -> None:
    """Requests wait for flushes, rolls and data when their connection ends."""

    async def work(world: World) -> None:
        for partition in world.node.table.get(b"t").partitions:  # type: ignore[union-attr]
            partition.log.configure(flush_messages=flush_messages)
        good, *others = world.clients
        for number, step in enumerate(steps):
            client = others[number % len(others)]
            if isinstance(step, Fetch):
                step.min_bytes = 1 << 20
            with contextlib.suppress(ConnectionError):
                await client.send(world.encode(client, step))
        for _ in range(turns):
            await asyncio.sleep(0)
        others[0].socket.close()
        others[1].connection.close("the server stops")
        for _ in range(turns):
            await asyncio.sleep(0)
        assert only(await good.ask(produce(batch([b"c"]), topic="small"), 9)).error_code == 0
        for partition in world.node.table.get(b"t").partitions:  # type: ignore[union-attr]
            partition.log.on_flushed(partition.log.log_end_offset)
            partition.update_progress()
        assert only(await good.ask(produce(batch([b"c"]), topic="small"), 9)).error_code == 0

    run(loop, work, 4)
