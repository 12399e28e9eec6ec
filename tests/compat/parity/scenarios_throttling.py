"""What quotas hold up: rates of bytes, shares of time, changes of the controller."""

from __future__ import annotations

import time

from tests.compat.parity.batches import Batch, Record
from tests.compat.parity.scenarios_produce import producing
from tests.compat.parity.scenarios_quotas import set_quotas
from tests.compat.parity.session import Connection, Session, scenario
from tidelog.protocol.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from tidelog.protocol.messages.create_topics import CreatableTopic, CreateTopicsRequest
from tidelog.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from tidelog.protocol.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from tidelog.protocol.messages.metadata import MetadataRequest
from tidelog.protocol.schema import Request, Response


def asked(connection: Connection, message: Request, version: int, client_id: str) -> Response:
    connection.send(message, version, client_id)
    return connection.answer(message, version)


def throttle(answer: Response) -> int:
    time_ms: int = getattr(answer, "throttle_time_ms")  # noqa: B009 (every answer has its own)
    return time_ms


def throttled_again(connection: Connection, message: Request, version: int, client: str) -> bool:
    """Whether an answer says so within so many requests, and the next one then waits that long."""
    for _ in range(20):
        time_ms = throttle(asked(connection, message, version, client))
        if time_ms:
            began = time.monotonic()
            asked(connection, message, version, client)
            return time.monotonic() - began >= 0.8 * time_ms / 1000
    return False


@scenario
def byte_rates(s: Session) -> None:
    """Produce and fetch beyond their rates."""
    s.create("br")
    records = [Record(value=b"x" * 1000) for _ in range(10)]
    produce = producing("br", Batch(records).encode())
    connection = s.connect()
    s.note("without a quota", throttle(asked(connection, produce, 9, "br-p")))
    set_quotas(s, {"client-id": "br-p"}, producer_byte_rate=20_000)
    s.note("produce", throttled_again(connection, produce, 9, "br-p"))
    s.note("another client", throttle(asked(connection, produce, 9, "br-other")))
    for _ in range(20):
        s.connection.send(produce, 9)
        s.connection.answer(produce, 9)

    def fetching(offset: int) -> FetchRequest:
        return FetchRequest(
            replica_id=-1,
            max_wait_ms=0,
            min_bytes=1,
            max_bytes=20_000,
            session_epoch=-1,
            topics=[
                FetchTopic(
                    topic="br",
                    partitions=[
                        FetchPartition(partition=0, fetch_offset=offset, partition_max_bytes=20_000)
                    ],
                )
            ],
        )

    def size(answer: Response) -> int:
        parts = [p for t in answer.responses for p in t.partitions]  # type: ignore[attr-defined]
        return sum(len(p.records or b"") for p in parts)

    set_quotas(s, {"client-id": "br-f"}, consumer_byte_rate=10_000)
    sizes = []
    for _ in range(20):
        answer = asked(connection, fetching(0), 12, "br-f")
        if throttle(answer):
            break
        sizes.append(size(answer))
    parts = [p for t in answer.responses for p in t.partitions]  # type: ignore[attr-defined]
    s.note("a fetch beyond it", (throttle(answer) > 0, len(parts)))
    s.note("fetches within the window", (len(sizes) > 3, sum(sizes) <= 100_000))
    set_quotas(s, {"client-id": "br-p"}, producer_byte_rate=None)
    set_quotas(s, {"client-id": "br-f"}, consumer_byte_rate=None)
    connection.close()


@scenario
def request_percentages(s: Session) -> None:
    """Any request beyond a tiny share of time."""
    connection = s.connect()
    metadata = MetadataRequest(topics=[])
    s.note("without a quota", throttle(asked(connection, metadata, 9, "rp")))
    set_quotas(s, {"client-id": "rp"}, request_percentage=0.0001)
    s.note("metadata", throttled_again(connection, metadata, 9, "rp"))
    set_quotas(s, {"client-id": "rp"}, request_percentage=None)
    connection.close()


@scenario
def controller_mutations(s: Session) -> None:
    """Topics and partitions beyond a rate: refused from the versions on that know the error."""
    set_quotas(s, {"client-id": "cm"}, controller_mutation_rate=0.1)
    connection = s.connect()

    def create(label: str, *names: str, version: int = 7, count: int = 5) -> None:
        request = CreateTopicsRequest(
            topics=[
                CreatableTopic(name=name, num_partitions=count, replication_factor=1)
                for name in names
            ],
            timeout_ms=10_000,
        )
        answer = asked(connection, request, version, "cm")
        codes = sorted(t.error_code for t in answer.topics)  # type: ignore[attr-defined]
        s.note(label, (codes, throttle(answer) > 0))
        connection_anew()

    def connection_anew() -> None:
        # What is throttled is also muted: the next one comes on another connection.
        nonlocal connection
        connection.close()
        connection = s.connect()

    create("within the burst", "cm-1", count=1)
    create("beyond it", "cm-2", "cm-3")
    create("used up", "cm-4", version=6)
    create("used up, exists", "cm-1", version=6)
    create("used up, bad name", "a b", version=6)
    create("used up, before strictness", "cm-5", version=5, count=1)
    for version in (3, 2):
        request = CreatePartitionsRequest(
            topics=[CreatePartitionsTopic(name="cm-1", count=version * -1 + 5, assignments=None)],
            timeout_ms=10_000,
        )
        answer = asked(connection, request, version, "cm")
        codes = [t.error_code for t in answer.results]  # type: ignore[attr-defined]
        s.note(f"partitions v{version}", (codes, throttle(answer) > 0))
        connection_anew()
    for version in (5, 4):
        delete = DeleteTopicsRequest(topic_names=["cm-1"], timeout_ms=10_000)
        answer = asked(connection, delete, version, "cm")
        codes = [t.error_code for t in answer.responses]  # type: ignore[attr-defined]
        s.note(f"delete v{version}", (codes, throttle(answer) > 0))
        connection_anew()
    unknown = DeleteTopicsRequest(topics=[DeleteTopicState(name="no-such")], timeout_ms=10_000)
    answer = asked(connection, unknown, 6, "cm")
    codes = [t.error_code for t in answer.responses]  # type: ignore[attr-defined]
    s.note("delete an unknown one", (codes, throttle(answer) > 0))
    set_quotas(s, {"client-id": "cm"}, controller_mutation_rate=None)
    connection.close()
