"""Transactional producers in a simulated cluster, of both generations: they begin, write to
partitions, commit offsets with the transaction, commit or abort; they are replaced while they are
at work, and go on as zombies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.sim.cluster.checks import Place
from tests.sim.cluster.clients import ASK_AGAIN, Client, Told
from tests.sim.cluster.coordinators import (
    TRANSACTION_TIMEOUT_MS,
    TRANSACTIONS_PARTITIONS,
    TRANSACTIONS_TOPIC,
)
from tests.sim.cluster.network import Lost
from tests.sim.transaction_history import Attempt
from tidelog.coordinator.txn.decisions import Identity
from tidelog.protocol.messages.add_offsets_to_txn import AddOffsetsToTxnRequest
from tidelog.protocol.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnTopic,
)
from tidelog.protocol.messages.end_txn import EndTxnRequest
from tidelog.protocol.messages.init_producer_id import InitProducerIdRequest
from tidelog.protocol.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitRequestPartition,
    TxnOffsetCommitRequestTopic,
)
from tidelog.protocol.schema import Request
from tidelog.record.builder import NewRecord, build_batch
from tidelog.record.builder import Producer as BatchProducer
from tidelog.types import GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC

if TYPE_CHECKING:
    from tests.sim.cluster.nodes import SimNode
    from tests.sim.cluster.world import World

PATIENCE = 25  # answers that say nothing, before a producer gives its transaction up
TOO_LONG = 2  # so many times its timeout a forgetful producer waits
REPLACED_AFTER_S = (0.5, 4.5)
#: The place that offsets are committed for; each transactional id has a group of its own.
OFFSETS_PLACE = Place("t", 0)
#: Answers that end an identity or a transaction of it, and that no producer may be surprised by.
ENDING = frozenset((45, 47, 48, 49, 90, 120))
#: Versions of Produce, TxnOffsetCommit and EndTxn, by generation.
VERSIONS = {1: (11, 4, 4), 2: (12, 5, 5)}


class GivenUp(Exception):
    """The transaction is over for its producer, which starts anew. code: what it was told."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def group_of(tid: str) -> str:
    return f"offsets-{tid}"


class Producer(Client):
    """One user of a transactional id, one request at a time."""

    def __init__(self, world: World, tid: str, generation: int) -> None:
        super().__init__(world, f"p-{tid}", hostile=generation >= 2)
        self.tid = tid
        self.generation = generation
        self.produce_version, self.offsets_version, self.end_version = VERSIONS[generation]
        self.is_replaced = False
        self._identity = Identity(-1, -1)
        self._sequences: dict[int, int] = {}
        self._added: set[object] = set()

    async def live(self, until: float) -> None:
        """Until then, or until it finds that another one has its place."""
        world = self.world
        while world.loop.now < until:
            try:
                await self._init(until)
                while world.loop.now < until:
                    await self._transaction()
            except GivenUp:
                if self.is_replaced:
                    return

    # -- requests ---------------------------------------------------------------------------------

    async def _until_answered(self, ask: Callable[[], Any], code_of: Callable[[Any], int]) -> Any:
        """Ask again and again. Raises GivenUp."""
        for _ in range(PATIENCE):
            try:
                answer = await ask()
            except Lost:
                await asyncio.sleep(self.rng.random() * 0.1)
                continue
            code = code_of(answer)
            if code == 0:
                return answer
            if code not in ASK_AGAIN:
                assert code in ENDING, code
                raise GivenUp(code)
            self.look_again()
            await asyncio.sleep(self.rng.random() * 0.05)
        raise GivenUp(0)

    async def _ask(
        self,
        make: Callable[[], Request],
        version: int,
        code_of: Callable[[Any], int],
        key: str = "",
    ) -> Any:
        """Ask the coordinator; that a success was due is looked at where it is given."""
        world, tid, epoch = self.world, self.tid, self._identity.producer_epoch

        async def ask() -> Told:
            if key:
                return await self.ask_coordinator(GROUP_METADATA_TOPIC, key, make, version)
            fence = world.fences.of(tid)
            told = await self.ask_coordinator(TRANSACTION_STATE_TOPIC, tid, make, version)
            if told.is_current and epoch >= 0 and code_of(told.answer) == 0:
                world.fences.check(tid, epoch, fence)
            return told

        told = await self._until_answered(ask, lambda told: code_of(told.answer))
        return told.answer

    async def _init(self, until: float) -> None:
        self._identity = Identity(-1, -1)
        while True:
            try:
                answer = await self._ask(
                    lambda: InitProducerIdRequest(
                        transactional_id=self.tid, transaction_timeout_ms=TRANSACTION_TIMEOUT_MS
                    ),
                    5,
                    lambda answer: answer.error_code,
                )
                break
            except GivenUp as end:
                if self.is_replaced or self.world.loop.now >= until or end.code:
                    raise
        self.world.fences.given(self.tid, answer.producer_epoch)
        self._identity = Identity(answer.producer_id, answer.producer_epoch)
        self._sequences.clear()

    async def _transaction(self) -> None:
        """One transaction, from its first record to its end."""
        rng, world = self.rng, self.world
        await asyncio.sleep(rng.random() * 0.1)
        number, attempt = world.begin_attempt(self.tid)
        self._added.clear()
        for _ in range(rng.randint(1, 3)):
            await self._send(rng.randrange(TRANSACTIONS_PARTITIONS), number)
            attempt.acknowledged += 1
            await asyncio.sleep(rng.random() * 0.05)
        if rng.random() < 0.5:
            await self._commit_offset(number)
            world.with_offset[number] = attempt
        if rng.random() < 0.03:
            await asyncio.sleep(TRANSACTION_TIMEOUT_MS * TOO_LONG / 1000)
        await self._end(attempt, rng.random() < 0.7)

    async def _end(self, attempt: Attempt, commit: bool) -> None:
        answer = await self._ask(
            lambda: EndTxnRequest(
                transactional_id=self.tid,
                producer_id=self._identity.producer_id,
                producer_epoch=self._identity.producer_epoch,
                committed=commit,
            ),
            self.end_version,
            lambda answer: answer.error_code,
        )
        attempt.told = commit
        if self.generation >= 2:
            self._identity = Identity(answer.producer_id, answer.producer_epoch)
            self._sequences.clear()

    # -- records ----------------------------------------------------------------------------------

    async def _send(self, index: int, number: int) -> None:
        if self.generation < 2 and index not in self._added:
            await self._add_partition(index)
        sequence = self._sequences.get(index, 0)
        producer = (*self._identity, sequence)
        batch = bytes(
            build_batch(
                [NewRecord(self.world.clock.wall_ms(), None, str(number).encode())],
                producer=BatchProducer(*producer),
                is_transactional=True,
            )
        )
        world, tid = self.world, self.tid

        async def serve(node: SimNode) -> int:
            fence = world.fences.of(tid)
            code = await node.coordinators.produce(
                index, batch, producer, tid, self.produce_version
            )
            if code == 0:
                world.fences.check(tid, producer[1], fence)
            return code

        await self._until_answered(
            lambda: self.ask_leader(TRANSACTIONS_TOPIC, index, serve), lambda code: code
        )
        self._sequences[index] = sequence + 1

    async def _add_partition(self, index: int) -> None:
        await self._ask(
            lambda: AddPartitionsToTxnRequest(
                v3_and_below_transactional_id=self.tid,
                v3_and_below_producer_id=self._identity.producer_id,
                v3_and_below_producer_epoch=self._identity.producer_epoch,
                v3_and_below_topics=[
                    AddPartitionsToTxnTopic(name=TRANSACTIONS_TOPIC, partitions=[index])
                ],
            ),
            3,
            lambda answer: (
                answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
            ),
        )
        self._added.add(index)

    async def _commit_offset(self, number: int) -> None:
        group = group_of(self.tid)
        if self.generation < 2:
            await self._ask(
                lambda: AddOffsetsToTxnRequest(
                    transactional_id=self.tid,
                    producer_id=self._identity.producer_id,
                    producer_epoch=self._identity.producer_epoch,
                    group_id=group,
                ),
                3,
                lambda answer: answer.error_code,
            )
        self.world.offsets.attempts(group, OFFSETS_PLACE, number)
        await self._ask(
            lambda: TxnOffsetCommitRequest(
                transactional_id=self.tid,
                group_id=group,
                producer_id=self._identity.producer_id,
                producer_epoch=self._identity.producer_epoch,
                topics=[
                    TxnOffsetCommitRequestTopic(
                        name=OFFSETS_PLACE.topic,
                        partitions=[
                            TxnOffsetCommitRequestPartition(
                                partition_index=OFFSETS_PLACE.index,
                                committed_offset=number,
                                committed_metadata="",
                            )
                        ],
                    )
                ],
            ),
            self.offsets_version,
            lambda answer: answer.topics[0].partitions[0].error_code,
            group,
        )


async def use(world: World, tid: str, until: float) -> None:
    """A transactional id in use: now and then its producer is replaced, and does not know."""
    producers: list[asyncio.Task[None]] = []
    while world.loop.now < until:
        generation = world.rng.choice((1, 2)) if world.transaction_version >= 2 else 1
        producer = Producer(world, tid, generation)
        producers.append(asyncio.ensure_future(producer.live(until)))
        await asyncio.sleep(world.rng.uniform(*REPLACED_AFTER_S))
        producer.is_replaced = True
    await asyncio.gather(*producers)
