"""Produce: batches that are taken, refused, repeated, out of order."""

from __future__ import annotations

import time

from tests.compat.parity.batches import BASE_TIMESTAMP, Batch, Record
from tests.compat.parity.session import Closed, Session, observe, scenario, wait_until
from tidelog.protocol.messages.api_versions import ApiVersionsRequest
from tidelog.protocol.messages.init_producer_id import (
    InitProducerIdRequest,
    InitProducerIdResponse,
)
from tidelog.protocol.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)


def producing(
    topic: str,
    records: bytes | None,
    *,
    partition: int = 0,
    acks: int = 1,
    topic_id: bytes = bytes(16),
    transactional_id: str | None = None,
) -> ProduceRequest:
    return ProduceRequest(
        transactional_id=transactional_id,
        acks=acks,
        timeout_ms=5000,
        topic_data=[
            TopicProduceData(
                name=topic,
                topic_id=topic_id,
                partition_data=[PartitionProduceData(index=partition, records=records)],
            )
        ],
    )


def good(**changes: object) -> bytes:
    return Batch(**changes).encode()  # type: ignore[arg-type]


@scenario
def produce_versions(s: Session) -> None:
    """One good batch in every version."""
    topic_id = s.create("p-versions")
    for version in range(3, 14):
        s.ask(f"v{version}", producing("p-versions", good(), topic_id=topic_id), version)
    for version in (3, 7, 12):
        s.ask(f"unknown topic v{version}", producing("no-such", good()), version)
        s.ask(
            f"unknown partition v{version}", producing("p-versions", good(), partition=7), version
        )
    s.ask("unknown id", producing("", good(), topic_id=b"\1" * 16), 13)
    s.ask("zero id", producing("", good()), 13)
    s.ask("negative partition", producing("p-versions", good(), partition=-1), 12)
    s.ask("bad topic name", producing("a b", good()), 12)
    s.ask("no topics", ProduceRequest(acks=1, timeout_ms=1000), 12)
    for acks in (-1, 0, 1, 2, -2):
        if acks:
            s.ask(f"acks {acks}", producing("p-versions", good(), acks=acks), 9)


@scenario
def produce_without_acks(s: Session) -> None:
    """acks=0 has no answer; an error closes the connection."""
    s.create("p-acks0")
    for name, request in (
        ("good", producing("p-acks0", good(), acks=0)),
        ("unknown topic", producing("no-such", good(), acks=0)),
        ("bad crc", producing("p-acks0", good(crc=1), acks=0)),
    ):
        connection = s.connect()
        try:
            connection.send(request, 9)
            asked = connection.send(ApiVersionsRequest(), 0)
            got = int.from_bytes(connection.frame()[:4], "big")
            s.note(name, "no answer" if got == asked else "answered")
        except Closed:
            s.note(name, "closed")
        finally:
            connection.close()


def ask_code(s: Session, label: str, request: ProduceRequest, version: int) -> None:
    """Observes only the code: where earlier batches differ, so do all offsets after them."""
    try:
        answer = s.call(request, version, ProduceResponse)
    except (Closed, TimeoutError) as error:
        s.close()
        s.note(label, "closed" if isinstance(error, Closed) else "no answer")
        return
    parts = [p for topic in answer.responses for p in topic.partition_responses]
    s.note(label, [[p.error_code, p.base_offset >= 0, len(p.record_errors)] for p in parts])


@scenario
def produce_bad_batches(s: Session) -> None:
    """Batches with a wrong field each."""
    s.create("p-bad")
    two = good() + good()
    gapped = [Record(offset_delta=0), Record(offset_delta=2)]
    short = Batch().encode()
    for name, data in (
        ("null records", None),
        ("no records", b""),
        ("bad crc", good(crc=1)),
        ("magic 0", good(magic=0)),
        ("magic 1", good(magic=1)),
        ("magic 3", good(magic=3)),
        ("magic -1", good(magic=-1)),
        ("two batches", two),
        ("cut", short[:-3]),
        ("cut in the header", short[:40]),
        ("ten bytes", short[:10]),
        ("bytes behind", short + b"\0\0\0"),
        ("length too large", good(length=len(short) + 100)),
        ("length too small", good(length=10)),
        ("negative length", good(length=-1)),
        ("count too large", good(count=2, last_offset_delta=1)),
        ("count too small", good(records=[Record(), Record()], count=1, last_offset_delta=0)),
        ("count 0", good(records=[], count=0, last_offset_delta=-1)),
        ("negative count", good(count=-1)),
        ("last offset delta differs from count", good(last_offset_delta=5)),
        ("negative last offset delta", good(last_offset_delta=-1)),
        ("gap in offsets", good(records=gapped, last_offset_delta=2)),
        ("offsets do not match", good(records=[Record(offset_delta=0), Record(offset_delta=0)])),
        ("base offset is not 0", good(base_offset=5)),
        ("control batch", good(attributes=0x20)),
        ("transactional without an id", good(attributes=0x10)),
        ("unknown codec", good(attributes=5)),
        ("codec 7", good(attributes=7)),
        ("gzip", good(attributes=1)),
        ("gzip of rubbish", good(attributes=1, body=b"rubbish")),
        ("zstd of rubbish", good(attributes=4, body=b"rubbish")),
        ("snappy of rubbish", good(attributes=2, body=b"rubbish")),
        ("lz4 of rubbish", good(attributes=3, body=b"rubbish")),
        ("record framing", good(body=b"\xff\xff\xff\xff\xff\xff")),
        ("record cut", good(body=Record().encode(0)[:-2])),
        ("record with bytes behind", good(body=Record().encode(0) + b"\0")),
        ("unused attribute bit", good(attributes=0x80)),
        ("log append time bit", good(attributes=0x08)),
        ("max timestamp differs", good(max_timestamp=BASE_TIMESTAMP + 5)),
        ("negative timestamp", good(base_timestamp=-1)),
        ("timestamp -2", good(base_timestamp=-2)),
        ("producer id without epoch", good(producer_id=1, producer_epoch=-1, base_sequence=0)),
        ("producer id without sequence", good(producer_id=1, producer_epoch=0, base_sequence=-1)),
        ("leader epoch set", good(partition_leader_epoch=77)),
    ):
        ask_code(s, name, producing("p-bad", data), 9)
    ask_code(s, "zstd in v6", producing("p-bad", good(attributes=4, body=b"x")), 6)
    ask_code(s, "bad crc in v3", producing("p-bad", good(crc=1)), 3)


@scenario
def produce_limits(s: Session) -> None:
    """Sizes, times and keys that the topic's configs refuse."""
    s.create("p-small", max_message_bytes="200")
    large = [Record(value=bytes(300))]
    s.ask("too large", producing("p-small", good(records=large)), 9)
    s.ask("too large, compressed small", producing("p-small", good(records=large, attributes=1)), 9)
    s.ask("second of two too large", producing("p-small", good() + good(records=large)), 9)
    now = int(time.time() * 1000)
    s.create("p-before", message_timestamp_before_max_ms="1000")
    s.ask("too old", producing("p-before", good()), 9)
    s.ask("too old in v7", producing("p-before", good()), 7)
    some_old = [Record(), Record(timestamp_delta=-100_000), Record()]
    mixed = good(records=some_old, base_timestamp=now)
    s.ask("one of three too old", producing("p-before", mixed), 9)
    s.create("p-after")
    s.ask("two hours ahead", producing("p-after", good(base_timestamp=now + 7_200_000)), 9)
    s.ask("half an hour ahead", producing("p-after", good(base_timestamp=now + 1_800_000)), 9)
    s.create("p-append-time", message_timestamp_type="LogAppendTime")
    s.ask("log append time", producing("p-append-time", good()), 9)
    s.ask("log append time, old", producing("p-append-time", good(base_timestamp=5)), 9)
    s.ask(
        "log append time, ahead",
        producing("p-append-time", good(base_timestamp=now + 10**10)),
        9,
    )
    s.create("p-compact", cleanup_policy="compact")
    s.ask("no key, compacted", producing("p-compact", good(records=[Record(key=None)])), 9)
    some = [Record(), Record(key=None), Record(), Record(key=None)]
    s.ask("some without key, compacted", producing("p-compact", good(records=some)), 9)
    s.ask("some without key, v7", producing("p-compact", good(records=some)), 7)
    s.ask("no key, compressed", producing("p-compact", good(records=some, attributes=1)), 9)
    s.ask("keys, compacted", producing("p-compact", good()), 9)
    s.create("p-isr", min_insync_replicas="2")
    s.ask("min.insync.replicas 2, acks -1", producing("p-isr", good(), acks=-1), 9)
    s.ask("min.insync.replicas 2, acks 1", producing("p-isr", good(), acks=1), 9)


def new_producer(s: Session) -> int:
    """A producer id; a broker that has just started may first have to fetch a block of them."""
    request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=60000)
    found = InitProducerIdResponse()

    def given() -> bool:
        nonlocal found
        found = s.call(request, 4, InitProducerIdResponse)
        return found.error_code == 0

    wait_until(given, "no producer id")
    return found.producer_id


@scenario
def produce_idempotent(s: Session) -> None:
    """Sequences, duplicates, epochs."""
    s.create("p-idem")
    pid = new_producer(s)

    def send(
        label: str, sequence: int, *, epoch: int = 0, count: int = 1, producer: int | None = None
    ) -> None:
        data = good(
            records=[Record() for _ in range(count)],
            producer_id=pid if producer is None else producer,
            producer_epoch=epoch,
            base_sequence=sequence,
        )
        s.ask(label, producing("p-idem", data, acks=-1), 9)

    for sequence in range(7):
        send(f"sequence {sequence}", sequence)
    send("the last again", 6)
    send("the fifth last again", 2)
    send("the sixth last again", 1)
    send("a gap", 9)
    send("three records", 7, count=3)
    send("part of a batch again", 8)
    send("a longer batch that overlaps", 8, count=5)
    send("the same start, other count", 7, count=2)
    send("a newer epoch from 0", 0, epoch=1)
    send("an older epoch", 10, epoch=0)
    send("a newer epoch not from 0", 5, epoch=2)
    send("an unknown producer not from 0", 5, producer=pid + 100_000)
    send("an unknown producer from 0", 0, producer=pid + 200_000)
    last = 2**31 - 1
    wrapping = new_producer(s)
    send("a new producer near the end", last - 1, producer=wrapping, count=2)
    send("wrapped to 0", 0, producer=wrapping)
    send("wrapping inside one batch", 1, producer=wrapping, count=2)
    other = new_producer(s)
    two = good(producer_id=other, producer_epoch=0, base_sequence=0)
    two += good(producer_id=other, producer_epoch=0, base_sequence=1)
    s.ask("two idempotent batches", producing("p-idem", two), 9)
    # Several batches of one request, each a new one.
    s.ask(
        "duplicate in v7",
        producing("p-idem", good(producer_id=pid, producer_epoch=1, base_sequence=0)),
        7,
    )


@scenario
def init_producer_id(s: Session) -> None:
    """InitProducerId without a transactional id."""
    new_producer(s)
    for version in range(6):
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=60000)
        s.ask(f"v{version}", request, version)
    for name, request in (
        ("timeout 0", InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=0)),
        ("timeout max", InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=-1)),
        (
            "own id and epoch",
            InitProducerIdRequest(
                transactional_id=None,
                transaction_timeout_ms=1,
                producer_id=5,
                producer_epoch=3,
            ),
        ),
        (
            "own id without epoch",
            InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1, producer_id=5),
        ),
        (
            "empty transactional id",
            InitProducerIdRequest(transactional_id="", transaction_timeout_ms=60000),
        ),
    ):
        s.ask(name, request, 4)


@scenario
def produce_many_partitions(s: Session) -> None:
    """Several topics and partitions in a request, some of them bad."""
    s.create("p-many", 3)
    request = ProduceRequest(
        acks=1,
        timeout_ms=1000,
        topic_data=[
            TopicProduceData(
                name="p-many",
                partition_data=[
                    PartitionProduceData(index=2, records=good()),
                    PartitionProduceData(index=0, records=good(crc=5)),
                    PartitionProduceData(index=9, records=good()),
                ],
            ),
            TopicProduceData(
                name="missing", partition_data=[PartitionProduceData(index=0, records=good())]
            ),
            TopicProduceData(name="p-many", partition_data=[]),
        ],
    )
    answer = s.call(request, 9, ProduceResponse)
    answer.responses.sort(key=lambda t: (t.name, len(t.partition_responses)))
    answer.responses = [t for t in answer.responses if t.partition_responses]
    for one in answer.responses:
        one.partition_responses.sort(key=lambda p: p.index)
    s.note("answer", observe(answer, 9))
    twice = producing("p-many", good())
    twice.topic_data[0].partition_data.append(PartitionProduceData(index=0, records=good()))
    s.ask("a partition twice", twice, 9)
