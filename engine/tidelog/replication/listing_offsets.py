"""Answers to "which offset": by time or by one of the named places of a log (ListOffsets), and the
end of a leader epoch.

Pure look-ups on the loop thread; what is refused with an error code is decided by the caller
(replica_manager.leader). The rules are Kafka's (KIP-79, KIP-101, KIP-734, KIP-1005, KIP-1023) for a
broker without tiered storage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from tidelog._native.partition import Partition

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


def list_offset(
    partition: Partition,
    held: PartitionLog,
    timestamp: int,
    isolation_level: int = READ_UNCOMMITTED,
    replica_id: int = CONSUMER,
) -> ListedOffset:
    """The offset for a time in ms, or for one of the named places. The partition is served by this
    node.
    """
    if timestamp == LATEST:
        offset = last_fetchable_offset(partition, isolation_level, replica_id)
        return ListedOffset(-1, offset, partition.leader_epoch)
    if timestamp in (EARLIEST, EARLIEST_LOCAL):
        start = held.core.log_start_offset
        return ListedOffset(-1, start, held.epoch_for_offset(start))
    if timestamp in (LATEST_TIERED, EARLIEST_PENDING_UPLOAD):
        return ListedOffset()
    if timestamp == MAX_TIMESTAMP:
        found = held.max_timestamp_offset()
    else:
        found = held.offset_for_timestamp(timestamp)
    # What a consumer could not fetch yet it is not told of.
    if found is None or found[1] >= last_fetchable_offset(partition, isolation_level, replica_id):
        return ListedOffset()
    return ListedOffset(*found)


def last_fetchable_offset(partition: Partition, isolation_level: int, replica_id: int) -> int:
    """Where the log ends for whoever asks (exclusive)."""
    if replica_id >= 0:
        assert partition.log is not None
        return partition.log.log_end_offset
    if isolation_level == READ_COMMITTED:
        return partition.stable_offset
    return partition.high_watermark
