"""One partition of `__consumer_offsets`: its groups and their committed offsets.

Pure: time, randomness and timers are given. `replay` alone changes what the records say; the
classic protocol's waiting members and timers are soft state (classic.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from tidelog.coordinator.group import consumer_records, descriptions
from tidelog.coordinator.group.classic import ClassicProtocol
from tidelog.coordinator.group.classic_group import ClassicGroup
from tidelog.coordinator.group.classic_in_consumer import ClassicMembers
from tidelog.coordinator.group.config import GroupConfig
from tidelog.coordinator.group.consumer_group import ConsumerGroup
from tidelog.coordinator.group.consumer_protocol import ConsumerProtocol
from tidelog.coordinator.group.downgrade import replaced_by
from tidelog.coordinator.group.member import Caller
from tidelog.coordinator.group.memory import GroupMemory
from tidelog.coordinator.group.offset_operations import OffsetOperations
from tidelog.coordinator.group.pending import OffsetKey
from tidelog.coordinator.group.records import (
    GROUP_METADATA_KEY,
    OFFSET_COMMIT_KEY,
    committed_of,
)
from tidelog.coordinator.group.registry import GroupRegistry
from tidelog.coordinator.group.states import GroupState
from tidelog.coordinator.group.subscriptions import TopicMatcher
from tidelog.coordinator.shard import CoordinatorRecord, Random, Result, Shard, Timers
from tidelog.errors import KafkaError, MalformedMessageError, UnsupportedVersionError
from tidelog.metadata.image import MetadataImage
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.consumer_group_describe import DescribedGroup as ConsumerDescribed
from tidelog.protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)
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
from tidelog.protocol.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
)
from tidelog.protocol.records import decode_key, decode_value
from tidelog.protocol.records.group import (
    RECORD_TYPES,
    GroupMetadataKey,
    GroupMetadataValue,
    OffsetCommitKey,
    OffsetCommitValue,
)

#: Key of the timer that looks for expired offsets.
_EXPIRE: Final = ("", "expire")
#: The records of consumer groups (consumer_records.py).
CONSUMER_TYPES: Final = frozenset({3, 5, 6, 7, 8, 16})


class GroupShard(Shard):
    """`config()`: the group configs as they hold now; `image()`: the metadata; `matcher` and
    `memory`: shared by the shards of a node.
    """

    def __init__(
        self,
        config: Callable[[], GroupConfig],
        image: Callable[[], MetadataImage],
        timers: Timers,
        rng: Random,
        matcher: TopicMatcher | None = None,
        memory: GroupMemory | None = None,
    ) -> None:
        self._config = config
        self._timers = timers
        self.registry = GroupRegistry()
        self.groups = self.registry.classic
        self.offsets = self.registry.offsets
        memory = memory or GroupMemory(lambda: self.registry.held_bytes)
        self.classic = ClassicProtocol(
            config,
            timers,
            rng,
            self.groups.get,
            self.registry.create_classic,
            self.registry.forget_unused,
            memory,
        )
        self.consumer = ConsumerProtocol(
            config,
            image,
            timers,
            rng,
            self.registry,
            self.classic.abandon,
            self._adopt,
            matcher or TopicMatcher(),
            memory,
        )
        self.classic_members = ClassicMembers(self.consumer, rng)
        self.offset_operations = OffsetOperations(config, self.registry)
        #: The consumer group that the record before ended, if it did.
        self._ended: str | None = None
        #: Classic groups that were consumer groups and have had no round since. While loading.
        self._unsettled: set[str] = set()

    # -- membership -----------------------------------------------------------------------------

    def join(
        self, request: JoinGroupRequest, caller: Caller, now_ms: int
    ) -> Result[JoinGroupResponse]:
        """JoinGroup. A consumer group without members has made way before (make_classic)."""
        group = self.registry.consumer.get(request.group_id)
        if group is not None:
            if group.is_empty:
                # It has become one since then: the client asks again.
                raise KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE)
            self.classic.check_request(request)
            return self.classic_members.join(group, request, caller, now_ms)
        return self.classic.join(request, caller, now_ms)

    def make_classic(self, request: JoinGroupRequest, now_ms: int) -> Result[None]:
        """Before a JoinGroup: a consumer group without members gives its name away; so does one
        whose last member of the consumer protocol, static and away, is replaced by this request.
        """
        group = self.registry.consumer.get(request.group_id)
        if group is None:
            return Result(None)
        if group.is_empty:
            return Result(None, group.tombstones())
        replaced = replaced_by(group, request)
        if replaced is None or not self.consumer.may_downgrade(group, {replaced}, joining=1):
            return Result(None)
        self.classic.check_request(request)
        return self.consumer.give_way(group, replaced, request, now_ms)

    def _adopt(self, group: ClassicGroup, now_ms: int) -> None:
        """A consumer group has become this classic one."""
        self.registry.classic[group.group_id] = group
        self.classic.adopt(group, now_ms)

    def consumer_heartbeat(
        self, request: ConsumerGroupHeartbeatRequest, caller: Caller, version: int, now_ms: int
    ) -> Result[ConsumerGroupHeartbeatResponse]:
        """ConsumerGroupHeartbeat."""
        return self.consumer.heartbeat(request, caller, version, now_ms)

    def sync(self, request: SyncGroupRequest, now_ms: int) -> Result[SyncGroupResponse]:
        """SyncGroup."""
        group = self.registry.consumer.get(request.group_id)
        if group is not None:
            return self.classic_members.sync(group, request)
        return self.classic.sync(request, now_ms)

    def heartbeat(
        self, group_id: str, member_id: str, instance_id: str | None, generation_id: int
    ) -> ErrorCode:
        """Heartbeat: only soft state changes."""
        group = self.registry.consumer.get(group_id)
        if group is not None:
            return self.classic_members.heartbeat(group, member_id, instance_id, generation_id)
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
        codes, result = self._leave(request.group_id, identities, now_ms)
        answer = LeaveGroupResponse(error_code=codes[0]) if version < 3 else LeaveGroupResponse()
        if version >= 3:
            answer.members = [
                MemberResponse(
                    member_id=identity.member_id,
                    group_instance_id=identity.group_instance_id,
                    error_code=code,
                )
                for identity, code in zip(identities, codes, strict=True)
            ]
        return Result(answer, result.records, result.on_written)

    def _leave(
        self, group_id: str, identities: list[MemberIdentity], now_ms: int
    ) -> tuple[list[ErrorCode], Result[None]]:
        group = self.registry.consumer.get(group_id)
        if group is not None:
            return self.classic_members.leave(group, identities, now_ms)
        records: list[CoordinatorRecord] = []
        codes: list[ErrorCode] = []
        for identity in identities:
            code, result = self.classic.leave(group_id, identity, now_ms)
            # A later member's record holds what an earlier one's said: the last one counts.
            records += result.records
            codes.append(code)
        return codes, Result(None, records)

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

    def commit_transactional(
        self, request: TxnOffsetCommitRequest, topic_ids: dict[str, bytes], now_ms: int
    ) -> Result[TxnOffsetCommitResponse]:
        """TxnOffsetCommit."""
        return self.offset_operations.commit_transactional(request, topic_ids, now_ms)

    def fetch(
        self, request: OffsetFetchRequestGroup, require_stable: bool = False
    ) -> OffsetFetchResponseGroup:
        """OffsetFetch of one group."""
        return self.offset_operations.fetch(request, require_stable)

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

    def describe_consumer(
        self, group_id: str, topics: Mapping[bytes, str], assignor: str
    ) -> ConsumerDescribed:
        """ConsumerGroupDescribe for one group."""
        return descriptions.describe_consumer(self.registry, group_id, topics, assignor)

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
        ended, self._ended = self._ended, None
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
            self._replay_downgrade(key.group, ended)
        elif record_type in CONSUMER_TYPES:
            self._replay_consumer(record_type, key, value)

    def _replay_consumer(self, record_type: int, key: Any, value: Any) -> None:
        group = self.registry.consumer.get(key.group_id)
        if group is None:
            if value is None:
                return
            self.registry.classic.pop(key.group_id, None)
            group = self.registry.consumer[key.group_id] = ConsumerGroup(key.group_id)
        if record_type == consumer_records.GROUP_KEY and value is None:
            del self.registry.consumer[key.group_id]
            self._ended = key.group_id
            if self.offsets.has_group(key.group_id):
                self.registry.create_classic(key.group_id, -1)
        else:
            group.replay(record_type, key, value)

    def _replay_offset(self, key: OffsetCommitKey, value: OffsetCommitValue | None) -> None:
        if value is None:
            self.offsets.remove(key.group, key.topic, key.partition)
            self.registry.pending.drop(OffsetKey(key.group, key.topic, key.partition))
            return
        self._make_group_for(key.group, value)
        self.offsets.put(key.group, key.topic, key.partition, committed_of(value))
        self.registry.pending.settle(OffsetKey(key.group, key.topic, key.partition))

    def _make_group_for(self, group_id: str, value: OffsetCommitValue) -> None:
        if self.registry.find(group_id) is None:
            self.registry.create_classic(group_id, value.commit_timestamp)

    def replay_pending(self, producer_id: int, record: CoordinatorRecord) -> None:
        try:
            record_type, key = decode_key(RECORD_TYPES, record.key)
        except (UnsupportedVersionError, MalformedMessageError):
            return
        if record_type not in (0, OFFSET_COMMIT_KEY) or record.value is None:
            return
        assert isinstance(key, OffsetCommitKey)
        value = decode_value(RECORD_TYPES, record_type, record.value)
        assert isinstance(value, OffsetCommitValue)
        self._make_group_for(key.group, value)
        pending = OffsetKey(key.group, key.topic, key.partition)
        self.registry.pending.put(producer_id, pending, committed_of(value))

    def end_transaction(self, producer_id: int, is_commit: bool) -> None:
        for key, committed in self.registry.pending.end(producer_id, is_commit):
            self.offsets.put(*key, committed)

    def _replay_group(self, key: GroupMetadataKey, value: GroupMetadataValue | None) -> None:
        """While the group lives here its state is already what the record says (Kafka's does the
        same).
        """
        held = self.groups.get(key.group)
        if value is None:
            self.groups.pop(key.group, None)
        elif held is None or not self._live:
            self.groups[key.group] = ClassicGroup.from_value(key.group, value)

    def _replay_downgrade(self, group_id: str, ended: str | None) -> None:
        """A classic group right behind the end of a consumer group of that name is what became of
        it: the round that it starts with is lost with a coordinator, until a generation is written.
        """
        if group_id == ended:
            self._unsettled.add(group_id)
        else:
            self._unsettled.discard(group_id)

    #: False while the log is replayed: then records make the groups.
    _live = False

    def on_loaded(self, now_ms: int) -> None:
        self._live = True
        for group in self.groups.values():
            if group.group_id in self._unsettled and group.is_in(GroupState.STABLE):
                self.classic.adopt(group, now_ms)
            else:
                self.classic.start_sessions(group)
        self._unsettled.clear()
        for consumers in self.registry.consumer.values():
            self.consumer.start_timers(consumers)
        interval_ms = self._config().offsets_retention_check_interval_ms
        self._timers.schedule(_EXPIRE, interval_ms, self._expire)

    def on_unloaded(self) -> None:
        for group in self.groups.values():
            self.classic.fail_all(group, ErrorCode.NOT_COORDINATOR)
