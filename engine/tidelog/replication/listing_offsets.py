"""Answers to "which offset": by time or by one of the named places of a log (ListOffsets), and the
end of a leader epoch.

Runs on the loop thread; look-ups by time read files on a helper thread. What is refused with an
error code is decided by the caller (replica_manager.leader). The rules are Kafka's (KIP-79,
KIP-101, KIP-734, KIP-1005, KIP-1023) for a broker without tiered storage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from tidelog._native.partition import Partition
from tidelog.errors import KafkaError
from tidelog.protocol.error_codes import ErrorCode

if TYPE_CHECKING:
    from tidelog.storage.log import PartitionLog

LATEST: Final = -1
EARLIEST: Final = -2
MAX_TIMESTAMP: Final = -3
EARLIEST_LOCAL: Final = -4
LATEST_TIERED: Final = -5
EARLIEST_PENDING_UPLOAD: Final = -6

#: The version of ListOffsets that knows each of them first.
FIRST_VERSION: Final = {
    LATEST: 1,
    EARLIEST: 1,
    MAX_TIMESTAMP: 7,
    EARLIEST_LOCAL: 8,
    LATEST_TIERED: 9,
    EARLIEST_PENDING_UPLOAD: 11,
}

READ_UNCOMMITTED: Final = 0
READ_COMMITTED: Final = 1

#: Replica id of an ordinary consumer; a follower names its own node id.
CONSUMER: Final = -1


class ListedOffset(NamedTuple):
    """timestamp and leader_epoch are -1 where there is none; offset -1: nothing found."""

    timestamp: int = -1
    offset: int = -1
    leader_epoch: int = -1


def is_place(timestamp: int) -> bool:
    """Whether the offset is known without a look into the log's files."""
    return timestamp < 0 and timestamp != MAX_TIMESTAMP


def offset_of_place(
    partition: Partition,
    held: PartitionLog,
    place: int,
    isolation_level: int = READ_UNCOMMITTED,
    replica_id: int = CONSUMER,
) -> ListedOffset:
    """The offset of a named place of a partition that this node serves.

    Raises KafkaError: OFFSET_NOT_AVAILABLE.
    """
    if place == LATEST:
        _check_caught_up(partition, replica_id)
        offset = last_fetchable_offset(partition, isolation_level, replica_id)
        return ListedOffset(-1, offset, partition.leader_epoch)
    if place in (EARLIEST, EARLIEST_LOCAL):
        start = held.core.log_start_offset
        return ListedOffset(-1, start, held.epoch_for_offset(start))
    return ListedOffset()


async def offset_of_time(
    partition: Partition,
    held: PartitionLog,
    timestamp: int,
    isolation_level: int = READ_UNCOMMITTED,
    replica_id: int = CONSUMER,
) -> ListedOffset:
    """The first record with at least that timestamp in ms, or (MAX_TIMESTAMP) the newest one.

    Raises KafkaError, also when this node ceases to serve the partition meanwhile.
    """
    found = await held.find_offset(None if timestamp == MAX_TIMESTAMP else timestamp)
    if partition.error_code:
        raise KafkaError(partition.error_code)
    # What a consumer could not fetch yet it is not told of.
    if found is None or found.offset >= partition.high_watermark:
        _check_caught_up(partition, replica_id)
    if found is None or found.offset >= last_fetchable_offset(
        partition, isolation_level, replica_id
    ):
        return ListedOffset()
    return ListedOffset(*found)


def _check_caught_up(partition: Partition, replica_id: int) -> None:
    """After an election the high watermark is first behind what consumers may have read from the
    leader before: until it has come to where this one began, the end is not known (KIP-207).
    """
    if replica_id < 0 and partition.high_watermark < partition.epoch_start_offset:
        raise KafkaError(ErrorCode.OFFSET_NOT_AVAILABLE)


def last_fetchable_offset(partition: Partition, isolation_level: int, replica_id: int) -> int:
    """Where the log ends for whoever asks (exclusive)."""
    if replica_id >= 0:
        assert partition.log is not None
        return partition.log.log_end_offset
    if isolation_level == READ_COMMITTED:
        return partition.stable_offset
    return partition.high_watermark
