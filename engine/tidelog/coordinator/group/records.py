"""The records of `__consumer_offsets` that classic groups write: to bytes and back.

Pure. Kafka's own keys and value versions, so that its console consumer's formatters and lag tools
read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tidelog.coordinator.shard import CoordinatorRecord
from tidelog.protocol.records import encode_key, encode_versioned
from tidelog.protocol.records.group import (
    GroupMetadataKey,
    GroupMetadataValue,
    OffsetCommitKey,
    OffsetCommitValue,
)

OFFSET_COMMIT_KEY: Final = 1
GROUP_METADATA_KEY: Final = 2
OFFSET_COMMIT_VALUE_VERSION: Final = 4
#: The version that has an expire timestamp of its own (retention_time_ms of old clients).
OFFSET_COMMIT_EXPIRE_VERSION: Final = 1
GROUP_METADATA_VALUE_VERSION: Final = 3
#: Of offsets that were committed before records had the topic's id.
NO_TOPIC_ID: Final = bytes(16)


@dataclass(frozen=True, slots=True)
class CommittedOffset:
    """What a group committed for a partition. `expire_timestamp` -1: by the broker's retention."""

    offset: int
    leader_epoch: int
    metadata: str
    commit_timestamp: int
    expire_timestamp: int = -1
    topic_id: bytes = NO_TOPIC_ID


def committed_of(value: OffsetCommitValue) -> CommittedOffset:
    """What an offset record says."""
    return CommittedOffset(
        offset=value.offset,
        leader_epoch=getattr(value, "leader_epoch", -1),
        metadata=value.metadata,
        commit_timestamp=value.commit_timestamp,
        expire_timestamp=getattr(value, "expire_timestamp", -1),
        topic_id=getattr(value, "topic_id", NO_TOPIC_ID),
    )


def offset_record(
    group_id: str, topic: str, partition: int, committed: CommittedOffset
) -> CoordinatorRecord:
    """One committed offset."""
    value = OffsetCommitValue(
        offset=committed.offset,
        leader_epoch=committed.leader_epoch,
        metadata=committed.metadata,
        commit_timestamp=committed.commit_timestamp,
        expire_timestamp=committed.expire_timestamp,
        topic_id=committed.topic_id,
    )
    version = OFFSET_COMMIT_VALUE_VERSION
    if committed.expire_timestamp != -1:
        version = OFFSET_COMMIT_EXPIRE_VERSION
    return CoordinatorRecord(
        encode_key(
            OFFSET_COMMIT_KEY, OffsetCommitKey(group=group_id, topic=topic, partition=partition)
        ),
        encode_versioned(value, version),
    )


def offset_tombstone(group_id: str, topic: str, partition: int) -> CoordinatorRecord:
    """A committed offset is no more."""
    key = OffsetCommitKey(group=group_id, topic=topic, partition=partition)
    return CoordinatorRecord(encode_key(OFFSET_COMMIT_KEY, key), None)


def group_tombstone(group_id: str) -> CoordinatorRecord:
    """A classic group is no more."""
    return CoordinatorRecord(encode_key(GROUP_METADATA_KEY, GroupMetadataKey(group=group_id)), None)


def group_record(group_id: str, value: GroupMetadataValue) -> CoordinatorRecord:
    """A group's members and assignment."""
    return CoordinatorRecord(
        encode_key(GROUP_METADATA_KEY, GroupMetadataKey(group=group_id)),
        encode_versioned(value, GROUP_METADATA_VALUE_VERSION),
    )
