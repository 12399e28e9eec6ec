"""What has to hold of transactions at the end of a run: none is open, each is all or nothing over
all partitions, and as its producer was told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.cluster.batch_logs import BatchLog, batches_of
from tests.sim.cluster.checks import Broken
from tests.sim.cluster.coordinators import TRANSACTIONS_PARTITIONS, TRANSACTIONS_TOPIC
from tests.sim.cluster.producers import OFFSETS_PLACE, group_of
from tests.sim.transaction_history import (
    Attempt,
    Entry,
    check_attempts,
    outcomes_by_attempt,
)
from tidelog.record.builder import ControlType
from tidelog.types import GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC

if TYPE_CHECKING:
    from tests.sim.cluster.world import World


def open_transactions(world: World) -> list[str]:
    """What is not at rest, in the eyes of the coordinators or of a partition."""
    found = []
    for index in range(world.coordinator_partitions):
        leader = world.leader_node(TRANSACTION_STATE_TOPIC, index)
        if leader is None or leader.coordinators.reign(TRANSACTION_STATE_TOPIC, index) < 0:
            found.append(f"{TRANSACTION_STATE_TOPIC}-{index} is coordinated by nobody")
            continue
        shard = leader.coordinators.transactions.runtime.read(index, lambda shard: shard)
        found += [
            f"{each.transactional_id} is {each.state.name}"
            for each in shard.transactions.values()
            if not each.state.is_at_rest
        ]
    places = [(TRANSACTIONS_TOPIC, index) for index in range(TRANSACTIONS_PARTITIONS)]
    places += [(GROUP_METADATA_TOPIC, index) for index in range(world.coordinator_partitions)]
    for topic, index in places:
        leader = world.leader_node(topic, index)
        partition = None if leader is None else leader.replicas.partition(topic, index)
        if partition is None or partition.log is None:
            found.append(f"{topic}-{index} is led by nobody")
        elif partition.log.producers.first_unstable_offset_value >= 0:
            found.append(f"{topic}-{index} has an open transaction")
    return found


def check_transactions(world: World) -> None:
    """All replicas hold the same, and nothing is open."""
    found = outcomes_by_attempt(_entries(world, index) for index in range(TRANSACTIONS_PARTITIONS))
    try:
        check_attempts(list(world.attempts.values()), found)
    except AssertionError as error:
        raise Broken(f"a transaction is in pieces: {error}") from error


def _entries(world: World, index: int) -> list[Entry]:
    leader = world.leader_node(TRANSACTIONS_TOPIC, index)
    assert leader is not None
    log = leader.logs.get(TRANSACTIONS_TOPIC, index)
    assert isinstance(log, BatchLog)
    entries = []
    for batch in batches_of(log.stored.data()):
        producer_id = batch.header.producer_id
        if batch.header.is_control:
            control = batch.control()
            assert control is not None
            entries.append(Entry(producer_id, commit=control[0] == ControlType.COMMIT))
        else:
            entries += [
                Entry(producer_id, world.attempts[int(record.value or b"")])
                for record in batch.records()
            ]
    return entries


def check_offset(world: World, tid: str, value: int) -> None:
    """The offset that a transactional id's group has in the end: that of its last transaction that
    committed one.
    """
    of_tid = {n: each for n, each in world.with_offset.items() if each.tid == tid}
    told = [number for number, each in of_tid.items() if each.told]
    if value < max(told, default=-1):
        raise Broken(f"{group_of(tid)} {OFFSETS_PLACE}: {value} after {max(told)} was committed")
    attempt: Attempt | None = world.attempts.get(value)
    if attempt is not None and attempt.told is False:
        raise Broken(f"{group_of(tid)} {OFFSETS_PLACE}: {value} was aborted")
