"""Random requests in pipelines over several connections: every answer in order and true."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.lanes.lane_world import (
    LED,
    LOOPS,
    Fetch,
    Produce,
    World,
    fetches,
    produces,
    run,
    split,
)
from tests.unit.native.lane_harness import topic_id_of
from tests.unit.native.test_fetch_lane import fetch, parts

EXAMPLES = 20
traffic = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

CONNECTIONS = 3
#: (connection, request) in bursts: what is in one burst is sent before any answer is read.
bursts = st.lists(
    st.lists(
        st.tuples(st.integers(0, CONNECTIONS - 1), st.one_of(produces, produces, fetches)),
        max_size=10,
    ),
    max_size=4,
)


@pytest.mark.parametrize("loop", LOOPS)
@traffic
@given(
    script=bursts,
    piece=st.sampled_from([1, 7, 100, 5000, 1 << 20]),
    scratch_size=st.sampled_from([64, 1000, 1 << 18]),
    waiting_max=st.sampled_from([1, 3, 100]),
)
def test_pipelines(
    loop: str,
    script: list[list[tuple[int, Produce | Fetch]]],
    piece: int,
    scratch_size: int,
    waiting_max: int,
) -> None:
    async def work(world: World) -> None:
        for burst in script:
            data = dict.fromkeys(world.clients, b"")
            for number, step in burst:
                client = world.clients[number]
                data[client] += world.encode(client, step)
            sending = [_send(world, client, data[client], piece) for client in world.clients]
            await asyncio.gather(*sending, *(world.answers(client) for client in world.clients))
        await _settle(world)
        world.check_logs()

    run(loop, work, CONNECTIONS, scratch_size=scratch_size, waiting_max=waiting_max)


async def _send(world: World, client: Any, data: bytes, piece: int) -> None:
    for at in range(0, len(data), max(piece, len(data) // 50 + 1)):
        await client.send(data[at : at + max(piece, len(data) // 50 + 1)])
        await asyncio.sleep(0)


async def _settle(world: World) -> None:
    """What was sent with acks=0 has been appended when the connection answers something else."""
    for client in world.clients:
        await client.ask(fetch(("t", 0, 0)), 4)


steps = st.lists(
    st.tuples(
        st.sampled_from(LED),
        st.integers(1, 5),  # records
        st.booleans(),  # forget this partition and take it in again
        st.booleans(),  # begin a new session
    ),
    max_size=15,
)


@pytest.mark.parametrize("loop", LOOPS)
@traffic
@given(
    script=steps,
    version=st.integers(7, 18),
    max_bytes=st.sampled_from([1, 400, 1 << 20]),
    slots=st.sampled_from([0, 1, 10]),
)
def test_a_consumer_with_a_session_gets_every_byte_once(
    loop: str, script: list[Any], version: int, max_bytes: int, slots: int
) -> None:
    async def work(world: World) -> None:
        producer, consumer = world.clients
        reader = Reader(consumer, version, max_bytes)
        for place, records, forget, anew in script:
            await producer.send(world.encode(producer, Produce(9, 1, [(place, records)])))
            await world.answers(producer)
            if anew:
                reader.session = (0, 0)
            await reader.read([place] if forget else [])
        for _ in range(5 * len(script) + 5):
            await reader.read([])
        for place in LED:
            assert reader.got[place] == world.content(place)
        world.check_logs()
        assert len(world.node.sessions) <= max(slots, 0)

    run(loop, work, 2, session_slots=slots)


class Reader:
    """A consumer that keeps to the rules of incremental fetch sessions."""

    def __init__(self, client: Any, version: int, max_bytes: int) -> None:
        self.client = client
        self.version = version
        self.max_bytes = max_bytes
        self.session = (0, 0)
        self.got = dict.fromkeys(LED, b"")
        self.offsets = dict.fromkeys(LED, 0)
        self.asked: dict[Any, int] = {}

    async def read(self, forget: list[Any]) -> None:
        if self.session == (0, 0):
            forget, self.asked = [], {}
        # (A partition that is forgotten and asked for in one request stays out: Kafka's order.)
        asked = {
            place: offset
            for place, offset in self.offsets.items()
            if self.asked.get(place) != offset and place not in forget
        }
        request = fetch(
            *((*place, offset) for place, offset in asked.items()),
            session=self.session,
            max_bytes=self.max_bytes,
            forgotten=[place for place in forget if place in self.asked],
        )
        answer = await self.client.ask(request, self.version)
        assert answer.error_code == 0
        self.asked.update(asked)
        for place in forget:
            self.asked.pop(place, None)
        number = answer.session_id
        self.session = (number, self.session[1] + 1) if number else (0, 0)
        listed = [(t, p) for t in answer.responses for p in t.partitions]
        assert len(parts(answer)) == len(listed)
        for topic, part in listed:
            self.take(_name(topic, self.version), part)

    def take(self, topic: str, part: Any) -> None:
        place = (topic, part.partition_index)
        assert part.error_code == 0
        for batch, data in split(bytes(part.records)):
            if batch.header.base_offset < self.offsets[place]:
                continue
            assert batch.header.base_offset == self.offsets[place]
            self.got[place] += data
            self.offsets[place] += batch.header.last_offset_delta + 1


def _name(topic: Any, version: int) -> str:
    if version < 13:
        return str(topic.topic)
    return next(name for name in ("small", "t") if topic_id_of(name) == topic.topic_id)
