"""A member of a classic group. Pure state; its group changes it."""

from __future__ import annotations

from dataclasses import dataclass, field

from tidelog.coordinator.group.memory import classic_member_bytes
from tidelog.coordinator.promise import Promise
from tidelog.protocol.messages.join_group import JoinGroupResponse
from tidelog.protocol.messages.sync_group import SyncGroupResponse

#: (name, metadata) in the member's order of preference.
Protocols = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: for member ids and descriptions."""

    client_id: str
    client_host: str
    requires_known_member_id: bool = False
    supports_skip_assignment: bool = False


@dataclass(slots=True, eq=False)
class Member:
    """`joining` and `syncing`: its JoinGroup or SyncGroup that waits for an answer."""

    member_id: str
    group_instance_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    protocol_type: str
    protocols: Protocols
    assignment: bytes = b""
    joining: Promise[JoinGroupResponse] | None = field(default=None, repr=False)
    syncing: Promise[SyncGroupResponse] | None = field(default=None, repr=False)
    #: Memory of what it says, bytes.
    said_bytes: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        self.said_bytes = self._count(self.protocols)

    def say(self, protocols: Protocols) -> None:
        """It supports these protocols from now on."""
        self.protocols = protocols
        self.said_bytes = self._count(protocols)

    def _count(self, protocols: Protocols) -> int:
        texts = (
            self.member_id,
            self.group_instance_id,
            self.client_id,
            self.client_host,
            self.protocol_type,
        )
        return classic_member_bytes(texts, protocols)

    @property
    def is_static(self) -> bool:
        """Has a `group.instance.id` (KIP-345)."""
        return self.group_instance_id is not None

    def metadata_for(self, protocol: str) -> bytes:
        """What the member says for a protocol that it supports."""
        for name, metadata in self.protocols:
            if name == protocol:
                return metadata
        raise KeyError(protocol)

    def vote(self, candidates: set[str]) -> str:
        """Its favourite among protocols that everybody supports."""
        return next(name for name, _ in self.protocols if name in candidates)
