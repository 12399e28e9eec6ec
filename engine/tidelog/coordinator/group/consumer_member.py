"""A member of a consumer group (KIP-848) as one immutable value. Pure.

STABLE
    It has what the target of its epoch says.
UNREVOKED_PARTITIONS
    It was told to give up partitions and still has them (`revoking`); its epoch waits for that.
UNRELEASED_PARTITIONS
    It is in the target's epoch, and waits for partitions that others have not given up yet.

Transitions: reconciliation.py. Epoch -2: a static member that is away and may come back until its
session ends; what it had stays its own.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final

from tidelog.coordinator.group.assignors import TopicPartition
from tidelog.coordinator.group.memory import classic_member_bytes, names_bytes
from tidelog.coordinator.shard import Random

#: Member epochs with a meaning of their own.
JOIN_EPOCH: Final = 0
LEAVE_EPOCH: Final = -1
LEAVE_STATIC_EPOCH: Final = -2


def new_member_id(rng: Random) -> str:
    """A random UUID in Kafka's text form, 22 characters."""
    return urlsafe_b64encode(rng.getrandbits(128).to_bytes(16, "big")).decode().rstrip("=")


class MemberState(IntEnum):
    """As it is written."""

    STABLE = 0
    UNREVOKED_PARTITIONS = 1
    UNRELEASED_PARTITIONS = 2


@dataclass(frozen=True, slots=True)
class ClassicMembership:
    """What a member that speaks the classic protocol said in its JoinGroup."""

    session_timeout_ms: int
    protocols: tuple[tuple[str, bytes], ...]


#: Partitions with the epoch in which the member was given each (KIP-1251).
OwnedPartitions = Mapping[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class ConsumerMember:
    """`topic_regex` None: subscribes by names alone. `classic`: of who speaks that protocol."""

    member_id: str
    instance_id: str | None = None
    rack_id: str | None = None
    client_id: str = ""
    client_host: str = ""
    rebalance_timeout_ms: int = -1
    topic_names: frozenset[str] = frozenset()
    topic_regex: str | None = None
    server_assignor: str | None = None
    classic: ClassicMembership | None = None
    # What it has: records of another kind.
    epoch: int = 0
    previous_epoch: int = -1
    state: MemberState = MemberState.STABLE
    assigned: OwnedPartitions = field(default_factory=dict)
    revoking: OwnedPartitions = field(default_factory=dict)

    def in_epoch(self, epoch: int) -> ConsumerMember:
        """The same in another epoch; the present one becomes the previous one."""
        return replace(self, epoch=epoch, previous_epoch=self.epoch)

    def said_bytes(self) -> int:
        """Memory of what it says (memory.py); looks at every name."""
        texts = (
            self.member_id,
            self.instance_id,
            self.rack_id,
            self.client_id,
            self.client_host,
            self.topic_regex,
            self.server_assignor,
        )
        protocols = () if self.classic is None else self.classic.protocols
        return classic_member_bytes(texts, protocols) + names_bytes(self.topic_names)

    @property
    def owned(self) -> set[TopicPartition]:
        """Everything that nobody else may get."""
        return {*self.assigned, *self.revoking}
