"""Fetch from frame to file regions: every version, sessions, long polls, refusals."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.unit.native.lane_harness import Client, Node, batch, topic_id_of
from tidelog._native import partition as gates
from tidelog._native.followers import ClusterView
from tidelog._native.partition import Partition
from tidelog.protocol.api import ApiKey
from tidelog.protocol.messages.fetch import (
    FetchPartition,
    FetchRequest,
    FetchTopic,
    ForgottenTopic,
)

VERSIONS = range(4, 19)


def fetch(
    *asked: tuple[str, int, int],
    max_wait_ms: int = 0,
    min_bytes: int = 1,
    max_bytes: int = 1 << 20,
    partition_max_bytes: int = 1 << 20,
    session: tuple[int, int] = (0, -1),
    forgotten: list[tuple[str, int]] | None = None,
    **fields: Any,
) -> FetchRequest:
    """`asked`: (topic, partition, offset)."""
    topics: dict[str, list[FetchPartition]] = {}
    for topic, index, offset in asked:
        topics.setdefault(topic, []).append(
            FetchPartition(
                partition=index, fetch_offset=offset, partition_max_bytes=partition_max_bytes
            )
        )
    return FetchRequest(
        max_wait_ms=max_wait_ms,
        min_bytes=min_bytes,
        max_bytes=max_bytes,
        session_id=session[0],
        session_epoch=session[1],
        topics=[
            FetchTopic(topic=name, topic_id=topic_id_of(name), partitions=partitions)
            for name, partitions in topics.items()
        ],
        forgotten_topics_data=[
            ForgottenTopic(topic=name, topic_id=topic_id_of(name), partitions=[index])
            for name, index in forgotten or []
        ],
        **fields,
    )


def parts(answer: Any) -> list[Any]:
    return [p for t in answer.responses for p in t.partitions]


def only(answer: Any) -> Any:
    (part,) = parts(answer)
    return part


async def put(node: Node, topic: str, *values: bytes, index: int = 0) -> bytes:
    """Append one batch behind the lane's back; returns its bytes as stored."""
    partition = node.table.partition(topic.encode(), index)
    data = bytearray(batch(list(values)))
    if partition.append_built(data, 1)[0] == 3:
        await partition.log.owner.roll()
        assert partition.append_built(data, 1)[0] == 0
    return bytes(data)


@pytest.fixture
async def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture
async def client(node: Node) -> Client:
    return node.connect()


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_version_returns_the_stored_bytes(
    node: Node, client: Client, version: int
) -> None:
    node.topic("t")
    stored = await put(node, "t", b"a", b"b") + await put(node, "t", b"c")
    answer = await client.ask(fetch(("t", 0, 0)), version)
    part = only(answer)
    assert part.records == stored
    assert (part.error_code, part.high_watermark, part.last_stable_offset) == (0, 3, 3)
    assert part.aborted_transactions is None
    if version >= 13:
        assert answer.responses[0].topic_id == topic_id_of("t")
    else:
        assert answer.responses[0].topic == "t"
    # From the middle of the first batch: the whole batch.
    assert only(await client.ask(fetch(("t", 0, 1)), version)).records == stored
    at_end = only(await client.ask(fetch(("t", 0, 3)), version))
    assert (at_end.error_code, at_end.records) == (0, b"")
    committed = only(await client.ask(fetch(("t", 0, 0), isolation_level=1), version))
    assert (committed.records, committed.aborted_transactions) == (stored, [])


@pytest.mark.parametrize("version", [4, 12, 13, 17])
async def test_refusals_have_kafkas_codes(node: Node, client: Client, version: int) -> None:
    node.topic("t")
    node.topic("remote", leader=False)
    await put(node, "t", b"a")
    unknown = 100 if version >= 13 else 3
    for asked, code in [
        (("nowhere", 0, 0), unknown),
        (("t", 1, 0), 3),
        (("t", -1, 0), 3),
        (("remote", 0, 0), 6),
        (("t", 0, 2), 1),
        (("t", 0, -1), 1),
    ]:
        part = only(await client.ask(fetch(asked, max_wait_ms=60_000), version))
        assert part.error_code == code, asked
        assert (part.high_watermark, part.last_stable_offset, part.records) == (-1, -1, b"")


async def test_leader_epochs_are_fenced(node: Node, client: Client) -> None:
    entry = node.topic("t")
    entry.partitions[0].set_leadership(1, 5, 1, (1,), (1,))
    for epoch, code in [(4, 74), (5, 0), (6, 75), (-1, 0)]:
        request = fetch(("t", 0, 0))
        request.topics[0].partitions[0].current_leader_epoch = epoch
        part = only(await client.ask(request, 16))
        assert part.error_code == code
        assert part.current_leader.leader_epoch == (5 if code == 74 else -1)


async def test_nobody_is_a_follower_yet(node: Node, client: Client) -> None:
    node.topic("t")
    assert only(await client.ask(fetch(("t", 0, 0), replica_id=2), 14)).error_code == 6
    request = fetch(("t", 0, 0))
    request.replica_state.replica_id = 2
    assert only(await client.ask(request, 15)).error_code == 6


async def test_max_bytes_and_at_least_one_batch(node: Node, client: Client) -> None:
    node.topic("t", 2)
    first = await put(node, "t", b"a" * 1000)
    await put(node, "t", b"b" * 1000)
    other = await put(node, "t", b"c" * 1000, index=1)
    answer = await client.ask(fetch(("t", 0, 0), ("t", 1, 0), max_bytes=1), 12)
    assert [p.records for p in parts(answer)] == [first, b""]
    answer = await client.ask(fetch(("t", 0, 0), ("t", 1, 0), partition_max_bytes=1), 12)
    assert [p.records for p in parts(answer)] == [first, b""]
    answer = await client.ask(
        fetch(("t", 1, 0), ("t", 0, 1), max_bytes=len(other) + len(first) + 10), 12
    )
    assert [len(p.records) >= 1000 for p in parts(answer)] == [True, True]


async def test_an_append_wakes_who_waits(node: Node, client: Client) -> None:
    node.topic("t")
    await client.send(client.encode(fetch(("t", 0, 0), max_wait_ms=600_000), 12))
    while not node.table.partition(b"t", 0).waiting_fetches:
        await asyncio.sleep(0)
    stored = await put(node, "t", b"a")
    assert only(await client.answer(ApiKey.FETCH, 12, 1)).records == stored
    assert node.table.partition(b"t", 0).waiting_fetches == 0


async def test_min_bytes_gathers(node: Node, client: Client) -> None:
    node.topic("t", 2)
    request = fetch(("t", 0, 0), ("t", 1, 0), max_wait_ms=600_000, min_bytes=1500)
    await client.send(client.encode(request, 11))
    while not node.table.partition(b"t", 0).waiting_fetches:
        await asyncio.sleep(0)
    await put(node, "t", b"a" * 900)
    for _ in range(10):
        await asyncio.sleep(0)
    assert node.table.partition(b"t", 0).waiting_fetches == 1
    await put(node, "t", b"a" * 900, index=1)
    answer = await client.answer(ApiKey.FETCH, 11, 1)
    assert [len(p.records) > 900 for p in parts(answer)] == [True, True]


async def test_a_wait_ends_with_max_wait(node: Node, client: Client) -> None:
    node.topic("t")
    answer = await client.ask(fetch(("t", 0, 0), max_wait_ms=1), 12)
    assert only(answer).records == b""


async def test_a_lost_leadership_ends_the_wait(node: Node, client: Client) -> None:
    entry = node.topic("t")
    await client.send(client.encode(fetch(("t", 0, 0), max_wait_ms=600_000), 12))
    while not entry.partitions[0].waiting_fetches:
        await asyncio.sleep(0)
    entry.partitions[0].close(gates.DELETED)
    assert only(await client.answer(ApiKey.FETCH, 12, 1)).error_code == 3


async def test_a_peer_that_goes_leaves_no_waiter(node: Node, client: Client) -> None:
    entry = node.topic("t")
    await client.send(client.encode(fetch(("t", 0, 0), max_wait_ms=600_000), 12))
    while not entry.partitions[0].waiting_fetches:
        await asyncio.sleep(0)
    client.socket.close()
    while entry.partitions[0].waiting_fetches:
        await asyncio.sleep(0)
    assert node.closed == [None]


async def test_a_session_tells_only_news(node: Node, client: Client) -> None:
    node.topic("t", 3)
    for index in range(3):
        await put(node, "t", b"x", index=index)
    opening = await client.ask(
        fetch(("t", 0, 0), ("t", 1, 1), ("t", 2, 1), session=(0, 0), min_bytes=0), 12
    )
    session = opening.session_id
    assert session > 0
    assert [p.partition_index for p in parts(opening)] == [0, 1, 2]
    # Nothing new but the same data of partition 0.
    again = await client.ask(fetch(session=(session, 1), min_bytes=0), 12)
    assert (again.error_code, again.session_id) == (0, session)
    assert [p.partition_index for p in parts(again)] == [0]
    # The client moved on in partition 0; partition 1 got something.
    await put(node, "t", b"y", index=1)
    third = await client.ask(fetch(("t", 0, 1), session=(session, 2), min_bytes=0), 12)
    assert [(p.partition_index, p.high_watermark) for p in parts(third)] == [(1, 2)]
    # Forgotten partitions are told no more.
    fourth = await client.ask(fetch(session=(session, 3), forgotten=[("t", 1)], min_bytes=0), 12)
    assert parts(fourth) == []
    closing = await client.ask(fetch(("t", 2, 0), session=(session, -1)), 12)
    assert closing.session_id == 0
    assert len(node.sessions) == 0


async def test_session_errors(node: Node, client: Client) -> None:
    node.topic("t")
    opening = await client.ask(fetch(("t", 0, 0), session=(0, 0)), 13)
    session = opening.session_id
    unknown = await client.ask(fetch(session=(session ^ 1, 1), max_wait_ms=60_000), 13)
    assert (unknown.error_code, unknown.session_id, parts(unknown)) == (70, 0, [])
    stale = await client.ask(fetch(session=(session, 5)), 13)
    assert stale.error_code == 71
    by_name = await client.ask(fetch(session=(session, 1)), 12)
    assert by_name.error_code == 106


async def test_a_full_cache_of_sessions_means_none(tmp_path: Path) -> None:
    node = Node(tmp_path, session_slots=1)
    node.topic("t")
    client = node.connect()
    assert (await client.ask(fetch(("t", 0, 0), session=(0, 0)), 12)).session_id > 0
    assert (await client.ask(fetch(("t", 0, 0), session=(0, 0)), 12)).session_id == 0


async def test_partitions_with_data_go_to_the_end_of_the_session(
    node: Node, client: Client
) -> None:
    node.topic("t", 3)
    for index in range(3):
        await put(node, "t", b"x" * 500, index=index)
    asked = [("t", i, 0) for i in range(3)]
    opening = await client.ask(fetch(*asked, session=(0, 0), max_bytes=1), 12)
    order = []
    for epoch in range(1, 4):
        answer = await client.ask(fetch(session=(opening.session_id, epoch), max_bytes=1), 12)
        order += [p.partition_index for p in parts(answer) if p.records]
    assert order == [1, 2, 0]


async def test_cold_ranges_are_read_ahead(tmp_path: Path, monkeypatch: Any) -> None:
    node = Node(tmp_path, send_slice=4096)
    node.topic("t")
    stored = await put(node, "t", b"x" * 200_000)
    client = node.connect()
    assert only(await client.ask(fetch(("t", 0, 0)), 12)).records == stored
    assert node.reactor.cold_reads == 0  # it was just written


async def test_every_cut_of_a_request_closes(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.topic("t")
    encoder = node.connect()
    request = fetch(("t", 0, 0), session=(0, 0), forgotten=[("t", 1)])
    for version in (7, 11, 12, 17):
        request.replica_state.replica_id = 5 if version >= 15 else -1
        frame = encoder.encode(request, version)
        for cut in range(8, len(frame) - 4):
            client = node.connect()
            await client.send(cut.to_bytes(4, "big") + frame[4 : 4 + cut])
            assert await client.is_closed(), (version, cut)
    assert None not in node.closed


class Closed:
    def may_read(self, info: Any, topic: bytes) -> bool:
        return topic == b"t"


async def test_gates(node: Node, client: Client) -> None:
    node.topic("t")
    node.topic("secret")
    node.gates.authorizer = Closed()
    answer = await client.ask(fetch(("t", 0, 0), ("secret", 0, 0)), 12)
    assert answer.throttle_time_ms == 0
    assert [p.error_code for p in parts(answer)] == [0, 29]


async def test_a_segment_that_gets_no_more_is_not_waited_for(tmp_path: Path) -> None:
    """There is more than min_bytes, but in the next segment: as Kafka, answer at once."""
    node = Node(tmp_path)
    entry = node.topic("t")
    first = await put(node, "t", b"a")
    await entry.partitions[0].log.owner.roll()
    second = await put(node, "t", b"b" * 500)
    client = node.connect()
    answer = await client.ask(fetch(("t", 0, 0), max_wait_ms=600_000, min_bytes=200), 12)
    assert only(answer).records == first
    answer = await client.ask(fetch(("t", 0, 1), max_wait_ms=600_000, min_bytes=200), 12)
    assert only(answer).records == second


@pytest.mark.parametrize("max_bytes", [-1, 0, 10])
async def test_more_than_max_bytes_is_never_waited_for(
    node: Node, client: Client, max_bytes: int
) -> None:
    node.topic("t")
    stored = await put(node, "t", b"a")
    request = fetch(("t", 0, 0), max_wait_ms=600_000, min_bytes=1 << 30, max_bytes=max_bytes)
    assert only(await client.ask(request, 12)).records == stored


async def test_sessions_remember_only_so_much(tmp_path: Path) -> None:
    node = Node(tmp_path, session_partitions=5)
    node.topic("t", 4)
    client = node.connect()
    asked = [("t", i, 0) for i in range(4)]
    first = await client.ask(fetch(*asked, session=(0, 0)), 12)
    assert first.session_id != 0
    assert node.sessions.partition_count == 4
    # A second one would be too much: it is answered without a session.
    second = await client.ask(fetch(*asked, session=(0, 0)), 12)
    assert (second.error_code, second.session_id, len(parts(second))) == (0, 0, 4)
    # And one that grows too large is forgotten.
    more = [("u", i, 0) for i in range(2)]
    grown = await client.ask(fetch(*more, session=(first.session_id, 1)), 12)
    assert (grown.error_code, grown.session_id, parts(grown)) == (70, 0, [])
    assert (len(node.sessions), node.sessions.partition_count) == (0, 0)
    # Closing gives room.
    third = await client.ask(fetch(*asked, session=(0, 0)), 12)
    closing = await client.ask(fetch(session=(third.session_id, -1)), 12)
    assert (closing.error_code, node.sessions.partition_count) == (0, 0)


async def test_a_waiting_fetch_keeps_its_topics_and_no_more(node: Node, client: Client) -> None:
    node.topic("t", 3)
    node.topic("u")
    request = fetch(*(("t", i, 0) for i in range(3)), ("u", 0, 0), max_wait_ms=600_000)
    request.rack_id = "r" * 30_000
    await client.send(client.encode(request, 11))
    while not node.table.partition(b"u", 0).waiting_fetches:
        await asyncio.sleep(0)
    await client.send(client.encode(fetch(("u", 0, 0), max_wait_ms=600_000), 12))
    while node.table.partition(b"u", 0).waiting_fetches < 2:
        await asyncio.sleep(0)
    assert 0 < client.connection.queued_bytes < 10_000
    stored = await put(node, "u", b"a")
    answer = await client.answer(ApiKey.FETCH, 11, 1)
    assert [t.topic for t in answer.responses] == ["t", "u"]
    assert [p.records for p in parts(answer)] == [b"", b"", b"", stored]
    assert only(await client.answer(ApiKey.FETCH, 12, 2)).records == stored
    assert client.connection.queued_bytes == 0


class Aborted:
    """The transaction gate of fetches."""

    def __init__(self, found: list[tuple[int, int]]) -> None:
        self.found = found
        self.asked: list[Any] = []

    def aborted(
        self, partition: Any, offset: int, segment: Any, position: int, size: int
    ) -> list[tuple[int, int]]:
        self.asked.append((partition.index, offset, position, size))
        return self.found


@pytest.mark.parametrize("version", [4, 12, 17])
async def test_the_transaction_gate_names_what_was_aborted(
    node: Node, client: Client, version: int
) -> None:
    node.topic("t")
    stored = await put(node, "t", b"a")
    node.gates.transactions = gate = Aborted([(7, 0), (8, 3)] * 50)
    plain = only(await client.ask(fetch(("t", 0, 0)), version))
    assert (plain.records, plain.aborted_transactions, gate.asked) == (stored, None, [])
    part = only(await client.ask(fetch(("t", 0, 0), isolation_level=1), version))
    assert part.records == stored
    found = [(a.producer_id, a.first_offset) for a in part.aborted_transactions]
    assert found == gate.found
    assert gate.asked == [(0, 0, 0, len(stored))]


async def test_who_has_a_rack_is_sent_to_a_replica_there(node: Node, client: Client) -> None:
    """KIP-392: no records, but the id of a replica in sync that has them."""
    entry = node.topic("t")
    stored = await put(node, "t", b"abc")
    partition = entry.partitions[0]
    view = ClusterView(30_000, lambda *_: None)
    view.epochs = {2: 0, 3: 0, 4: 0}
    partition.set_leadership(1, 1, 1, (1, 2, 3, 4), (1, 2, 3))
    partition.open_as_leader(partition.log, 0, view)
    node.gates.near_racks = {b"r": frozenset((2, 3, 4)), b"s": frozenset((4,))}
    asked = fetch(("t", 0, 0), rack_id="r", max_wait_ms=20)

    async def preferred(request: FetchRequest, version: int = 12) -> int:
        answer = only(await client.ask(request, version))
        assert answer.error_code == 0
        assert not answer.records
        return int(answer.preferred_read_replica)

    # Nobody is known to have anything: as without a rack.
    assert await preferred(asked) == -1
    for follower, end in ((2, 1), (3, 0), (4, 1)):
        partition.replica_fetched(follower, 0, end, 0)
    assert partition.high_watermark == 0
    assert await preferred(asked) == 2
    assert await preferred(fetch(("t", 0, 1), rack_id="r", max_wait_ms=20)) == 2
    for rack in ("", "s", "elsewhere"):
        # (Node 4 has it, but is not in sync.)
        assert await preferred(fetch(("t", 0, 0), rack_id=rack, max_wait_ms=20)) == -1
    partition.replica_fetched(3, 0, 1, 0)
    assert partition.high_watermark == 1
    # In a session, too, it is told each time; a long poll does not wait for it.
    begun = fetch(("t", 0, 0), rack_id="r", max_wait_ms=600_000, min_bytes=1000, session=(0, 0))
    first = await client.ask(begun, 12)
    again = fetch(rack_id="r", max_wait_ms=600_000, session=(first.session_id, 1))
    for answer in (first, await client.ask(again, 12)):
        assert only(answer).preferred_read_replica in (2, 3)
        assert only(answer).high_watermark == 1
    # A client of before, and one that no selector looks at, gets the records.
    assert only(await client.ask(fetch(("t", 0, 0), rack_id="r"), 10)).records == stored
    node.gates.near_racks = None
    assert only(await client.ask(asked, 12)).records == stored


class Throttle:
    """Of a leader (KIP-73), as it is told."""

    def __init__(self) -> None:
        self.exceeded = False
        self.recorded: list[int] = []

    def record(self, size: int) -> None:
        self.recorded.append(size)

    def is_exceeded(self) -> bool:
        return self.exceeded

    def wait_ms(self) -> int:
        raise AssertionError("a leader does not wait")


@pytest.fixture
async def copied(node: Node) -> tuple[Partition, bytes]:
    """t-0, led by 1, copied by 2 (in sync) and 3 (not), and its one batch."""
    partition = node.topic("t").partitions[0]
    stored = await put(node, "t", b"abc")
    view = ClusterView(30_000, lambda *_: None)
    view.epochs = {2: 0, 3: 0}
    partition.set_leadership(1, 1, 1, (1, 2, 3), (1, 2))
    partition.open_as_leader(partition.log, 0, view)
    return partition, stored


def as_follower(node_id: int, offset: int = 0, **fields: Any) -> FetchRequest:
    request = fetch(("t", 0, offset), **fields)
    request.replica_state.replica_id = node_id
    return request


async def test_beyond_its_quota_a_leader_holds_back(
    node: Node, client: Client, copied: tuple[Partition, bytes]
) -> None:
    partition, stored = copied
    throttle = Throttle()
    partition.set_throttle(throttle)
    # Below it everybody gets it, and followers are charged, in sync or not.
    for follower in (2, 3):
        assert only(await client.ask(as_follower(follower), 17)).records == stored
    assert only(await client.ask(fetch(("t", 0, 0)), 17)).records == b""
    assert throttle.recorded == [len(stored)] * 2
    throttle.exceeded = True
    answer = only(await client.ask(as_follower(3, max_wait_ms=5), 17))
    assert (answer.error_code, answer.records, answer.log_start_offset) == (0, b"", 0)
    assert only(await client.ask(as_follower(2), 17)).records == stored
    assert throttle.recorded == [len(stored)] * 3
    # Its fetch is noted all the same.
    partition.replica_fetched(2, 0, 1, 0)
    assert partition.high_watermark == 1
    # A consumer is nobody's copy.
    assert only(await client.ask(fetch(("t", 0, 0)), 17)).records == stored
    assert throttle.recorded == [len(stored)] * 3
    # Who is in sync by now is not held back any more.
    partition.set_isr((1, 2, 3), 2)
    assert only(await client.ask(as_follower(3), 17)).records == stored


async def test_who_is_held_back_waits_for_the_quota(
    node: Node, client: Client, copied: tuple[Partition, bytes]
) -> None:
    """Also while the partition grows; the others of its fetch go on."""
    partition, stored = copied
    throttle = Throttle()
    throttle.exceeded = True
    partition.set_throttle(throttle)
    await client.send(client.encode(as_follower(3, max_wait_ms=600_000), 17))
    while not partition.waiting_fetches:
        await asyncio.sleep(0)
    await put(node, "t", b"more")
    node.progress.drain()
    assert partition.waiting_fetches == 1
    throttle.exceeded = False
    more = await put(node, "t", b"again")
    answer = only(await client.answer(ApiKey.FETCH, 17, client.correlation_id))
    assert answer.records.startswith(stored)
    assert answer.records.endswith(more)
    assert throttle.recorded == [len(answer.records)]


async def test_held_back_or_not_is_decided_by_partition(
    node: Node, client: Client, copied: tuple[Partition, bytes]
) -> None:
    throttle = Throttle()
    throttle.exceeded = True
    copied[0].set_throttle(throttle)
    other = node.topic("u").partitions[0]
    stored = await put(node, "u", b"xyz")
    other.set_leadership(1, 1, 1, (1, 3), (1,))
    other.open_as_leader(other.log, 0, ClusterView(30_000, lambda *_: None))
    request = fetch(("t", 0, 0), ("u", 0, 0), max_wait_ms=600_000)
    request.replica_state.replica_id = 3
    answer = await client.ask(request, 17)
    assert [part.records for part in parts(answer)] == [b"", stored]
    assert throttle.recorded == []
