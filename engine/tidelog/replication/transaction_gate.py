"""What the native lanes ask about transactions: may this batch be appended, and which transactions
must a reader of committed records leave out.

Belongs to the worker's loop task. A transactional batch that would begin a transaction in its
partition is appended only when the coordinator knows that the transaction has the partition
(KIP-890, part 1); from Produce version 12 on the question is also what adds it (part 2). Questions
to one node are asked together: those of all partitions of a Produce, and what gathers while another
request is under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from tidelog._native.partition import Partition
from tidelog.errors import TidelogError
from tidelog.metadata.image import MetadataImage
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    AddPartitionsToTxnTopic,
    AddPartitionsToTxnTransaction,
)
from tidelog.protocol.schema import Request, Response
from tidelog.storage.aborted import collect_from
from tidelog.types import TRANSACTION_STATE_TOPIC

if TYPE_CHECKING:
    from tidelog._native.producer_state import Expected, ProducerStates
    from tidelog._native.segment import Segment

#: The version of AddPartitionsToTxn that is for brokers and knows TRANSACTION_ABORTABLE.
_ADD_PARTITIONS_VERSION: Final = 5
#: From this version of Produce on a client knows TRANSACTION_ABORTABLE.
ABORTABLE_FROM: Final = 11
#: From this version of Produce on a partition is added by producing to it.
ADDS_FROM: Final = 12

#: Codes that a producer would not try again, as Kafka translates them.
_RETRIED: Final = frozenset(
    (
        ErrorCode.NETWORK_EXCEPTION,
        ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode.COORDINATOR_NOT_AVAILABLE,
        ErrorCode.NOT_COORDINATOR,
    )
)


class Peers(Protocol):
    """Who carries requests to other nodes (PeerClient)."""

    async def request(self, node_id: int, request: Request, api_version: int) -> Response: ...


class Writer(NamedTuple):
    """Who writes to which partition: the first batch of a producer in it."""

    partition: Partition
    producer_id: int
    producer_epoch: int
    base_sequence: int = -1


class _Producer(NamedTuple):
    """Who is asked for together: one entry of a request."""

    transactional_id: str
    producer_id: int
    producer_epoch: int
    verify_only: bool


@dataclass(eq=False, slots=True)
class _Question:
    producer: _Producer
    topic: str
    partition: int
    answer: asyncio.Future[int]


class _Open(NamedTuple):
    """A question that has been asked. `expected`: what the partition's producer state gave for
    it.
    """

    writer: Writer
    producers: ProducerStates
    expected: Expected
    question: _Question


@dataclass(slots=True)
class _Asked:
    """What goes to one node."""

    waiting: list[_Question] = field(default_factory=list)
    task: asyncio.Task[None] | None = None


class TransactionGate:
    """One per worker; see `_native.request.Gates.transactions`.

    partition_of(transactional id, partitions): where its coordinator's state is.
    """

    def __init__(
        self,
        peers: Peers,
        image: Callable[[], MetadataImage],
        partition_of: Callable[[str, int], int],
    ) -> None:
        self._peers = peers
        self._image = image
        self._partition_of = partition_of
        self._asked: dict[int, _Asked] = {}

    # -- produce ------------------------------------------------------------------------------

    @staticmethod
    def must_ask(writer: tuple[Partition, int, int, int]) -> bool:
        """Whether a transactional batch needs an answer of the coordinator first: unless the
        producer's transaction is open in the partition.
        """
        partition, producer_id, producer_epoch, _ = writer
        assert partition.log is not None
        producers = partition.log.producers
        return producers.verify_transactions and not producers.is_open(producer_id, producer_epoch)

    async def verify(
        self,
        writers: Iterable[tuple[Partition, int, int, int]],
        transactional_id: bytes,
        api_version: int,
    ) -> list[int]:
        """Ask for all of them at once: an error code for each. api_version: of the Produce."""
        return await self._ask(
            [Writer(*one) for one in writers],
            transactional_id.decode(errors="replace"),
            abortable=api_version >= ABORTABLE_FROM,
            adds=api_version >= ADDS_FROM,
        )

    async def ask(
        self, writer: Writer, transactional_id: str, *, abortable: bool, adds: bool
    ) -> int:
        """Asks the coordinator, if need be. abortable: the client knows TRANSACTION_ABORTABLE;
        adds: the partition becomes part of the transaction. An error code.
        """
        (code,) = await self._ask([writer], transactional_id, abortable=abortable, adds=adds)
        return code

    async def _ask(
        self, writers: list[Writer], transactional_id: str, *, abortable: bool, adds: bool
    ) -> list[int]:
        codes = await self._ask_once(writers, transactional_id, verify_only=not adds)
        void = [at for at, code in enumerate(codes) if code is None]
        if void:
            # Mostly the marker of the transaction before, whose producer is fast; otherwise the
            # coordinator says so now.
            again = [writers[at] for at in void]
            told = await self._ask_once(again, transactional_id, verify_only=not adds)
            for at, code in zip(void, told, strict=True):
                codes[at] = ErrorCode.TRANSACTION_ABORTABLE if code is None else code
        return [_translated(code or 0, abortable=abortable, adds=adds) for code in codes]

    async def _ask_once(
        self, writers: list[Writer], transactional_id: str, *, verify_only: bool
    ) -> list[int | None]:
        """The coordinator's code for each. None: a marker came first, so that it may be of an
        earlier transaction.
        """
        begun = [self._begin(one, transactional_id, verify_only=verify_only) for one in writers]
        return [
            one if isinstance(one, int) else _decided(one, await one.question.answer)
            for one in begun
        ]

    def _begin(self, writer: Writer, transactional_id: str, *, verify_only: bool) -> int | _Open:
        """Put the question to those that wait for the coordinator's node; or what is known."""
        assert writer.partition.log is not None
        producers = writer.partition.log.producers
        producer_id, producer_epoch = writer.producer_id, writer.producer_epoch
        if producers.is_open(producer_id, producer_epoch):
            return 0
        expected = producers.expect(producer_id, producer_epoch, writer.base_sequence)
        if expected is None:
            return ErrorCode.INVALID_PRODUCER_EPOCH
        node_id = self._coordinator_of(transactional_id)
        if node_id < 0:
            return ErrorCode.COORDINATOR_NOT_AVAILABLE
        loop = asyncio.get_running_loop()
        question = _Question(
            _Producer(transactional_id, producer_id, producer_epoch, verify_only),
            writer.partition.topic.decode(),
            writer.partition.index,
            loop.create_future(),
        )
        asked = self._asked.setdefault(node_id, _Asked())
        asked.waiting.append(question)
        if asked.task is None:
            asked.task = loop.create_task(self._send(node_id, asked))
        return _Open(writer, producers, expected, question)

    def _coordinator_of(self, transactional_id: str) -> int:
        image = self._image()
        topic = image.topics.get(TRANSACTION_STATE_TOPIC)
        if topic is None:
            return -1
        index = self._partition_of(transactional_id, len(topic.partitions))
        return topic.partitions[index].leader

    async def _send(self, node_id: int, asked: _Asked) -> None:
        try:
            while asked.waiting:
                now, asked.waiting = _first_of_each(asked.waiting)
                asked.waiting += await self._send_some(node_id, now)
        finally:
            asked.task = None

    async def _send_some(
        self, node_id: int, asked: dict[_Producer, list[_Question]]
    ) -> list[_Question]:
        """Ask for these. Returns those that have to be asked for once more."""
        request = AddPartitionsToTxnRequest(
            transactions=[
                AddPartitionsToTxnTransaction(**producer._asdict(), topics=_topics(questions))
                for producer, questions in asked.items()
            ]
        )
        codes: dict[tuple[str, str, int], int] = {}
        overall: int = ErrorCode.NETWORK_EXCEPTION
        again: list[_Question] = []
        try:
            answer = await self._peers.request(node_id, request, _ADD_PARTITIONS_VERSION)
            assert isinstance(answer, AddPartitionsToTxnResponse)
            overall = answer.error_code or ErrorCode.UNKNOWN_SERVER_ERROR
            for result in answer.results_by_transaction:
                for topic in result.topic_results:
                    for part in topic.results_by_partition:
                        place = (result.transactional_id, topic.name, part.partition_index)
                        codes[place] = part.partition_error_code
        except TidelogError:
            pass  # NETWORK_EXCEPTION: the producer tries again
        finally:
            for producer, questions in asked.items():
                name = producer.transactional_id
                told = [codes.get((name, one.topic, one.partition), overall) for one in questions]
                again += _settle(questions, told)
        return again

    # -- fetch --------------------------------------------------------------------------------

    @staticmethod
    def aborted(
        partition: Partition, fetch_offset: int, segment: Segment, position: int, size: int
    ) -> list[tuple[int, int]]:
        """(producer id, first offset) of the aborted transactions in a region that is sent."""
        assert partition.log is not None
        upper = segment.offset_behind(position + size)
        found = collect_from(partition.log.segment_list, fetch_offset, upper)
        return [(txn.producer_id, txn.first_offset) for txn in found]


def _producers(partition: Partition) -> ProducerStates | None:
    return None if partition.log is None else partition.log.producers


def _first_of_each(
    questions: list[_Question],
) -> tuple[dict[_Producer, list[_Question]], list[_Question]]:
    """The questions of one producer per transactional id, which is the key of a request, and what
    is left.
    """
    now: dict[_Producer, list[_Question]] = {}
    later = []
    first: dict[str, _Producer] = {}
    for one in questions:
        producer = one.producer
        if first.setdefault(producer.transactional_id, producer) == producer:
            now.setdefault(producer, []).append(one)
        else:
            later.append(one)
    return now, later


def _topics(questions: list[_Question]) -> list[AddPartitionsToTxnTopic]:
    """The partitions that are asked for, each once."""
    topics: dict[str, AddPartitionsToTxnTopic] = {}
    for topic, partition in dict.fromkeys((one.topic, one.partition) for one in questions):
        found = topics.setdefault(topic, AddPartitionsToTxnTopic(name=topic))
        found.partitions.append(partition)
    return list(topics.values())


def _settle(questions: list[_Question], codes: list[int]) -> list[_Question]:
    """Answer the questions of one producer. Returns those for which nothing was done only because
    others of them were refused: a coordinator adds all partitions or none, but these are of several
    batches, and each of them has an answer of its own.
    """
    attempted = any(code not in (0, ErrorCode.OPERATION_NOT_ATTEMPTED) for code in codes)
    again = []
    for one, code in zip(questions, codes, strict=True):
        if code == ErrorCode.OPERATION_NOT_ATTEMPTED and attempted:
            again.append(one)
        elif not one.answer.done():
            one.answer.set_result(code)
    return again


def _decided(asked: _Open, code: int) -> int | None:
    """What the coordinator's answer means here; None: nothing, since a marker came first."""
    if code:
        return code
    if _producers(asked.writer.partition) is not asked.producers:
        return ErrorCode.NOT_LEADER_OR_FOLLOWER
    if not asked.producers.verified(asked.writer.producer_id, asked.expected):
        return None
    return 0


def _translated(code: int, *, abortable: bool, adds: bool) -> int:
    """What a producer is told: codes that it handles in the answer to a Produce."""
    if code == ErrorCode.PRODUCER_FENCED:
        return ErrorCode.INVALID_PRODUCER_EPOCH
    if code == ErrorCode.TRANSACTION_ABORTABLE and not abortable:
        return ErrorCode.INVALID_TXN_STATE
    if code == ErrorCode.CLUSTER_AUTHORIZATION_FAILED:
        return ErrorCode.INVALID_TXN_STATE
    if code in _RETRIED or (code == ErrorCode.CONCURRENT_TRANSACTIONS and not adds):
        return ErrorCode.NOT_ENOUGH_REPLICAS
    return code
