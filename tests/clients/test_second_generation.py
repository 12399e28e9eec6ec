"""The second generation of the transaction protocol (KIP-890), message by message: partitions join
by being written to, and each transaction has an epoch of its own. The Python clients do not speak
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.compat.parity.scenarios_transactions import Producer
from tests.compat.parity.session import Session, wait_until
from tests.house.broker import ServedBroker
from tidelog.protocol.messages.describe_transactions import (
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
)
from tidelog.protocol.messages.end_txn import EndTxnRequest, EndTxnResponse
from tidelog.protocol.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopic,
)
from tidelog.protocol.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)
from tidelog.record.builder import NewRecord, build_batch
from tidelog.record.builder import Producer as BatchProducer

TOPIC = "second-generation"
CONCURRENT = 51


@pytest.fixture
def session(serve: Callable[..., ServedBroker]) -> Iterator[Session]:
    broker = serve("--workers", "1")
    host, _, port = broker.bootstrap_servers.rpartition(":")
    session = Session(host, int(port))
    session.create(TOPIC, 2)
    yield session
    session.close()


def produce(s: Session, producer: Producer, partition: int, epoch: int, sequence: int) -> int:
    """One record of a transaction; the error code, when the transaction before is complete."""
    batch = build_batch(
        [NewRecord(1_700_000_000_000, None, b"value")],
        producer=BatchProducer(producer.id, epoch, sequence),
        is_transactional=True,
    )
    data = PartitionProduceData(index=partition, records=bytes(batch))
    request = ProduceRequest(
        transactional_id=producer.tid,
        acks=-1,
        timeout_ms=5_000,
        topic_data=[TopicProduceData(name=TOPIC, partition_data=[data])],
    )
    codes: list[int] = []

    def answered() -> bool:
        answer = s.call(request, 12, ProduceResponse)
        codes.append(answer.responses[0].partition_responses[0].error_code)
        return codes[-1] != CONCURRENT

    wait_until(answered, "the transaction before is not complete")
    return codes[-1]


def end(s: Session, producer: Producer, epoch: int, commit: bool) -> tuple[int, int]:
    """(error code, the epoch to go on with), when what is under way is complete."""
    request = EndTxnRequest(
        transactional_id=producer.tid,
        producer_id=producer.id,
        producer_epoch=epoch,
        committed=commit,
    )
    answers: list[EndTxnResponse] = []

    def answered() -> bool:
        answers.append(s.call(request, 5, EndTxnResponse))
        return answers[-1].error_code != CONCURRENT

    wait_until(answered, "the transaction is not complete")
    return answers[-1].error_code, answers[-1].producer_epoch


def ends(s: Session, isolation: int) -> list[int]:
    """The end offsets of both partitions for such a reader."""
    request = ListOffsetsRequest(
        replica_id=-1,
        isolation_level=isolation,
        topics=[
            ListOffsetsTopic(
                name=TOPIC,
                partitions=[
                    ListOffsetsPartition(partition_index=index, timestamp=-1) for index in (0, 1)
                ],
            )
        ],
    )
    answer = s.call(request, 5, ListOffsetsResponse)
    return [partition.offset for partition in answer.topics[0].partitions]


def joined(s: Session, producer: Producer) -> list[int]:
    """The partitions of its transaction."""
    request = DescribeTransactionsRequest(transactional_ids=[producer.tid])
    answer = s.call(request, 0, DescribeTransactionsResponse)
    return sorted(p for topic in answer.transaction_states[0].topics for p in topic.partitions)


def test_each_transaction_has_an_epoch_of_its_own(session: Session) -> None:
    s = session
    x = Producer(s, "sg-x")
    assert x.epoch == 0
    # A partition joins by being written to.
    assert produce(s, x, 0, 0, 0) == 0
    assert joined(s, x) == [0]
    assert produce(s, x, 1, 0, 0) == 0
    assert joined(s, x) == [0, 1]
    assert (ends(s, 0), ends(s, 1)) == ([1, 1], [0, 0])
    assert end(s, x, 0, True) == (0, 1)
    x.settle()
    assert (ends(s, 0), ends(s, 1)) == ([2, 2], [2, 2])

    # What is late, or comes twice, belongs to the transaction before, and changes nothing.
    assert produce(s, x, 0, 0, 1) == 47
    assert end(s, x, 0, True) == (0, 1)
    assert end(s, x, 0, False)[0] == 48
    assert produce(s, x, 0, 1, 0) == 0
    assert end(s, x, 0, True)[0] == 90
    assert produce(s, x, 1, 0, 1) == 47
    assert joined(s, x) == [0]

    # Whoever takes over ends it; the former producer is fenced wherever it asks.
    Producer(s, "sg-x")
    assert produce(s, x, 0, 1, 1) == 47
    assert produce(s, x, 1, 1, 0) in (47, 90)
    assert end(s, x, 1, True)[0] == 90
    assert (ends(s, 0), ends(s, 1)) == ([4, 2], [4, 2])


def test_an_abort_of_nothing(session: Session) -> None:
    """A producer that does not know whether its transaction has begun may abort it."""
    x = Producer(session, "sg-nothing")
    assert end(session, x, 0, False) == (0, 1)
    x.settle()
    assert end(session, x, 1, True)[0] == 48
    assert produce(session, x, 0, 1, 0) == 0
    assert end(session, x, 1, False) == (0, 2)
    x.settle()
    assert ends(session, 1) == [2, 0]
