"""One partition of `__consumer_offsets`: its groups and their committed offsets.

Pure: time, randomness and timers are given. `replay` alone changes what the records say; the
classic protocol's waiting members and
timers are soft state (classic.py). KIP-848 groups are a later issue: their records are skipped.
"""

from __future__ import annotations

from collections.abc import Callable

from tidelog.coordinator.group.classic import Caller, ClassicProtocol
from tidelog.coordinator.group.classic_group import ClassicGroup
from tidelog.coordinator.group.offsets import CommittedOffsets
from tidelog.coordinator.group.rebalance import GroupConfig
from tidelog.coordinator.group.records import (
    GROUP_METADATA_KEY,
    OFFSET_COMMIT_KEY,
    CommittedOffset,
    offset_record,
)
from tidelog.coordinator.group.states import GroupState
from tidelog.coordinator.shard import CoordinatorRecord, Random, Result, Shard, Timers
from tidelog.errors import KafkaError, MalformedMessageError, UnsupportedVersionError
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse
from tidelog.protocol.messages.leave_group import (
    LeaveGroupRequest,
    LeaveGroupResponse,
    MemberIdentity,
    MemberResponse,
)
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequestGroup,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
)
from tidelog.protocol.messages.sync_group import SyncGroupRequest, SyncGroupResponse
from tidelog.protocol.records import decode_key, decode_value
from tidelog.protocol.records.group import (
    RECORD_TYPES,
    GroupMetadataKey,
    GroupMetadataValue,
    OffsetCommitKey,
    OffsetCommitValue,
)

#: "Nothing was committed", as OffsetFetch says it.
NO_OFFSET = -1
#: OffsetCommit tells from this version on that a group is unknown (KIP-848).
_GROUP_ID_NOT_FOUND_FROM = 9


class GroupShard(Shard):
    """`config()`: the group configs as they hold now."""

    def __init__(self, config: Callable[[], GroupConfig], timers: Timers, rng: Random) -> None:
        self._config = config
        self.groups: dict[str, ClassicGroup] = {}
        self.offsets = CommittedOffsets()
        self.classic = ClassicProtocol(config, timers, rng, self.groups.get, self._create)

    def _create(self, group_id: str, now_ms: int) -> ClassicGroup:
        group = self.groups[group_id] = ClassicGroup(group_id, now_ms)
        return group

    # -- membership -----------------------------------------------------------------------------

    def join(
        self, request: JoinGroupRequest, caller: Caller, now_ms: int
    ) -> Result[JoinGroupResponse]:
        """JoinGroup."""
        return self.classic.join(request, caller, now_ms)

    def sync(self, request: SyncGroupRequest, now_ms: int) -> Result[SyncGroupResponse]:
        """SyncGroup."""
        return self.classic.sync(request, now_ms)

    def heartbeat(
        self, group_id: str, member_id: str, instance_id: str | None, generation_id: int
    ) -> ErrorCode:
        """Heartbeat: only soft state changes."""
        return self.classic.heartbeat(group_id, member_id, instance_id, generation_id)

    def leave(
        self, request: LeaveGroupRequest, version: int, now_ms: int
    ) -> Result[LeaveGroupResponse]:
        """LeaveGroup of one member (before version 3) or several."""
        if not request.group_id:
            raise KafkaError(ErrorCode.INVALID_GROUP_ID)
        # The handler gives the only member of an old request as a list, too.
        identities = request.members
        if version < 3 and not identities:
            identities = [MemberIdentity(member_id=request.member_id)]
        records: list[CoordinatorRecord] = []
        answers: list[MemberResponse] = []
        for identity in identities:
            code, result = self.classic.leave(request.group_id, identity, now_ms)
            # A later member's record holds what an earlier one's said: the last one counts.
            records += result.records
            answers.append(
                MemberResponse(
                    member_id=identity.member_id,
                    group_instance_id=identity.group_instance_id,
                    error_code=code,
                )
            )
        if version < 3:
            return Result(LeaveGroupResponse(error_code=answers[0].error_code), records)
        return Result(LeaveGroupResponse(members=answers), records)

    # -- offsets --------------------------------------------------------------------------------

    def commit(
        self,
        request: OffsetCommitRequest,
        topic_ids: dict[str, bytes],
        version: int,
        now_ms: int,
    ) -> Result[OffsetCommitResponse]:
        """OffsetCommit. Topics by name; `topic_ids` of those that have one."""
        group = self._check_commit(request, version, now_ms)
        if group.is_in(GroupState.STABLE, GroupState.PREPARING_REBALANCE):
            self.classic.keep_session_of(group, request.member_id)
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
                if len(metadata.encode()) > size_max:
                    codes.append(_committed(asked, ErrorCode.OFFSET_METADATA_TOO_LARGE))
                    continue
                committed = CommittedOffset(
                    offset=asked.committed_offset,
                    leader_epoch=asked.committed_leader_epoch,
                    metadata=metadata,
                    commit_timestamp=now_ms,
                    expire_timestamp=expire,
                    topic_id=topic_ids.get(topic.name, bytes(16)),
                )
                records.append(
                    offset_record(request.group_id, topic.name, asked.partition_index, committed)
                )
                codes.append(_committed(asked, ErrorCode.NONE))
            topics.append(OffsetCommitResponseTopic(name=topic.name, partitions=codes))
        return Result(OffsetCommitResponse(topics=topics), records)

    def _check_commit(
        self, request: OffsetCommitRequest, version: int, now_ms: int
    ) -> ClassicGroup:
        """Whether this member, or this client without membership, may commit."""
        generation_id = request.generation_id_or_member_epoch
        group = self.groups.get(request.group_id)
        if group is None:
            if generation_id >= 0 and version >= _GROUP_ID_NOT_FOUND_FROM:
                raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND)
            if generation_id >= 0:
                raise KafkaError(ErrorCode.ILLEGAL_GENERATION)
            return self._create(request.group_id, now_ms)
        if group.is_in(GroupState.DEAD):
            raise KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
        if generation_id < 0 and group.is_in(GroupState.EMPTY):
            return group
        if generation_id >= 0 or request.member_id or request.group_instance_id is not None:
            self.classic.check_member(group, request.member_id, request.group_instance_id)
            if generation_id != group.generation_id:
                raise KafkaError(ErrorCode.ILLEGAL_GENERATION)
        elif not group.is_in(GroupState.EMPTY):
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID)
        if group.is_in(GroupState.COMPLETING_REBALANCE):
            raise KafkaError(ErrorCode.REBALANCE_IN_PROGRESS)
        return group

    def fetch(self, request: OffsetFetchRequestGroup) -> OffsetFetchResponseGroup:
        """OffsetFetch of one group. A partition without a committed offset has offset -1 and no
        error.
        """
        topics: list[OffsetFetchResponseTopics] = []
        if request.topics is None:
            for name, partitions in self.offsets.topics(request.group_id):
                fetched = [_fetched(index, found) for index, found in sorted(partitions.items())]
                topics.append(OffsetFetchResponseTopics(name=name, partitions=fetched))
        else:
            for asked in request.topics:
                fetched = [
                    _fetched(index, self.offsets.get(request.group_id, asked.name, index))
                    for index in asked.partition_indexes
                ]
                topics.append(
                    OffsetFetchResponseTopics(
                        name=asked.name, topic_id=asked.topic_id, partitions=fetched
                    )
                )
        return OffsetFetchResponseGroup(group_id=request.group_id, topics=topics)

    # -- Shard ----------------------------------------------------------------------------------

    def replay(self, record: CoordinatorRecord) -> None:
        try:
            record_type, key = decode_key(RECORD_TYPES, record.key)
        except (UnsupportedVersionError, MalformedMessageError):
            return
        value = None
        if record.value is not None:
            value = decode_value(RECORD_TYPES, record_type, record.value)
        if record_type in (0, OFFSET_COMMIT_KEY):
            assert isinstance(key, OffsetCommitKey) or record_type == 0
            self._replay_offset(key, value)  # type: ignore[arg-type]
        elif record_type == GROUP_METADATA_KEY:
            assert isinstance(key, GroupMetadataKey)
            self._replay_group(key, value)  # type: ignore[arg-type]

    def _replay_offset(self, key: OffsetCommitKey, value: OffsetCommitValue | None) -> None:
        if value is None:
            self.offsets.remove(key.group, key.topic, key.partition)
            return
        if key.group not in self.groups:
            self._create(key.group, value.commit_timestamp)
        committed = CommittedOffset(
            offset=value.offset,
            leader_epoch=getattr(value, "leader_epoch", -1),
            metadata=value.metadata,
            commit_timestamp=value.commit_timestamp,
            expire_timestamp=getattr(value, "expire_timestamp", -1),
            topic_id=getattr(value, "topic_id", bytes(16)),
        )
        self.offsets.put(key.group, key.topic, key.partition, committed)

    def _replay_group(self, key: GroupMetadataKey, value: GroupMetadataValue | None) -> None:
        """While the group lives here its state is already what the record says (Kafka's does the
        same).
        """
        held = self.groups.get(key.group)
        if value is None:
            self.groups.pop(key.group, None)
        elif held is None or not self._live:
            self.groups[key.group] = ClassicGroup.from_value(key.group, value)

    #: False while the log is replayed: then records make the groups.
    _live = False

    def on_loaded(self, now_ms: int) -> None:
        self._live = True
        for group in self.groups.values():
            self.classic.start_sessions(group)

    def on_unloaded(self) -> None:
        for group in self.groups.values():
            self.classic.fail_all(group, ErrorCode.NOT_COORDINATOR)


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
