"""One partition of `__consumer_offsets`: its groups and their committed offsets.

Pure: time, randomness and timers are given. `replay` alone changes what the records say; the
classic protocol's waiting members and timers are soft state (classic.py). Records of groups of
other kinds (KIP-848) are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from tidelog.coordinator.group import descriptions
from tidelog.coordinator.group.classic import Caller, ClassicProtocol
from tidelog.coordinator.group.classic_group import ClassicGroup
from tidelog.coordinator.group.config import GroupConfig
from tidelog.coordinator.group.offset_operations import OffsetOperations
from tidelog.coordinator.group.records import (
    GROUP_METADATA_KEY,
    NO_TOPIC_ID,
    OFFSET_COMMIT_KEY,
    CommittedOffset,
)
from tidelog.coordinator.group.registry import GroupRegistry
from tidelog.coordinator.group.states import GroupState
from tidelog.coordinator.shard import CoordinatorRecord, Random, Result, Shard, Timers
from tidelog.errors import KafkaError, MalformedMessageError, UnsupportedVersionError
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.describe_groups import DescribedGroup
from tidelog.protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse
from tidelog.protocol.messages.leave_group import (
    LeaveGroupRequest,
    LeaveGroupResponse,
    MemberIdentity,
    MemberResponse,
)
from tidelog.protocol.messages.list_groups import ListedGroup
from tidelog.protocol.messages.offset_commit import OffsetCommitRequest, OffsetCommitResponse
from tidelog.protocol.messages.offset_delete import OffsetDeleteRequest, OffsetDeleteResponse
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequestGroup,
    OffsetFetchResponseGroup,
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

#: Key of the timer that looks for expired offsets.
_EXPIRE = ("", "expire")


class GroupShard(Shard):
    """`config()`: the group configs as they hold now."""

    def __init__(self, config: Callable[[], GroupConfig], timers: Timers, rng: Random) -> None:
        self._config = config
        self._timers = timers
        self.registry = GroupRegistry()
        self.groups = self.registry.classic
        self.offsets = self.registry.offsets
        self.classic = ClassicProtocol(
            config, timers, rng, self.groups.get, self.registry.create_classic
        )
        self.offset_operations = OffsetOperations(config, self.registry)

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

    # -- offsets and groups as a whole ------------------------------------------------------------

    def commit(
        self,
        request: OffsetCommitRequest,
        topic_ids: dict[str, bytes],
        version: int,
        now_ms: int,
    ) -> Result[OffsetCommitResponse]:
        """OffsetCommit. Topics by name; `topic_ids` of those that have one."""
        result = self.offset_operations.commit(request, topic_ids, version, now_ms)
        group = self.groups.get(request.group_id)
        if group is not None and group.is_in(GroupState.STABLE, GroupState.PREPARING_REBALANCE):
            self.classic.keep_session_of(group, request.member_id)
        return result

    def fetch(self, request: OffsetFetchRequestGroup) -> OffsetFetchResponseGroup:
        """OffsetFetch of one group."""
        return self.offset_operations.fetch(request)

    def delete_offsets(self, request: OffsetDeleteRequest) -> Result[OffsetDeleteResponse]:
        """OffsetDelete."""
        return self.offset_operations.delete_offsets(request)

    def delete_group(self, group_id: str) -> Result[bool]:
        """One step of DeleteGroups for one group; the answer: whether it is gone."""
        return self.offset_operations.delete_group(group_id)

    def forget_topics(self, deleted: Collection[tuple[str, bytes]]) -> Result[bool]:
        """One step of removing the offsets of deleted topics; the answer: whether they are gone."""
        return self.offset_operations.forget_topics(deleted)

    def describe_classic(self, group_id: str, version: int) -> DescribedGroup:
        """DescribeGroups for one group."""
        return descriptions.describe_classic(self.registry, group_id, version)

    def list_groups(self, states: Collection[str], types: Collection[str]) -> list[ListedGroup]:
        """ListGroups over this shard."""
        return descriptions.list_groups(self.registry, states, types)

    def _expire(self, now_ms: int) -> Result[bool]:
        """The timer of offsets.retention.check.interval.ms; at once again while more is due."""
        result = self.offset_operations.expire(now_ms)

        def written(error_code: int) -> None:
            # A log that refuses writes is asked again after the interval, not at once.
            is_done = result.answer or error_code
            again_ms = self._config().offsets_retention_check_interval_ms if is_done else 0
            self._timers.schedule(_EXPIRE, again_ms, self._expire)

        return Result(result.answer, result.records, written)

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
            self.registry.create_classic(key.group, value.commit_timestamp)
        committed = CommittedOffset(
            offset=value.offset,
            leader_epoch=getattr(value, "leader_epoch", -1),
            metadata=value.metadata,
            commit_timestamp=value.commit_timestamp,
            expire_timestamp=getattr(value, "expire_timestamp", -1),
            topic_id=getattr(value, "topic_id", NO_TOPIC_ID),
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
        interval_ms = self._config().offsets_retention_check_interval_ms
        self._timers.schedule(_EXPIRE, interval_ms, self._expire)

    def on_unloaded(self) -> None:
        for group in self.groups.values():
            self.classic.fail_all(group, ErrorCode.NOT_COORDINATOR)
