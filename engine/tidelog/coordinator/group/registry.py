"""The groups of one shard, whatever their protocol, and what every kind of group answers about
itself. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from typing import Protocol

from tidelog.coordinator.group.classic_group import ClassicGroup
from tidelog.coordinator.group.consumer_group import ConsumerGroup
from tidelog.coordinator.group.offsets import CommittedOffsets
from tidelog.coordinator.group.pending import PendingOffsets
from tidelog.coordinator.shard import CoordinatorRecord
from tidelog.protocol.messages.offset_commit import OffsetCommitRequest


class Group(Protocol):
    """What offsets, deletion and descriptions need of a group."""

    group_id: str

    @property
    def members(self) -> Sized: ...

    @property
    def is_empty(self) -> bool:
        """No members: it may be deleted."""
        ...

    @property
    def is_disposable(self) -> bool:
        """Empty, and nobody is about to join: it ends with its last offset."""
        ...

    @property
    def type_name(self) -> str:
        """As ListGroups tells it, in lower case."""
        ...

    @property
    def state_name(self) -> str: ...

    @property
    def listed_protocol_type(self) -> str: ...

    def check_commit(
        self, request: OffsetCommitRequest, topic_ids: dict[str, bytes], version: int
    ) -> None:
        """Raise KafkaError unless this commit is taken."""
        ...

    def check_transactional_commit(
        self, member_id: str, instance_id: str | None, generation_id: int
    ) -> None:
        """The same for a commit within a transaction, which may come without a member."""
        ...

    def check_fetch(self, member_id: str | None, member_epoch: int) -> None:
        """Raise KafkaError when a member asks with an epoch that is not its own."""
        ...

    def check_offset_delete(self) -> None:
        """Raise KafkaError when no offset of the group may be deleted."""
        ...

    def is_subscribed_to(self, topic: str) -> bool:
        """Whether members consume the topic, so that its offsets have to stay."""
        ...

    def expiry_base(self) -> Callable[[int], int] | None:
        """From the time of a commit to the time from which its retention counts; None when no
        offset of the group expires now.
        """
        ...

    def tombstones(self) -> list[CoordinatorRecord]:
        """The records that remove the group."""
        ...


class GroupRegistry:
    """All groups of the shard by id, and their committed offsets."""

    def __init__(self) -> None:
        self.classic: dict[str, ClassicGroup] = {}
        self.consumer: dict[str, ConsumerGroup] = {}
        self.offsets = CommittedOffsets()
        self.pending = PendingOffsets()

    def find(self, group_id: str) -> Group | None:
        """The group of that id, of any kind."""
        return self.consumer.get(group_id) or self.classic.get(group_id)

    def groups(self) -> Iterator[Group]:
        """Every group."""
        yield from self.classic.values()
        yield from self.consumer.values()

    def create_classic(self, group_id: str, now_ms: int) -> ClassicGroup:
        """A new classic group; without members and records it is soft state."""
        group = self.classic[group_id] = ClassicGroup(group_id, now_ms)
        return group

    def forget_unused(self, group: ClassicGroup) -> None:
        """Drop a classic group that nobody ever was in, unless it has offsets: it is not written,
        so no tombstone will end it.
        """
        group_id = group.group_id
        if self.classic.get(group_id) is not group:
            return
        if not self.offsets.has_group(group_id) and not self.pending.has_group(group_id):
            del self.classic[group_id]

    @property
    def held_bytes(self) -> int:
        """Memory of what the members of all groups said (memory.py)."""
        classic = sum(group.held_bytes for group in self.classic.values())
        return classic + sum(group.held_bytes for group in self.consumer.values())
