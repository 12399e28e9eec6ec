"""Writes transaction markers into the partitions that this node leads (KIP-98, KIP-890).

Belongs to the worker's loop task. A marker that says what stands in the log already is not written
again: coordinators repeat them until they are acknowledged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tidelog._native.log import STATUS_APPENDED, STATUS_NEEDS_ROLL
from tidelog._native.partition import Partition
from tidelog.clock import Clock
from tidelog.errors import KafkaError
from tidelog.record.builder import end_txn_marker

if TYPE_CHECKING:
    from tidelog.replication.replica_manager import ReplicaManager


class Marker(NamedTuple):
    """How a transaction of a producer ended. transaction_version: 0 and 1, or 2 from KIP-890 on."""

    producer_id: int
    producer_epoch: int
    is_commit: bool
    coordinator_epoch: int
    transaction_version: int = 0


async def write_marker(
    replicas: ReplicaManager, partition: Partition, marker: Marker, clock: Clock
) -> bool:
    """Appends the marker and waits until it is committed. Returns whether it had to be written.

    Raises KafkaError: the partition's gate, INVALID_PRODUCER_EPOCH,
    TRANSACTION_COORDINATOR_FENCED, or why the log refused it.
    """
    while True:
        if partition.error_code or partition.log is None:
            raise KafkaError(partition.error_code)
        written = append_marker(partition, marker, clock.wall_ms())
        if written is not None:
            break
        await replicas.roll(partition)
    await replicas.wait_committed(partition, partition.log.log_end_offset - 1)
    return written


def append_marker(partition: Partition, marker: Marker, now_ms: int) -> bool | None:
    """True: written; False: it stands there already; None: the log has to roll first.

    Nothing happens between check and append. Raises KafkaError.
    """
    assert partition.log is not None
    producers = partition.log.producers
    code = producers.check_marker(
        marker.producer_id,
        marker.producer_epoch,
        marker.coordinator_epoch,
        marker.transaction_version,
    )
    if code:
        raise KafkaError(code)
    if producers.has_ended(marker.producer_id, marker.producer_epoch):
        return False
    batch = end_txn_marker(
        producer_id=marker.producer_id,
        producer_epoch=marker.producer_epoch,
        is_commit=marker.is_commit,
        coordinator_epoch=marker.coordinator_epoch,
        timestamp=now_ms,
    )
    status, error_code, _, _ = partition.append_built(batch, now_ms)
    if status == STATUS_NEEDS_ROLL:
        return None
    if status != STATUS_APPENDED:
        raise KafkaError(error_code)
    return True
