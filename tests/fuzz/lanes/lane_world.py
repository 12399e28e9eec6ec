"""A node in miniature with a model beside it: requests from hypothesis, and what must be true of
every answer.

The model is the logs' own bytes read back from the files, and the batches as they were sent: an
acknowledged batch stands at its offset as it was sent but for the stamps, and what a fetch returns
is a piece of the log that begins with the batch that was asked for.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import struct
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from hypothesis import strategies as st

from tests.unit.native.lane_harness import Client, Node, batch
from tests.unit.native.test_fetch_lane import fetch, parts
from tests.unit.native.test_produce_lane import produce
from tidelog.protocol.api import ApiKey
from tidelog.protocol.messages.produce import PartitionProduceData, ProduceRequest
from tidelog.record.view import iterate_batches

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
#: Topics with their partitions; the last one is led elsewhere, "gone" exists nowhere.
TOPICS = {"small": 2, "t": 3, "remote": 1, "gone": 1}
LED = [(topic, index) for topic in ("small", "t") for index in range(TOPICS[topic])]
#: To a segment at rest: the log's list, twice the caller's variables, the argument.
SEGMENT_REFERENCES = 4

places = st.sampled_from([*LED, *LED, ("t", 3), ("t", -1), ("remote", 0), ("gone", 0)])


@dataclass
class Produce:
    """One Produce request: records for each place, 0 for an empty batch, -1 for a broken one."""

    version: int
    acks: int
    writes: list[tuple[tuple[str, int], int]]


@dataclass
class Fetch:
    """One Fetch request. `behind`: how far before the end of the log each place is read."""

    version: int
    reads: list[tuple[tuple[str, int], int]]
    max_bytes: int
    partition_max_bytes: int
    min_bytes: int
    isolation_level: int


produces = st.builds(
    Produce,
    version=st.integers(3, 13),
    acks=st.sampled_from([1, 1, -1, 0]),
    writes=st.lists(
        st.tuples(places, st.integers(-1, 4)), max_size=4, unique_by=lambda write: write[0]
    ),
)
fetches = st.builds(
    Fetch,
    version=st.integers(4, 18),
    reads=st.lists(
        st.tuples(places, st.integers(-2, 30)), max_size=4, unique_by=lambda read: read[0]
    ),
    max_bytes=st.sampled_from([-1, 0, 1, 700, 1 << 20]),
    partition_max_bytes=st.sampled_from([0, 1, 300, 1 << 20]),
    min_bytes=st.sampled_from([-1, 0, 1, 1 << 20]),
    isolation_level=st.integers(0, 1),
)


@dataclass
class Sent:
    """What was sent on a connection and is to be answered."""

    version: int
    correlation_id: int
    request: Any
    batches: dict[tuple[str, int], bytes] = field(default_factory=dict)


class World:
    """The node, its connections, and what is known of them."""

    def __init__(self, directory: Path, connections: int, **limits: Any) -> None:
        self.node = Node(directory, **limits)
        self.failures: list[Any] = []
        self.node.loop.set_exception_handler(lambda _, context: self.failures.append(context))
        self.node.topic("small", TOPICS["small"], segment_bytes=900)
        self.node.topic("t", TOPICS["t"])
        self.node.topic("remote", 1, leader=False)
        self.clients = [self.node.connect() for _ in range(connections)]
        self.waiting: dict[Client, list[Sent]] = {client: [] for client in self.clients}
        self.acknowledged: dict[tuple[str, int], dict[int, bytes]] = {led: {} for led in LED}
        self.unanswered: dict[tuple[str, int], list[bytes]] = {led: [] for led in LED}
        self.fetched: list[tuple[tuple[str, int], int, int, bytes]] = []
        self._values = itertools.count()

    def log(self, place: tuple[str, int]) -> Any:
        partition = self.node.table.partition(place[0].encode(), place[1])
        assert partition is not None
        return partition.log

    def content(self, place: tuple[str, int]) -> bytes:
        segments = self.log(place).segment_list
        return b"".join(bytes(segment.read_at(0, segment.size)) for segment in segments)

    # -- requests -----------------------------------------------------------------------------

    def encode(self, client: Client, step: Produce | Fetch) -> bytes:
        sent = self._produce(step) if isinstance(step, Produce) else self._fetch(step)
        frame = client.encode(sent.request, step.version)
        sent.correlation_id = client.correlation_id
        if not (isinstance(step, Produce) and step.acks == 0):
            self.waiting[client].append(sent)
        return frame

    def _batch(self, records: int, acks: int) -> bytes:
        values = [f"{next(self._values)}".encode() * 9 for _ in range(max(records, 1))]
        data = batch(values)
        if records == 0 and acks:
            return b""
        if records < 0 and acks:
            return data[:-1] + bytes([data[-1] ^ 0x40])
        return data

    def _produce(self, step: Produce) -> Sent:
        request = ProduceRequest(acks=step.acks, timeout_ms=60_000, topic_data=[])
        sent = Sent(step.version, 0, request)
        for (topic, index), records in step.writes:
            if step.acks == 0 and (topic, index) not in LED:
                continue  # its connection would be closed: the mutations' matter
            data = self._batch(records, step.acks)
            (named,) = produce(data, topic=topic, index=index).topic_data
            if request.topic_data and request.topic_data[-1].name == topic:
                request.topic_data[-1].partition_data.append(
                    PartitionProduceData(index=index, records=data)
                )
            else:
                request.topic_data.append(named)
            sent.batches[topic, index] = data
            if step.acks == 0:
                self.unanswered[topic, index].append(data)
        return sent

    def _fetch(self, step: Fetch) -> Sent:
        asked = []
        for place, behind in step.reads:
            end = self.log(place).log_end_offset if place in LED else 0
            asked.append((*place, max(end - behind, -1)))
        request = fetch(
            *asked,
            max_wait_ms=1,
            min_bytes=step.min_bytes,
            max_bytes=step.max_bytes,
            partition_max_bytes=step.partition_max_bytes,
            isolation_level=step.isolation_level,
        )
        return Sent(step.version, 0, request)

    # -- answers ------------------------------------------------------------------------------

    async def answers(self, client: Client) -> None:
        """Take every answer that is due, in order."""
        for sent in self.waiting[client]:
            key = ApiKey.PRODUCE if isinstance(sent.request, ProduceRequest) else ApiKey.FETCH
            answer = await client.answer(key, sent.version, sent.correlation_id)
            if key == ApiKey.PRODUCE:
                self.check_produced(sent, answer)
            else:
                self.check_fetched(sent, answer)
        self.waiting[client].clear()

    def check_produced(self, sent: Sent, answer: Any) -> None:
        asked = [(t.name, p.index) for t in sent.request.topic_data for p in t.partition_data]
        answered = [p for t in answer.responses for p in t.partition_responses]
        assert [p.index for p in answered] == [index for _, index in asked]
        for place, part in zip(asked, answered, strict=True):
            data = sent.batches[place]
            assert part.error_code == expected_error(place, data, sent.version), place
            if part.error_code == 0:
                assert part.base_offset not in self.acknowledged[place]
                self.acknowledged[place][part.base_offset] = data
            else:
                assert part.base_offset == -1

    def check_fetched(self, sent: Sent, answer: Any) -> None:
        asked = [
            (t.topic, p.partition, p.fetch_offset)
            for t in sent.request.topics
            for p in t.partitions
        ]
        answered = parts(answer)
        assert [p.partition_index for p in answered] == [index for _, index, _ in asked]
        for (topic, index, offset), part in zip(asked, answered, strict=True):
            place = (topic, index)
            if place not in LED:
                codes = {"remote": 6, "gone": 100 if sent.version >= 13 else 3}
                assert part.error_code == codes.get(topic, 3)
            elif part.error_code == 0:
                assert 0 <= offset <= part.high_watermark
                self.fetched.append((place, offset, part.high_watermark, bytes(part.records)))
            else:
                assert part.error_code == 1
                assert offset < 0 or part.records == b""

    # -- the end ------------------------------------------------------------------------------

    def check_logs(self) -> None:
        """Every acknowledged batch is where the answer said, every fetch got a piece of the log."""
        for place in LED:
            content = self.content(place)
            found = list(iterate_batches(content))
            offset = 0
            for each in found:
                assert each.header.base_offset == offset
                offset += each.header.last_offset_delta + 1
            assert offset == self.log(place).log_end_offset
            stored = {each.header.base_offset: data for each, data in split(content)}
            for base_offset, data in self.acknowledged[place].items():
                assert stored.pop(base_offset)[16:] == data[16:]
            left = sorted(data[16:] for data in stored.values())
            assert left == sorted(data[16:] for data in self.unanswered[place])
        for place, offset, high_watermark, records in self.fetched:
            self.check_piece(place, offset, high_watermark, records)

    def check_piece(
        self, place: tuple[str, int], offset: int, high_watermark: int, records: bytes
    ) -> None:
        if not records:
            return
        position = 0
        for each, data in split(self.content(place)):
            header = each.header
            if header.base_offset + header.last_offset_delta >= offset:
                break
            position += len(data)
        assert self.content(place)[position : position + len(records)] == records
        for each, _ in split(records):
            assert each.header.base_offset + each.header.last_offset_delta < high_watermark

    async def close(self) -> None:
        """Close everything; nothing of it may be left."""
        for client in self.clients:
            client.socket.close()
        async with asyncio.timeout(10):
            while len(self.node.closed) < len(self.clients) or len(self.node.tasks):
                await asyncio.sleep(0)
        assert self.node.reactor.total_bytes == 0
        assert not self.node.reactor.starving
        self.clients.clear()
        self.waiting.clear()
        gc.collect()
        for place in LED:
            partition = self.node.table.partition(place[0].encode(), place[1])
            assert (partition.waiting_fetches, partition.waiting_produces) == (0, 0)
            segments = self.log(place).segment_list
            for segment in segments:
                active = segment is self.log(place).active_segment
                assert sys.getrefcount(segment) == SEGMENT_REFERENCES + active
        assert self.failures == []


def expected_error(place: tuple[str, int], data: bytes, version: int) -> int:
    if place not in LED:
        return {"remote": 6, "gone": 100 if version >= 13 else 3}.get(place[0], 3)
    if not data:
        return 87
    (sent,) = iterate_batches(data, check_crc=False)
    return 0 if sent.is_crc_ok else 2


def split(content: bytes) -> list[tuple[Any, bytes]]:
    """Batches with their bytes; a cut one at the end is left out."""
    found = []
    position = 0
    while len(content) - position >= 12:
        size = 12 + struct.unpack_from(">i", content, position + 8)[0]
        if position + size > len(content):
            break
        data = content[position : position + size]
        (view,) = iterate_batches(data)
        found.append((view, data))
        position += size
    return found


def run(
    loop: str, work: Callable[[World], Awaitable[None]], connections: int, **limits: Any
) -> None:
    """Run `work` in a new world on a new loop of that kind."""

    async def main() -> None:
        with tempfile.TemporaryDirectory() as directory:
            world = World(Path(directory), connections, **limits)
            await work(world)
            await world.close()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())
