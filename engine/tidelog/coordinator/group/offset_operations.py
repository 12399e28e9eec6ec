"""OffsetCommit, OffsetFetch, OffsetDelete, DeleteGroups and the expiry of offsets.

Pure; owned by a GroupShard. Decides and returns records; what is committed changes by replay alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Final

from tidelog.coordinator.group.config import GroupConfig
from tidelog.coordinator.group.offsets import CommittedOffsets
from tidelog.coordinator.group.records import (
    NO_TOPIC_ID,
    CommittedOffset,
    offset_record,
    offset_tombstone,
)
from tidelog.coordinator.group.registry import Group, GroupRegistry
from tidelog.coordinator.shard import CoordinatorRecord, Result
from tidelog.errors import KafkaError
from tidelog.limits import TOMBSTONE_BYTES_PER_WRITE_MAX
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from tidelog.protocol.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
)
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequestGroup,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
)
from tidelog.protocol.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
    TxnOffsetCommitResponsePartition,
    TxnOffsetCommitResponseTopic,
)

#: "Nothing was committed", as OffsetFetch says it.
NO_OFFSET: Final = -1
#: OffsetCommit tells from this version on that a group is unknown (KIP-848).
_GROUP_ID_NOT_FOUND_FROM: Final = 9
#: What a record of a batch takes beside its key, at most.
_RECORD_OVERHEAD_BYTES: Final = 32


class _Tombstones:
    """The tombstones of one write, as many as fit into it."""

    def __init__(self) -> None:
        self.records: list[CoordinatorRecord] = []
        self._left_bytes = TOMBSTONE_BYTES_PER_WRITE_MAX

    def add(self, record: CoordinatorRecord) -> bool:
        """Whether there was room. One record always fits: what it removes fitted, too."""
        size = len(record.key) + _RECORD_OVERHEAD_BYTES
        if self.records and size > self._left_bytes:
            return False
        self._left_bytes -= size
        self.records.append(record)
        return True


class OffsetOperations:
    """Over the groups and offsets of one shard."""

    def __init__(self, config: Callable[[], GroupConfig], registry: GroupRegistry) -> None:
        self._config = config
        self._registry = registry

    @property
    def _offsets(self) -> CommittedOffsets:
        return self._registry.offsets

    # -- OffsetCommit ---------------------------------------------------------------------------

    def commit(
        self,
        request: OffsetCommitRequest,
        topic_ids: dict[str, bytes],
        version: int,
        now_ms: int,
    ) -> Result[OffsetCommitResponse]:
        """OffsetCommit. Topics by name; `topic_ids` of those that have one."""
        self._check_commit(request, topic_ids, version, now_ms)
        expire = -1
        if request.retention_time_ms >= 0:
            expire = now_ms + request.retention_time_ms
        size_max = self._config().offset_metadata_max_bytes
        records: list[CoordinatorRecord] = []
        topics: list[OffsetCommitResponseTopic] = []
        for topic in request.topics:
            codes = []
            for asked in topic.partitions:
                metadata = asked.committed_metadata or ""
                if _utf16_units(metadata) > size_max:
                    codes.append(_committed(asked, ErrorCode.OFFSET_METADATA_TOO_LARGE))
                    continue
                committed = CommittedOffset(
                    offset=asked.committed_offset,
                    leader_epoch=asked.committed_leader_epoch,
                    metadata=metadata,
                    commit_timestamp=now_ms,
                    expire_timestamp=expire,
                    topic_id=topic_ids.get(topic.name, NO_TOPIC_ID),
                )
                records.append(
                    offset_record(request.group_id, topic.name, asked.partition_index, committed)
                )
                codes.append(_committed(asked, ErrorCode.NONE))
            topics.append(OffsetCommitResponseTopic(name=topic.name, partitions=codes))
        return Result(OffsetCommitResponse(topics=topics), records)

    def _check_commit(
        self, request: OffsetCommitRequest, topic_ids: dict[str, bytes], version: int, now_ms: int
    ) -> None:
        """Whether this member, or this client without membership, may commit."""
        epoch = request.generation_id_or_member_epoch
        group = self._registry.find(request.group_id)
        if group is not None:
            group.check_commit(request, topic_ids, version)
        elif epoch < 0:
            # Offsets without membership make the group.
            self._registry.create_classic(request.group_id, now_ms)
        elif version >= _GROUP_ID_NOT_FOUND_FROM:
            raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND)
        else:
            raise KafkaError(ErrorCode.ILLEGAL_GENERATION)

    # -- TxnOffsetCommit ------------------------------------------------------------------------

    def commit_transactional(
        self, request: TxnOffsetCommitRequest, topic_ids: dict[str, bytes], now_ms: int
    ) -> Result[TxnOffsetCommitResponse]:
        """TxnOffsetCommit: the records wait for the marker of the producer's transaction."""
        group = self._registry.find(request.group_id)
        if group is not None:
            group.check_transactional_commit(
                request.member_id, request.group_instance_id, request.generation_id
            )
        elif request.generation_id < 0:
            self._registry.create_classic(request.group_id, now_ms)
        else:
            raise KafkaError(ErrorCode.ILLEGAL_GENERATION)
        size_max = self._config().offset_metadata_max_bytes
        records: list[CoordinatorRecord] = []
        topics: list[TxnOffsetCommitResponseTopic] = []
        for topic in request.topics:
            results = []
            for asked in topic.partitions:
                metadata = asked.committed_metadata or ""
                code = ErrorCode.NONE
                if _utf16_units(metadata) > size_max:
                    code = ErrorCode.OFFSET_METADATA_TOO_LARGE
                else:
                    committed = CommittedOffset(
                        offset=asked.committed_offset,
                        leader_epoch=asked.committed_leader_epoch,
                        metadata=metadata,
                        commit_timestamp=now_ms,
                        topic_id=topic_ids.get(topic.name, NO_TOPIC_ID),
                    )
                    records.append(
                        offset_record(
                            request.group_id, topic.name, asked.partition_index, committed
                        )
                    )
                results.append(
                    TxnOffsetCommitResponsePartition(
                        partition_index=asked.partition_index, error_code=code
                    )
                )
            topics.append(TxnOffsetCommitResponseTopic(name=topic.name, partitions=results))
        return Result(TxnOffsetCommitResponse(topics=topics), records)

    # -- OffsetFetch ----------------------------------------------------------------------------

    def fetch(
        self, request: OffsetFetchRequestGroup, require_stable: bool = False
    ) -> OffsetFetchResponseGroup:
        """OffsetFetch of one group. A partition without a committed offset has offset -1 and no
        error; with `require_stable` one that a transaction may yet change has
        UNSTABLE_OFFSET_COMMIT.
        """
        group = self._registry.find(request.group_id)
        if group is not None:
            group.check_fetch(request.member_id, request.member_epoch)
        topics: list[OffsetFetchResponseTopics] = []
        if request.topics is None:
            for name, partitions in self._offsets.topics(request.group_id):
                fetched = [_fetched(index, found) for index, found in sorted(partitions.items())]
                self._mark_unstable(request.group_id, name, fetched, require_stable)
                topics.append(OffsetFetchResponseTopics(name=name, partitions=fetched))
        else:
            for asked in request.topics:
                fetched = [
                    _fetched(index, self._offsets.get(request.group_id, asked.name, index))
                    for index in asked.partition_indexes
                ]
                self._mark_unstable(request.group_id, asked.name, fetched, require_stable)
                topics.append(
                    OffsetFetchResponseTopics(
                        name=asked.name, topic_id=asked.topic_id, partitions=fetched
                    )
                )
        return OffsetFetchResponseGroup(group_id=request.group_id, topics=topics)

    def _mark_unstable(
        self,
        group_id: str,
        topic: str,
        fetched: list[OffsetFetchResponsePartitions],
        require_stable: bool,
    ) -> None:
        if not require_stable or not self._registry.pending.has_group(group_id):
            return
        for at, one in enumerate(fetched):
            if self._registry.pending.is_pending(group_id, topic, one.partition_index):
                unstable = _fetched(one.partition_index, None)
                unstable.error_code = ErrorCode.UNSTABLE_OFFSET_COMMIT
                fetched[at] = unstable

    # -- OffsetDelete, DeleteGroups -------------------------------------------------------------

    def delete_offsets(self, request: OffsetDeleteRequest) -> Result[OffsetDeleteResponse]:
        """OffsetDelete: a group that consumes keeps the offsets of topics that it subscribes to."""
        if not request.group_id:
            raise KafkaError(ErrorCode.INVALID_GROUP_ID)
        group = self._registry.find(request.group_id)
        if group is None:
            raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND)
        group.check_offset_delete()
        records: list[CoordinatorRecord] = []
        topics: list[OffsetDeleteResponseTopic] = []
        for topic in request.topics:
            code = ErrorCode.NONE
            if group.is_subscribed_to(topic.name):
                code = ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC
            partitions = []
            for asked in topic.partitions:
                index = asked.partition_index
                partitions.append(
                    OffsetDeleteResponsePartition(partition_index=index, error_code=code)
                )
                if code == ErrorCode.NONE and (
                    self._offsets.get(group.group_id, topic.name, index)
                    or self._registry.pending.is_pending(group.group_id, topic.name, index)
                ):
                    records.append(offset_tombstone(group.group_id, topic.name, index))
            topics.append(OffsetDeleteResponseTopic(name=topic.name, partitions=partitions))
        return Result(OffsetDeleteResponse(topics=topics), records)

    def delete_group(self, group_id: str) -> Result[bool]:
        """One step of deleting an empty group: its offsets, and with the last of them the group.

        The answer: whether it is gone; else the next step has to follow, since one write holds only
        so many records. A member that joins between two steps keeps the group, but not the offsets
        that went before.
        """
        group = self._registry.find(group_id)
        if group is None:
            raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND)
        if not group.is_empty:
            raise KafkaError(ErrorCode.NON_EMPTY_GROUP)
        write = _Tombstones()
        for topic, partitions in self._offsets.topics(group_id):
            for index in partitions:
                if not write.add(offset_tombstone(group_id, topic, index)):
                    return Result(False, write.records)
        for key in self._registry.pending.keys(group_id):
            if self._offsets.get(*key) is None and not write.add(offset_tombstone(*key)):
                return Result(False, write.records)
        return Result(True, write.records + group.tombstones())

    def forget_topics(self, deleted: Collection[tuple[str, bytes]]) -> Result[bool]:
        """One step of removing what all groups committed for deleted topics (name, id). A topic of
        the same name that was made since keeps its offsets. The answer: whether nothing is left.
        """
        write = _Tombstones()
        for group in self._registry.groups():
            for topic, topic_id in deleted:
                for index, committed in self._offsets.partitions(group.group_id, topic).items():
                    if committed.topic_id not in (topic_id, NO_TOPIC_ID):
                        continue
                    if not write.add(offset_tombstone(group.group_id, topic, index)):
                        return Result(False, write.records)
        return Result(True, write.records)

    # -- expiry ---------------------------------------------------------------------------------

    def expire(self, now_ms: int) -> Result[bool]:
        """One step of offsets.retention.minutes: tombstones of what is too old, and of groups that
        have nothing left. The answer: whether everything was looked at.
        """
        write = _Tombstones()
        for group in self._registry.groups():
            left = self._offsets.count(group.group_id)
            for topic, index in self._expired(group, now_ms):
                if not write.add(offset_tombstone(group.group_id, topic, index)):
                    return Result(False, write.records)
                left -= 1
            if (
                group.is_disposable
                and not left
                and not self._registry.pending.has_group(group.group_id)
            ):
                for record in group.tombstones():
                    if not write.add(record):
                        return Result(False, write.records)
        return Result(True, write.records)

    def _expired(self, group: Group, now_ms: int) -> Iterator[tuple[str, int]]:
        """(topic, partition) of every offset that is due."""
        retention_ms = self._config().offsets_retention_ms
        base = group.expiry_base()
        if base is None:
            return
        for topic, partitions in self._offsets.topics(group.group_id):
            if group.is_subscribed_to(topic):
                continue
            for index, committed in partitions.items():
                if committed.expire_timestamp != -1:
                    is_due = now_ms >= committed.expire_timestamp
                else:
                    is_due = now_ms - base(committed.commit_timestamp) >= retention_ms
                if is_due and not self._registry.pending.is_pending(group.group_id, topic, index):
                    yield topic, index


def _utf16_units(text: str) -> int:
    """Length as Java counts it: Kafka measures offset.metadata.max.bytes like this, and clients
    rely on what it takes.
    """
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _committed(
    asked: OffsetCommitRequestPartition, code: ErrorCode
) -> OffsetCommitResponsePartition:
    return OffsetCommitResponsePartition(partition_index=asked.partition_index, error_code=code)


def _fetched(index: int, committed: CommittedOffset | None) -> OffsetFetchResponsePartitions:
    if committed is None:
        return OffsetFetchResponsePartitions(
            partition_index=index, committed_offset=NO_OFFSET, metadata=""
        )
    return OffsetFetchResponsePartitions(
        partition_index=index,
        committed_offset=committed.offset,
        committed_leader_epoch=committed.leader_epoch,
        metadata=committed.metadata,
    )
