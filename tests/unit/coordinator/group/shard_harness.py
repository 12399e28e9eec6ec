"""Runs a GroupShard without a loop: a clock and timers moved by hand, a list for a log."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any, TypeVar

from tidelog.coordinator.group.classic import member_id_of
from tidelog.coordinator.group.config import GroupConfig
from tidelog.coordinator.group.member import Caller
from tidelog.coordinator.group.shard import GroupShard
from tidelog.coordinator.promise import Promise
from tidelog.coordinator.shard import CoordinatorRecord, Result, TimerOperation
from tidelog.errors import KafkaError
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import PartitionRecord, TopicRecord
from tidelog.protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
    TopicPartitions,
)
from tidelog.protocol.messages.join_group import (
    JoinGroupRequest,
    JoinGroupRequestProtocol,
    JoinGroupResponse,
)
from tidelog.protocol.messages.leave_group import LeaveGroupRequest, MemberIdentity
from tidelog.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from tidelog.protocol.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
)
from tidelog.protocol.messages.offset_fetch import (
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
)
from tidelog.protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment

A = TypeVar("A")


def topic_id(name: str) -> bytes:
    """The id of a topic of ShardHarness.topics."""
    return name.encode().ljust(16, b"-")


def owned(*partitions: tuple[str, int]) -> list[TopicPartitions]:
    """Partitions (topic, index) as a heartbeat names them."""
    return [
        TopicPartitions(topic_id=topic_id(name), partitions=[index])
        for name, index in sorted(partitions)
    ]


def given(answer: ConsumerGroupHeartbeatResponse) -> set[tuple[str, int]] | None:
    """The partitions (topic, index) of an answer; None when nothing has changed."""
    if answer.assignment is None:
        return None
    return {
        (topic.topic_id.decode().rstrip("-"), index)
        for topic in answer.assignment.topic_partitions
        for index in topic.partitions
    }


CONFIG = GroupConfig(
    min_session_timeout_ms=6_000,
    max_session_timeout_ms=1_800_000,
    max_size=2**31 - 1,
    initial_rebalance_delay_ms=0,
    offset_metadata_max_bytes=4096,
    offsets_retention_ms=7 * 24 * 3_600_000,
    offsets_retention_check_interval_ms=600_000,
    consumer_session_timeout_ms=45_000,
    consumer_heartbeat_interval_ms=5_000,
    consumer_assignment_interval_ms=0,
    consumer_max_size=2**31 - 1,
    consumer_assignors=("uniform", "range"),
    allows_upgrade=True,
    allows_downgrade=True,
    regex_refresh_interval_ms=600_000,
    protocols=frozenset({"classic", "consumer"}),
)


class ManualTimers:
    """Timers that fire when the harness moves its clock."""

    def __init__(self) -> None:
        self.due: dict[Hashable, tuple[int, TimerOperation]] = {}
        self.now_ms = 1_000_000

    def schedule(self, key: Hashable, delay_ms: int, operation: TimerOperation) -> None:
        self.due[key] = (self.now_ms + delay_ms, operation)

    def cancel(self, key: Hashable) -> None:
        self.due.pop(key, None)


class ShardHarness:
    """`log`: every record written. `fail_writes`: the error code of the next writes."""

    def __init__(self, seed: int = 1, **config: int) -> None:
        self.timers = ManualTimers()
        self.config = replace(CONFIG, **config)
        self.rng = random.Random(seed)
        self.log: list[CoordinatorRecord] = []
        self.fail_writes = 0
        self.image = MetadataImage()
        self.shard = self._new_shard()
        self.shard.on_loaded(self.now_ms)

    def _new_shard(self) -> GroupShard:
        return GroupShard(lambda: self.config, lambda: self.image, self.timers, self.rng)

    @property
    def now_ms(self) -> int:
        return self.timers.now_ms

    def reload(self) -> None:
        """The coordinator moved: a new shard from the log alone."""
        self.shard.on_unloaded()
        self.timers.due.clear()
        self.shard = self._new_shard()
        for record in self.log:
            self.shard.replay(record)
        self.shard.on_loaded(self.now_ms)

    def run(self, operation: Callable[[], Result[A]]) -> A | Promise[A]:
        result = operation()
        if result.records and self.fail_writes:
            result.on_written(self.fail_writes)
            result.on_committed(self.fail_writes)
            raise KafkaError(self.fail_writes)
        for record in result.records:
            self.log.append(record)
            self.shard.replay(record)
        result.on_written(0)
        result.on_committed(0)
        answer: Any = result.answer
        if isinstance(answer, Promise) and answer.done:
            return answer.value  # type: ignore[return-value]
        return answer

    def advance(self, ms: int, *, failing: bool = False) -> None:
        """Move the clock, firing timers in their order. failing: their writes may fail."""
        end = self.timers.now_ms + ms
        while True:
            ready = [(at, str(key), key) for key, (at, _) in self.timers.due.items() if at <= end]
            if not ready:
                break
            at, _, key = min(ready)
            _, operation = self.timers.due.pop(key)
            self.timers.now_ms = max(at, self.timers.now_ms)
            try:
                self.run(lambda: operation(self.timers.now_ms))  # noqa: B023
            except KafkaError:
                if not failing:
                    raise
        self.timers.now_ms = end

    # -- requests -------------------------------------------------------------------------------

    def join(
        self,
        member_id: str = "",
        *,
        group: str = "g",
        protocols: tuple[str, ...] = ("range",),
        metadata: bytes = b"m",
        instance: str | None = None,
        session_timeout_ms: int = 10_000,
        rebalance_timeout_ms: int = 60_000,
        known_id: bool = False,
        skip: bool = True,
        client: str = "c",
        protocol_type: str = "consumer",
        makes_way: bool = True,
    ) -> Any:
        """JoinGroup, in the two steps of the group service."""
        request = JoinGroupRequest(
            group_id=group,
            session_timeout_ms=session_timeout_ms,
            rebalance_timeout_ms=rebalance_timeout_ms,
            member_id=member_id,
            group_instance_id=instance,
            protocol_type=protocol_type,
            protocols=[JoinGroupRequestProtocol(name=p, metadata=metadata) for p in protocols],
        )
        caller = Caller(client, "/127.0.0.1", known_id, skip)
        try:
            if makes_way:
                self.run(lambda: self.shard.make_classic(request, self.now_ms))
            return self.run(lambda: self.shard.join(request, caller, self.now_ms))
        except KafkaError as error:
            return JoinGroupResponse(
                error_code=error.error_code, member_id=member_id_of(error, member_id)
            )

    def sync(
        self,
        member_id: str,
        generation_id: int,
        assignments: dict[str, bytes] | None = None,
        *,
        group: str = "g",
        instance: str | None = None,
        protocol_name: str | None = None,
    ) -> Any:
        request = SyncGroupRequest(
            group_id=group,
            generation_id=generation_id,
            member_id=member_id,
            group_instance_id=instance,
            protocol_name=protocol_name,
            assignments=[
                SyncGroupRequestAssignment(member_id=m, assignment=a)
                for m, a in (assignments or {}).items()
            ],
        )
        return self._code(lambda: self.run(lambda: self.shard.sync(request, self.now_ms)))

    def heartbeat(
        self, member_id: str, generation_id: int, *, group: str = "g", instance: str | None = None
    ) -> int:
        code = self._code(lambda: self.shard.heartbeat(group, member_id, instance, generation_id))
        return int(code)

    def leave(self, *identities: tuple[str, str | None], version: int = 3) -> Any:
        request = LeaveGroupRequest(
            group_id="g",
            member_id=identities[0][0] if version < 3 else "",
            members=[MemberIdentity(member_id=m, group_instance_id=i) for m, i in identities],
        )
        return self.run(lambda: self.shard.leave(request, version, self.now_ms))

    def commit(
        self,
        offset: int,
        *,
        member_id: str = "",
        generation_id: int = -1,
        instance: str | None = None,
        group: str = "g",
        metadata: str | None = "note",
        topic: str = "t",
        partition: int = 0,
        retention_ms: int = -1,
        version: int = 8,
        topic_id: bytes | None = None,
    ) -> int:
        request = OffsetCommitRequest(
            group_id=group,
            generation_id_or_member_epoch=generation_id,
            member_id=member_id,
            group_instance_id=instance,
            retention_time_ms=retention_ms,
            topics=[
                OffsetCommitRequestTopic(
                    name=topic,
                    partitions=[
                        OffsetCommitRequestPartition(
                            partition_index=partition,
                            committed_offset=offset,
                            committed_leader_epoch=3,
                            committed_metadata=metadata,
                        )
                    ],
                )
            ],
        )
        ids = {} if topic_id is None else {topic: topic_id}
        answer = self._code(
            lambda: self.run(lambda: self.shard.commit(request, ids, version, self.now_ms))
        )
        if isinstance(answer, int):
            return answer
        return int(answer.topics[0].partitions[0].error_code)

    def committed(self, group: str = "g", partition: int = 0, topic: str = "t") -> int:
        asked = OffsetFetchRequestGroup(
            group_id=group,
            topics=[OffsetFetchRequestTopics(name=topic, partition_indexes=[partition])],
        )
        return self.shard.fetch(asked).topics[0].partitions[0].committed_offset

    def delete_offsets(self, *topics: str, group: str = "g") -> Any:
        request = OffsetDeleteRequest(
            group_id=group,
            topics=[
                OffsetDeleteRequestTopic(
                    name=topic, partitions=[OffsetDeleteRequestPartition(partition_index=0)]
                )
                for topic in topics
            ],
        )
        answer = self._code(lambda: self.run(lambda: self.shard.delete_offsets(request)))
        if isinstance(answer, int):
            return answer
        return [each.partitions[0].error_code for each in answer.topics]

    def delete_group(self, group: str = "g") -> int:
        answer = False
        while not answer:
            answer = self._code(lambda: self.run(lambda: self.shard.delete_group(group)))
            if answer is not True and answer is not False:
                return int(answer)
        return 0

    # -- consumer groups ------------------------------------------------------------------------

    def topics(self, **counts: int) -> None:
        """The metadata has these topics with so many partitions; `topic_id` gives their ids."""
        records: list[Any] = []
        for name, count in counts.items():
            records.append(TopicRecord(topic_id=topic_id(name), name=name))
            records += [
                PartitionRecord(
                    topic_id=topic_id(name),
                    partition=index,
                    replicas=(1,),
                    isr=(1,),
                    leader=1,
                    leader_epoch=0,
                    partition_epoch=0,
                )
                for index in range(count)
            ]
        self.image = MetadataImage().apply(records, self.image.version + 1)

    def beat(
        self, member_id: str, epoch: int, *topics: str, version: int = 1, **changes: Any
    ) -> Any:
        """ConsumerGroupHeartbeat of group g: the answer, or an error code. Epoch 0 says everything,
        another one only what `changes` say.
        """
        request = ConsumerGroupHeartbeatRequest(
            group_id="g", member_id=member_id, member_epoch=epoch
        )
        if epoch == 0:
            request.rebalance_timeout_ms = 60_000
            request.subscribed_topic_names = list(topics)
            request.topic_partitions = []
        for name, value in changes.items():
            setattr(request, name, value)
        caller = Caller("c", "/127.0.0.1")
        return self._code(
            lambda: self.run(
                lambda: self.shard.consumer_heartbeat(request, caller, version, self.now_ms)
            )
        )

    @staticmethod
    def _code(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except KafkaError as error:
            return int(error.error_code)

    def stable(self, *member_ids: str) -> tuple[list[str], int]:
        """Bring the members (new ones for "") into a stable generation: (ids, generation)."""
        answers = [self.join(m) for m in member_ids]
        assert all(not isinstance(a, Promise) or a.done for a in answers)
        values = [a.value if isinstance(a, Promise) else a for a in answers]
        ids = [v.member_id for v in values]
        generation = values[-1].generation_id
        for value in values:
            leads = value.leader == value.member_id
            self.sync(
                value.member_id,
                generation,
                {m: m.encode() for m in ids} if leads else None,
            )
        return ids, generation
