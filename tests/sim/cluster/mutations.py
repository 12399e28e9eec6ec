"""Known mistakes of replication and of coordinators, made on purpose: each has to be found (see
world.Mutation and world.CoordinatorMutation).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec

from tidelog.controller.decision import Decision
from tidelog.controller.machine import Controller
from tidelog.coordinator.runtime import CoordinatorRuntime
from tidelog.coordinator.shard import Result, Timers
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import PartitionRecord
from tidelog.replication.transaction_gate import Writer

if TYPE_CHECKING:
    from tests.sim.cluster.coordinators import Coordinators
    from tests.sim.cluster.world import CoordinatorMutation


class AnybodyMayLead:
    """A controller that elects any live replica, in sync or not."""

    def __init__(self, machine: Controller, rng: random.Random) -> None:
        self._machine = machine
        self._rng = rng

    def handle(
        self, image: MetadataImage, request: Any, now_ms: int, rng: random.Random
    ) -> Decision:
        decision = self._machine.handle(image, request, now_ms, rng)
        dead = {node for node, _ in getattr(request, "nodes", ())}
        records = [
            self._elect(image, record, dead) if isinstance(record, PartitionRecord) else record
            for record in decision.records
        ]
        return Decision(records, decision.answer)

    def _elect(
        self, image: MetadataImage, record: PartitionRecord, dead: set[int]
    ) -> PartitionRecord:
        topic = image.topic_by_id(record.topic_id)
        if topic is None or topic.partitions[record.partition].leader == record.leader:
            return record
        alive = [
            node for node in record.replicas if node not in dead and not image.nodes[node].fenced
        ]
        leader = self._rng.choice(alive) if alive else record.leader
        isr = record.isr if leader in record.isr else (*record.isr, leader)
        elr = tuple(node for node in record.elr if node not in isr)
        return msgspec.structs.replace(record, leader=leader, isr=isr, elr=elr)


def weaken(coordinators: Coordinators, mutation: CoordinatorMutation) -> None:
    """Have the coordinators of one node make these mistakes."""
    transactions = coordinators.transactions
    if mutation.assigns_uncommitted:
        _assign_early(coordinators.groups.runtime)
    if mutation.tells_uncommitted:
        _look_at_once(coordinators.groups.runtime)
    if mutation.forgets_markers:
        _forget_markers(transactions.runtime)
    if mutation.verifies_nothing:
        coordinators.gate._ask_once = _say_yes  # type: ignore[method-assign, assignment]
    for runtime in (coordinators.groups.runtime, transactions.runtime):
        if mutation.answers_uncommitted:
            runtime._committed = _do_not_wait  # type: ignore[method-assign]
        if mutation.never_unloads:
            runtime._unload = lambda index: None  # type: ignore[method-assign]
        if mutation.loads_committed_only:
            runtime._replicas = _CommittedOnly(runtime._replicas)  # type: ignore[assignment]
        if mutation.acts_on_uncommitted_load:
            runtime._replicas = _LoadsAtOnce(runtime)  # type: ignore[assignment]


async def _do_not_wait(context: Any, last_offset: int, result: Any) -> None:
    """In the place of CoordinatorRuntime._committed."""
    result.on_committed(0)


async def _say_yes(writers: list[Writer], transactional_id: str, *, verify_only: bool) -> list[int]:
    """In the place of TransactionGate._ask_once."""
    for writer in writers:
        assert writer.partition.log is not None
        producers = writer.partition.log.producers
        expected = producers.expect(*writer[1:])
        if expected is not None:
            producers.verified(writer.producer_id, expected)
    return [0] * len(writers)


def _assign_early(runtime: CoordinatorRuntime[Any]) -> None:
    """The assignment of a classic group is told when it is in the log."""
    make_shard = runtime._make_shard

    def make(index: int, timers: Timers) -> Any:
        shard = make_shard(index, timers)
        sync = shard.sync

        def early(request: Any, now_ms: int) -> Result[Any]:
            result = sync(request, now_ms)
            return Result(result.answer, result.records, result.on_committed)

        shard.sync = early
        return shard

    runtime._make_shard = make


def _look_at_once(runtime: CoordinatorRuntime[Any]) -> None:
    """OffsetFetch tells what is in the log, committed or not."""

    async def look(index: int, operation: Callable[[Any], Any]) -> Any:
        return runtime.read(index, operation)

    runtime.read_committed = look  # type: ignore[method-assign]


def _forget_markers(runtime: CoordinatorRuntime[Any]) -> None:
    """What was decided before a load is not carried out."""
    make_shard = runtime._make_shard

    def make(index: int, timers: Timers) -> Any:
        shard = make_shard(index, timers)
        on_loaded, send = shard.on_loaded, shard._send

        def loaded(now_ms: int) -> None:
            shard._send = lambda transaction: None
            on_loaded(now_ms)
            shard._send = send

        shard.on_loaded = loaded
        return shard

    runtime._make_shard = make


class _CommittedOnly:
    """A replica manager of which a coordinator is given logs that end at the high watermark."""

    def __init__(self, replicas: Any) -> None:
        self._replicas = replicas

    def __getattr__(self, name: str) -> Any:
        return getattr(self._replicas, name)

    def log_of(self, partition: Any) -> Any:
        core = self._replicas.log_of(partition).core
        return SimpleNamespace(
            core=SimpleNamespace(
                log_start_offset=core.log_start_offset,
                log_end_offset=partition.high_watermark,
                read_region=core.read_region,
            )
        )


class _LoadsAtOnce:
    """A replica manager to which all is committed that a coordinator loads."""

    def __init__(self, runtime: CoordinatorRuntime[Any]) -> None:
        self._runtime = runtime
        self._replicas = runtime._replicas

    def __getattr__(self, name: str) -> Any:
        return getattr(self._replicas, name)

    async def wait_committed(self, partition: Any, last_offset: int) -> None:
        context = self._runtime._contexts.get(partition.index)
        if context is None or context.loaded:
            await self._replicas.wait_committed(partition, last_offset)
