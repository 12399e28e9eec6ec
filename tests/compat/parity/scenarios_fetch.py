"""Fetch: bounds, sizes, waits, sessions, errors."""

from __future__ import annotations

from tests.compat.parity.batches import Batch, Record
from tests.compat.parity.scenarios_produce import producing
from tests.compat.parity.session import Session, observe, scenario
from tidelog.protocol.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    DeleteRecordsTopic,
)
from tidelog.protocol.messages.fetch import (
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    ForgottenTopic,
)
from tidelog.protocol.messages.produce import ProduceResponse


def fetching(
    topic: str,
    offset: int,
    *,
    partition: int = 0,
    topic_id: bytes = bytes(16),
    max_bytes: int = 2**31 - 1,
    partition_max_bytes: int = 1 << 20,
    leader_epoch: int = -1,
    min_bytes: int = 0,
    max_wait_ms: int = 0,
    isolation_level: int = 0,
    session_id: int = 0,
    session_epoch: int = -1,
    last_fetched_epoch: int = -1,
) -> FetchRequest:
    return FetchRequest(
        max_wait_ms=max_wait_ms,
        min_bytes=min_bytes,
        max_bytes=max_bytes,
        isolation_level=isolation_level,
        session_id=session_id,
        session_epoch=session_epoch,
        topics=[
            FetchTopic(
                topic=topic,
                topic_id=topic_id,
                partitions=[
                    FetchPartition(
                        partition=partition,
                        current_leader_epoch=leader_epoch,
                        fetch_offset=offset,
                        last_fetched_epoch=last_fetched_epoch,
                        partition_max_bytes=partition_max_bytes,
                    )
                ],
            )
        ],
    )


def fill(s: Session, topic: str, batches: int = 3, records: int = 2) -> None:
    for _ in range(batches):
        data = Batch([Record() for _ in range(records)]).encode()
        answer = s.call(producing(topic, data), 9, ProduceResponse)
        assert answer.responses[0].partition_responses[0].error_code == 0


@scenario
def fetch_versions(s: Session) -> None:
    """The same fetch in every version; unknown topics and partitions."""
    topic_id = s.create("f-versions")
    fill(s, "f-versions")
    for version in range(4, 19):
        s.ask(f"v{version}", fetching("f-versions", 0, topic_id=topic_id), version)
        s.ask(
            f"unknown v{version}",
            fetching("no-such", 0, topic_id=b"\1" * 16),
            version,
        )
        s.ask(
            f"unknown partition v{version}",
            fetching("f-versions", 0, topic_id=topic_id, partition=9),
            version,
        )
    s.ask("zero id", fetching("", 0), 13)
    s.ask("no topics", FetchRequest(max_wait_ms=0, max_bytes=1000), 12)


@scenario
def fetch_offsets(s: Session) -> None:
    """Offsets inside, at the ends of and outside the log."""
    s.create("f-offsets")
    s.ask("empty log at 0", fetching("f-offsets", 0), 12)
    s.ask("empty log at 1", fetching("f-offsets", 1), 12)
    fill(s, "f-offsets")
    for offset in (-2, -1, 0, 1, 2, 3, 5, 6, 7, 100):
        s.ask(f"offset {offset}", fetching("f-offsets", offset), 12)
    s.ask("beyond in v4", fetching("f-offsets", 7), 4)
    s.ask("beyond in v11", fetching("f-offsets", 7), 11)
    request = DeleteRecordsRequest(
        topics=[
            DeleteRecordsTopic(
                name="f-offsets",
                partitions=[DeleteRecordsPartition(partition_index=0, offset=3)],
            )
        ],
        timeout_ms=5000,
    )
    s.call(request, 2, DeleteRecordsResponse)
    for offset in (0, 2, 3, 4):
        s.ask(f"start is 3, offset {offset}", fetching("f-offsets", offset), 12)


@scenario
def fetch_sizes(s: Session) -> None:
    """max_bytes, partition_max_bytes, and at least one batch."""
    s.create("f-sizes", 2)
    fill(s, "f-sizes")
    for partition_max in (0, 1, 90, 200, 10_000):
        s.ask(
            f"partition_max_bytes {partition_max}",
            fetching("f-sizes", 0, partition_max_bytes=partition_max),
            12,
        )
    for most in (0, 1, 90, 200):
        s.ask(f"max_bytes {most}", fetching("f-sizes", 0, max_bytes=most), 12)
    s.ask("max_bytes 1 in the middle", fetching("f-sizes", 3, max_bytes=1), 12)
    s.ask("negative sizes", fetching("f-sizes", 0, max_bytes=-1, partition_max_bytes=-1), 12)
    for isolation in (0, 1, 2):
        s.ask(f"isolation {isolation}", fetching("f-sizes", 0, isolation_level=isolation), 12)
    s.ask("waits in vain", fetching("f-sizes", 6, min_bytes=1, max_wait_ms=50), 12)
    both = fetching("f-sizes", 0, max_bytes=100)
    both.topics[0].partitions.append(
        FetchPartition(partition=1, fetch_offset=0, partition_max_bytes=1000)
    )
    s.ask("two partitions", both, 12)
    twice = fetching("f-sizes", 0)
    twice.topics[0].partitions.append(
        FetchPartition(partition=0, fetch_offset=2, partition_max_bytes=1000)
    )
    s.ask("one partition twice", twice, 12)


@scenario
def fetch_epochs(s: Session) -> None:
    """Leader epochs that the client names."""
    s.create("f-epochs")
    fill(s, "f-epochs", 1)
    for epoch in (-1, 0, 1, 99):
        for version in (9, 12):
            s.ask(
                f"leader epoch {epoch} v{version}",
                fetching("f-epochs", 0, leader_epoch=epoch),
                version,
            )
    for epoch in (0, 1):
        s.ask(
            f"last fetched epoch {epoch}",
            fetching("f-epochs", 2, leader_epoch=0, last_fetched_epoch=epoch),
            12,
        )
    follower = fetching("f-epochs", 0)
    follower.replica_id = 5
    s.ask("a replica that is none", follower, 12)
    debug = fetching("f-epochs", 0)
    debug.replica_id = -2
    s.ask("debugging consumer", debug, 12)


@scenario
def fetch_sessions(s: Session) -> None:
    """Incremental sessions and their errors."""
    topic_id = s.create("f-sess", 2)
    fill(s, "f-sess", 1)
    first = fetching("f-sess", 0, session_epoch=0)
    first.topics[0].partitions.append(
        FetchPartition(partition=1, fetch_offset=0, partition_max_bytes=1000)
    )
    s.connection.send(first, 12)
    answer = s.connection.answer(first, 12)
    assert isinstance(answer, FetchResponse)
    s.note("a new session", observe(answer, 12))
    session = answer.session_id

    def more(label: str, epoch: int, request: FetchRequest | None = None, **ids: int) -> None:
        request = request or FetchRequest(max_wait_ms=0, max_bytes=10**6)
        request.session_id = ids.get("session", session)
        request.session_epoch = epoch
        s.ask(label, request, 12)

    more("nothing new", 1)
    more("a position moves", 2, fetching("f-sess", 2))
    more("nothing again", 3)
    fill(s, "f-sess", 1)
    more("something new", 4)
    more("the same epoch again", 4)
    more("a future epoch", 9)
    more("an unknown session", 1, session=(session ^ 1) or 7)
    forget = FetchRequest(
        max_wait_ms=0,
        max_bytes=10**6,
        forgotten_topics_data=[ForgottenTopic(topic="f-sess", partitions=[0])],
    )
    more("forgets a partition", 5, forget)
    more("adds an unknown one", 6, fetching("no-such", 0))
    more("the unknown one is still told", 7)
    more("closes", -1)
    more("after closing", 8)
    more("epoch 0 without a session", 0, fetching("f-sess", 0), session=0)
    more("epoch 5 without a session", 5, fetching("f-sess", 0), session=0)
    by_id = fetching("", 0, topic_id=topic_id, session_epoch=0)
    s.connection.send(by_id, 13)
    answer = s.connection.answer(by_id, 13)
    assert isinstance(answer, FetchResponse)
    s.note("by id", observe(answer, 13))
    unknown = fetching("", 0, topic_id=b"\5" * 16)
    unknown.session_id, unknown.session_epoch = answer.session_id, 1
    s.ask("an unknown id is added", unknown, 13)
    names = fetching("f-sess", 0)
    names.session_id, names.session_epoch = answer.session_id, 2
    s.ask("names in a session of ids", names, 12)
