"""Produce from frame to file: every version, every refusal, and leaving the fast path."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.native.lane_harness import Client, Node, batch
from tests.unit.native.produce_requests import only, produce
from tidelog._native import partition as gates
from tidelog.errors import InvariantError, KafkaError, StorageError
from tidelog.protocol.api import ApiKey
from tidelog.protocol.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from tidelog.record.reasons import REASONS, InvalidBatchError, Reason, RecordError

VERSIONS = range(3, 14)


@pytest.fixture
async def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture
async def client(node: Node) -> Client:
    return node.connect()


def log_of(node: Node, topic: str = "t", index: int = 0) -> Any:
    return node.table.partition(topic.encode(), index).log


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_version_appends_and_answers_with_the_offset(
    node: Node, client: Client, version: int
) -> None:
    node.topic("t")
    first = only(await client.ask(produce(batch([b"a", b"b"])), version))
    second = only(await client.ask(produce(batch([b"c"])), version))
    assert (first.error_code, first.base_offset, first.log_append_time_ms) == (0, 0, -1)
    assert (second.error_code, second.base_offset) == (0, 2)
    assert log_of(node).log_end_offset == 3
    assert log_of(node).owner.rolls == 1  # the first append makes the files


async def test_several_topics_and_partitions_in_request_order(node: Node, client: Client) -> None:
    node.topic("t", 3)
    node.topic("u", 1)
    request = ProduceRequest(
        acks=1,
        topic_data=[
            TopicProduceData(
                name="t",
                partition_data=[
                    PartitionProduceData(index=i, records=batch([b"x"] * (i + 1)))
                    for i in (2, 0, 1)
                ],
            ),
            TopicProduceData(
                name="u",
                partition_data=[
                    PartitionProduceData(index=0, records=batch([b"y"])),
                    PartitionProduceData(index=7, records=batch([b"y"])),
                ],
            ),
        ],
    )
    answer = await client.ask(request, 9)
    found = [
        (t.name, [(p.index, p.error_code) for p in t.partition_responses]) for t in answer.responses
    ]
    assert found == [("t", [(2, 0), (0, 0), (1, 0)]), ("u", [(0, 0), (7, 3)])]
    assert [log_of(node, "t", i).log_end_offset for i in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("version", [3, 8, 9, 13])
async def test_refusals_have_kafkas_codes(node: Node, client: Client, version: int) -> None:
    node.topic("t")
    node.topic("remote", leader=False)
    node.topic("__consumer_offsets")
    good = batch([b"a"])
    unknown = 100 if version >= 13 else 3
    cases: list[tuple[ProduceRequest, int]] = [
        (produce(good, topic="nowhere"), unknown),
        (produce(good, index=1), 3),
        (produce(good, index=-1), 3),
        (produce(good, topic="remote"), 6),
        (produce(good, acks=2), 21),
        (produce(None), 87),
        (produce(b""), 87),
        (produce(good[:-1]), 87),
        (produce(good[:40] + bytes([good[40] ^ 1]) + good[41:]), 2),
    ]
    if version < 13:
        cases.append((produce(good, topic="__consumer_offsets"), 17))
    for request, code in cases:
        assert only(await client.ask(request, version)).error_code == code, request
    assert log_of(node).log_end_offset == 0


@pytest.mark.parametrize("version", [7, 8, 9, 13])
async def test_every_refused_record_is_named(node: Node, client: Client, version: int) -> None:
    entry = node.topic("t")
    entry.partitions[0].log.configure(timestamp_after_max_ms=0, timestamp_before_max_ms=0)
    node.limits = (2**31 - 1, 0, 0, False, False, -1)
    answer = only(await client.ask(produce(batch([b"a", b"b", b"c"])), version))
    assert (answer.error_code, answer.log_start_offset) == (32, 0)
    if version < 8:
        return
    assert [e.batch_index for e in answer.record_errors] == [0, 1, 2]
    assert all("should be within" in e.batch_index_error_message for e in answer.record_errors)
    assert answer.error_message == REASONS[20]


async def test_a_refusal_stands_beside_other_parts(node: Node, client: Client) -> None:
    """The records are looked at before the buffer goes on; the answer waits for another part."""
    entry = node.topic("t", 2)
    refusing, waiting = entry.partitions
    refusing.log.configure(timestamp_after_max_ms=0, timestamp_before_max_ms=0)
    node.limits = (2**31 - 1, 0, 0, False, False, -1)
    waiting.log.configure(flush_messages=1)
    request = produce(batch([b"a", b"b"]))
    request.topic_data[0].partition_data.append(
        PartitionProduceData(index=1, records=batch([b"c"]))
    )
    await client.send(client.encode(request, 9))
    await client.send(client.encode(produce(batch([b"z" * 500])), 9))
    while waiting.log.log_end_offset < 1:
        await asyncio.sleep(0)
    waiting.log.on_flushed(1)
    waiting.update_progress()
    first, second = (await client.answer(ApiKey.PRODUCE, 9, 1)).responses[0].partition_responses
    assert [e.batch_index for e in first.record_errors] == [0, 1]
    assert (second.error_code, second.base_offset, second.record_errors) == (0, 0, [])


async def test_the_leader_is_told_to_who_asks_the_wrong_node(node: Node, client: Client) -> None:
    node.topic("remote", leader=False)
    answer = only(await client.ask(produce(batch([b"a"]), topic="remote"), 10))
    assert answer.error_code == 6
    assert (answer.current_leader.leader_id, answer.current_leader.leader_epoch) == (1, 0)


@pytest.mark.parametrize("transactional_id", [None, "mine"])
async def test_a_transactional_batch_refuses_its_whole_request(
    node: Node, client: Client, transactional_id: str | None
) -> None:
    node.topic("t", 2)
    records = bytearray(batch([b"a"], producer=(1, 0, 0)))
    records[22] |= 0x10
    request = produce(batch([b"b"]))
    request.transactional_id = transactional_id
    request.topic_data[0].partition_data.append(
        PartitionProduceData(index=1, records=bytes(records))
    )
    answer = await client.ask(request, 9)
    assert [p.error_code for p in answer.responses[0].partition_responses] == [53, 53]
    assert log_of(node).log_end_offset == 0
    # The id alone is no transaction.
    request.topic_data[0].partition_data.pop()
    assert only(await client.ask(request, 9)).error_code == 0


async def test_pipelined_requests_are_answered_in_order_by_one_read(
    node: Node, client: Client
) -> None:
    node.topic("t")
    frames = [client.encode(produce(batch([b"a"])), 9) for _ in range(50)]
    await client.send(b"".join(frames))
    for i in range(50):
        answer = await client.answer(ApiKey.PRODUCE, 9, i + 1)
        assert only(answer).base_offset == i


async def test_a_roll_holds_back_only_its_own_connection(node: Node, client: Client) -> None:
    node.topic("t")
    node.topic("u")
    hold = log_of(node).owner.hold_roll = asyncio.Event()
    other = node.connect()
    await client.send(
        client.encode(produce(batch([b"a"])), 9) + client.encode(produce(batch([b"b"])), 9)
    )
    assert only(await other.ask(produce(batch([b"x"]), topic="u"), 9)).base_offset == 0
    assert log_of(node).log_end_offset == 0
    hold.set()
    assert only(await client.answer(ApiKey.PRODUCE, 9, 1)).base_offset == 0
    assert only(await client.answer(ApiKey.PRODUCE, 9, 2)).base_offset == 1


async def test_segments_roll_under_load_and_nothing_is_lost(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.topic("t", segment_bytes=2000)
    client = node.connect()
    frames = [client.encode(produce(batch([b"v" * 300])), 9) for _ in range(60)]
    await client.send(b"".join(frames))
    offsets = [only(await client.answer(ApiKey.PRODUCE, 9, i + 1)).base_offset for i in range(60)]
    assert offsets == list(range(60))
    assert log_of(node).owner.rolls >= 10


async def test_a_failed_roll_is_a_storage_error(node: Node, client: Client) -> None:
    node.topic("t")

    async def fail() -> None:
        raise StorageError("no space")

    log_of(node).owner.roll = fail
    assert only(await client.ask(produce(batch([b"a"])), 9)).error_code == 56
    assert client.connection.closed is False


async def test_a_topic_that_goes_while_its_log_rolls(node: Node, client: Client) -> None:
    entry = node.topic("t")
    owner = log_of(node).owner
    rolling, gone = asyncio.Event(), asyncio.Event()

    async def roll() -> None:
        rolling.set()
        await gone.wait()
        raise StorageError("the log is closed")

    owner.roll = roll
    await client.send(client.encode(produce(batch([b"a"])), 9))
    await rolling.wait()
    node.table.remove(b"t")
    entry.partitions[0].close(gates.DELETED)
    gone.set()
    assert only(await client.answer(ApiKey.PRODUCE, 9, 1)).error_code == 56


async def test_a_new_segment_may_be_full_again_before_its_turn(tmp_path: Path) -> None:
    """Every batch needs a segment of its own: who comes last sees as many rolls as came before."""
    node = Node(tmp_path)
    node.topic("t", segment_bytes=1200)
    clients = [node.connect() for _ in range(8)]
    for client in clients:
        await client.send(client.encode(produce(batch([b"v" * 1000])), 9))
    answers = [only(await client.answer(ApiKey.PRODUCE, 9, 1)) for client in clients]
    assert [a.error_code for a in answers] == [0] * 8
    assert sorted(a.base_offset for a in answers) == list(range(8))


async def test_a_log_that_asks_for_rolls_in_vain_is_broken(node: Node, client: Client) -> None:
    node.topic("t")
    rolls = 0

    async def roll() -> None:
        nonlocal rolls
        rolls += 1

    log_of(node).owner.roll = roll
    assert only(await client.ask(produce(batch([b"a"])), 9)).error_code == 56
    assert rolls == 3


async def test_a_gate_that_closed_before_the_wait_began_is_seen(node: Node, client: Client) -> None:
    """The first part waits for a flush, the second for a roll, and meanwhile the first one's
    partition is lost: nobody would wake the request any more.
    """
    entry = node.topic("t", 2)
    await log_of(node).owner.roll()
    log_of(node).configure(flush_messages=1)
    hold = log_of(node, index=1).owner.hold_roll = asyncio.Event()
    request = produce(batch([b"a"]))
    request.topic_data[0].partition_data.append(
        PartitionProduceData(index=1, records=batch([b"b"]))
    )
    await client.send(client.encode(request, 9))
    while log_of(node).log_end_offset < 1:
        await asyncio.sleep(0)
    entry.partitions[0].close(gates.NOT_LEADER)
    for _ in range(3):
        await asyncio.sleep(0)
    hold.set()
    parts = (await client.answer(ApiKey.PRODUCE, 9, 1)).responses[0].partition_responses
    assert [p.error_code for p in parts] == [6, 0]


async def test_unknown_comes_before_bad_acks(node: Node, client: Client) -> None:
    node.topic("t")
    assert only(await client.ask(produce(batch([b"a"]), acks=5, topic="u"), 9)).error_code == 3
    assert only(await client.ask(produce(batch([b"a"]), acks=5), 9)).error_code == 21


async def test_a_held_request_counts_as_memory(node: Node, client: Client) -> None:
    node.topic("t")
    hold = log_of(node).owner.hold_roll = asyncio.Event()
    await client.send(client.encode(produce(batch([b"v" * 100_000])), 9))
    while not client.connection.queued_bytes > 100_000:
        await asyncio.sleep(0)
    assert not client.connection.idle
    hold.set()
    assert only(await client.answer(ApiKey.PRODUCE, 9, 1)).error_code == 0
    assert client.connection.queued_bytes <= 300_000
    assert client.connection.idle


async def test_an_exception_ends_its_own_connection_and_is_told(node: Node, client: Client) -> None:
    node.topic("t")
    told: list[Any] = []
    node.loop.set_exception_handler(lambda loop, context: told.append(context["exception"]))

    async def roll() -> None:
        raise InvariantError("ours")

    other = node.connect()
    log_of(node).owner.roll = roll
    await client.send(client.encode(produce(batch([b"a"])), 9))
    assert await client.is_closed()
    assert [type(error) for error in told] == [InvariantError]
    assert len(node.tasks) == 0
    assert only(await other.ask(produce(batch([b"a"]), topic="u"), 9)).error_code == 3


async def test_acks_0_has_no_answer_and_an_error_closes(node: Node, client: Client) -> None:
    node.topic("t")
    await client.send(client.encode(produce(batch([b"a"]), acks=0), 9))
    answer = only(await client.ask(produce(batch([b"b"])), 9))
    assert answer.base_offset == 1
    await client.send(client.encode(produce(batch([b"a"]), acks=0, topic="nowhere"), 9))
    assert await client.is_closed()
    assert node.closed == ["acks=0 produce failed"]


async def test_not_enough_replicas_with_acks_all_only(node: Node, client: Client) -> None:
    entry = node.topic("t")
    entry.partitions[0].set_min_insync_replicas(2)
    assert only(await client.ask(produce(batch([b"a"]), acks=-1), 9)).error_code == 19
    assert only(await client.ask(produce(batch([b"a"]), acks=1), 9)).error_code == 0


async def test_answers_wait_for_a_due_flush(node: Node, client: Client) -> None:
    entry = node.topic("t")
    partition = entry.partitions[0]
    partition.log.configure(flush_messages=1)
    await client.send(client.encode(produce(batch([b"a"])), 9))
    await client.send(client.encode(produce(batch([b"b"])), 9))
    while partition.log.log_end_offset < 2:
        await asyncio.sleep(0)
    assert partition.log.owner.flush_requests > 0
    assert (partition.high_watermark, partition.local_end) == (0, 0)
    partition.log.on_flushed(1)
    partition.update_progress()
    assert only(await client.answer(ApiKey.PRODUCE, 9, 1)).base_offset == 0
    assert partition.high_watermark == 1
    partition.log.on_flushed(2)
    partition.update_progress()
    assert only(await client.answer(ApiKey.PRODUCE, 9, 2)).base_offset == 1


async def test_a_wait_with_acks_all_times_out(node: Node, client: Client) -> None:
    entry = node.topic("t")
    entry.partitions[0].log.configure(flush_messages=1)
    answer = only(await client.ask(produce(batch([b"a"]), acks=-1, timeout_ms=1), 9))
    assert answer.error_code == 7


async def test_a_lost_log_answers_those_who_wait(node: Node, client: Client) -> None:
    entry = node.topic("t")
    partition = entry.partitions[0]
    log = partition.log
    log.configure(flush_messages=1)
    await client.send(client.encode(produce(batch([b"a"])), 9))
    while log.log_end_offset < 1:
        await asyncio.sleep(0)
    partition.close(gates.OFFLINE)
    assert only(await client.answer(ApiKey.PRODUCE, 9, 1)).error_code == 56


async def test_a_peer_that_goes_leaves_no_waiter(node: Node, client: Client) -> None:
    entry = node.topic("t")
    partition = entry.partitions[0]
    partition.log.configure(flush_messages=1)
    await client.send(client.encode(produce(batch([b"a"])), 9))
    while partition.log.log_end_offset < 1:
        await asyncio.sleep(0)
    client.socket.close()
    while not node.closed:
        await asyncio.sleep(0)
    partition.log.on_flushed(1)
    partition.update_progress()
    assert partition.high_watermark == 1


@pytest.mark.parametrize("outcome", ["appended", "refused", "named", "broken"])
async def test_batches_to_rebuild_take_the_slow_way(
    node: Node, client: Client, outcome: str
) -> None:
    entry = node.topic("t")
    entry.partitions[0].log.configure(target_codec=1)
    await entry.partitions[0].log.owner.roll()
    seen: list[bytes] = []

    async def slow_append(partition: Any, records: Any, version: int) -> Any:
        seen.append(records())
        if outcome == "refused":
            raise KafkaError(87)
        if outcome == "named":
            raise InvalidBatchError(
                Reason.KEY_MISSING, 1, [RecordError(1, "one"), RecordError(3, "three")]
            )
        if outcome == "broken":
            raise StorageError("disk")
        _, code, base, last = partition.append_built(bytearray(records()), 1)
        return SimpleNamespace(
            error_code=code,
            base_offset=base,
            last_offset=last,
            log_append_time=-1,
            log_start_offset=0,
        )

    node.slow_append = slow_append
    data = batch([b"a", b"b"])
    answer = only(await client.ask(produce(data), 9))
    assert seen == [data]
    expected = {
        "appended": (0, 0, 0, None, []),
        "refused": (87, -1, -1, None, []),
        "named": (87, -1, 0, Reason.KEY_MISSING.text, [(1, "one"), (3, "three")]),
        "broken": (56, -1, -1, None, []),
    }[outcome]
    errors = [(e.batch_index, e.batch_index_error_message) for e in answer.record_errors]
    assert (answer.error_code, answer.base_offset, answer.log_start_offset) == expected[:3]
    assert (answer.error_message, errors) == expected[3:]


async def test_duplicates_get_their_original_offset(node: Node, client: Client) -> None:
    node.topic("t")
    first, second = (batch([b"a"], producer=(7, 0, i)) for i in range(2))
    assert only(await client.ask(produce(first), 9)).base_offset == 0
    assert only(await client.ask(produce(second), 9)).base_offset == 1
    again = only(await client.ask(produce(first), 9))
    assert (again.error_code, again.base_offset) == (0, 0)
    late = only(await client.ask(produce(batch([b"a"], producer=(7, 0, 9))), 9))
    assert late.error_code == 45


async def test_every_cut_of_a_request_closes_and_appends_nothing(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.topic("t")
    encoder = node.connect()
    frame = encoder.encode(produce(batch([b"a"])), 9)
    for cut in range(8, len(frame) - 4):
        client = node.connect()
        await client.send((cut).to_bytes(4, "big") + frame[4 : 4 + cut])
        assert await client.is_closed(), cut
    assert log_of(node).log_end_offset == 0
    assert None not in node.closed


class Quota:
    def produced(self, info: Any, client_id: bytes, n: int, busy_ns: int) -> int:
        return 77

    def may_write(self, info: Any, topic: bytes) -> bool:
        return topic != b"secret"


async def test_gates(node: Node, client: Client) -> None:
    node.topic("t")
    node.topic("secret")
    node.gates.quotas = node.gates.authorizer = Quota()
    answer = await client.ask(produce(batch([b"a"])), 9)
    assert answer.throttle_time_ms == 77
    assert only(answer).error_code == 0
    refused = await client.ask(produce(batch([b"a"]), topic="secret"), 9)
    assert only(refused).error_code == 29


async def test_a_batch_whose_producer_goes_is_not_opened(node: Node) -> None:
    """Peers that come with batches to open and go again would fill the memory."""
    node.topic("t")
    client = node.connect()
    node.table.partition(b"t", 0).log.configure(target_codec=4)
    ends: list[str] = []
    waiting = asyncio.Event()

    async def slow_append(partition: Any, records: Any, version: int) -> Any:
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("cancelled")

    node.slow_append = slow_append
    told: list[Any] = []
    node.loop.set_exception_handler(lambda loop, context: told.append(context))
    await client.send(client.encode(produce(batch([b"a"], compression=1)), 9))
    while not waiting.is_set():
        await asyncio.sleep(0)
    client.connection.close("gone")
    while node.tasks:
        await asyncio.sleep(0)
    assert (ends, told, node.closed) == (["cancelled"], [], ["gone"])
    assert node.reactor.total_bytes == 0
