"""What the native lanes ask about transactions: may this batch be appended, and which transactions
must a reader of committed records leave out.

Belongs to the worker's loop task. A transactional batch that would begin a transaction in its
partition is appended only when the coordinator knows that the transaction has the partition
(KIP-890, part 1); from Produce version 12 on the question is also what adds it (part 2). Questions
to one node are asked together: while one request is under way, the next ones gather.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

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
    from tidelog._native.producer_state import ProducerStates
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


@dataclass(eq=False, slots=True)
class _Question:
    transactional_id: str
    producer_id: int
    producer_epoch: int
    topic: str
    partition: int
    verify_only: bool
    answer: asyncio.Future[int]


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

    def verify(
        self,
        partition: Partition,
        transactional_id: bytes,
        producer_id: int,
        producer_epoch: int,
        base_sequence: int,
        api_version: int,
    ) -> int | Awaitable[int]:
        """0 at once where the transaction is open already; else the coordinator's answer."""
        assert partition.log is not None
        producers = partition.log.producers
        if not producers.verify_transactions or producers.is_open(producer_id, producer_epoch):
            return 0
        return self.ask(
            partition,
            transactional_id.decode(errors="replace"),
            producer_id,
            producer_epoch,
            base_sequence,
            abortable=api_version >= ABORTABLE_FROM,
            adds=api_version >= ADDS_FROM,
        )

    async def ask(
        self,
        partition: Partition,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        base_sequence: int = -1,
        *,
        abortable: bool,
        adds: bool,
    ) -> int:
        """Asks the coordinator, if need be. abortable: the client knows TRANSACTION_ABORTABLE;
        adds: the partition becomes part of the transaction. An error code.
        """
        assert partition.log is not None
        producers = partition.log.producers
        if producers.is_open(producer_id, producer_epoch):
            return 0
        expected = producers.expect(producer_id, producer_epoch, base_sequence)
        if expected is None:
            return ErrorCode.INVALID_PRODUCER_EPOCH
        code = await self._ask(
            transactional_id,
            producer_id,
            producer_epoch,
            partition.topic.decode(),
            partition.index,
            verify_only=not adds,
        )
        if code:
            return _translated(code, abortable=abortable, adds=adds)
        if _producers(partition) is not producers:
            return ErrorCode.NOT_LEADER_OR_FOLLOWER
        if not producers.verified(producer_id, expected):
            # A marker came first: what the coordinator said is of an earlier transaction.
            return ErrorCode.TRANSACTION_ABORTABLE if abortable else ErrorCode.INVALID_TXN_STATE
        return 0

    async def _ask(
        self,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        topic: str,
        partition: int,
        *,
        verify_only: bool,
    ) -> int:
        node_id = self._coordinator_of(transactional_id)
        if node_id < 0:
            return ErrorCode.COORDINATOR_NOT_AVAILABLE
        loop = asyncio.get_running_loop()
        question = _Question(
            transactional_id,
            producer_id,
            producer_epoch,
            topic,
            partition,
            verify_only,
            loop.create_future(),
        )
        asked = self._asked.setdefault(node_id, _Asked())
        asked.waiting.append(question)
        if asked.task is None:
            asked.task = loop.create_task(self._send(node_id, asked))
        return await question.answer

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
                await self._send_some(node_id, now)
        finally:
            asked.task = None

    async def _send_some(self, node_id: int, questions: list[_Question]) -> None:
        request = AddPartitionsToTxnRequest(
            transactions=[
                AddPartitionsToTxnTransaction(
                    transactional_id=one.transactional_id,
                    producer_id=one.producer_id,
                    producer_epoch=one.producer_epoch,
                    verify_only=one.verify_only,
                    topics=[AddPartitionsToTxnTopic(name=one.topic, partitions=[one.partition])],
                )
                for one in questions
            ]
        )
        codes: dict[str, int] = {}
        overall: int = ErrorCode.NETWORK_EXCEPTION
        try:
            answer = await self._peers.request(node_id, request, _ADD_PARTITIONS_VERSION)
            assert isinstance(answer, AddPartitionsToTxnResponse)
            overall = answer.error_code or ErrorCode.UNKNOWN_SERVER_ERROR
            for result in answer.results_by_transaction:
                for topic in result.topic_results:
                    for part in topic.results_by_partition:
                        codes[result.transactional_id] = part.partition_error_code
        except TidelogError:
            pass  # NETWORK_EXCEPTION: the producer tries again
        finally:
            for one in questions:
                if not one.answer.done():
                    one.answer.set_result(codes.get(one.transactional_id, overall))

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


def _first_of_each(questions: list[_Question]) -> tuple[list[_Question], list[_Question]]:
    """One question per transactional id, which is the key of a request, and what is left."""
    now: dict[str, _Question] = {}
    later = []
    for one in questions:
        if one.transactional_id in now:
            later.append(one)
        else:
            now[one.transactional_id] = one
    return list(now.values()), later


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
