"""Requests of group members as bytes, and their answers: for bench.load.members.

Pure, hand-made, in old fixed versions that every broker of today answers: FindCoordinator 0,
JoinGroup 2, SyncGroup 0, Heartbeat 0, OffsetCommit 2, and ConsumerGroupHeartbeat 0
(KIP-848; flexible). The broker's own codec is not used: see cluster.py.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidelog.benchmarks.batches import unsigned_varint
from tidelog.benchmarks.cluster import Reader, text

OFFSET_COMMIT, FIND_COORDINATOR, JOIN_GROUP, HEARTBEAT = 8, 10, 11, 12
SYNC_GROUP, CONSUMER_HEARTBEAT = 14, 68
VERSIONS = {
    OFFSET_COMMIT: 2,
    FIND_COORDINATOR: 0,
    JOIN_GROUP: 2,
    HEARTBEAT: 0,
    SYNC_GROUP: 0,
    CONSUMER_HEARTBEAT: 0,
}


def data(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


def subscription(topic: str) -> bytes:
    """A consumer's metadata, version 0."""
    return struct.pack(">hi", 0, 1) + text(topic) + data(b"")


def assignment(topic: str, partitions: Sequence[int]) -> bytes:
    """A member's part, version 0."""
    body = struct.pack(">hi", 0, 1) + text(topic) + struct.pack(">i", len(partitions))
    return body + b"".join(struct.pack(">i", each) for each in partitions) + data(b"")


def find_coordinator(group: str) -> bytes:
    return text(group)


def join_group(group: str, member_id: str, topic: str, session_ms: int) -> bytes:
    body = text(group) + struct.pack(">ii", session_ms, 60_000) + text(member_id)
    body += text("consumer") + struct.pack(">i", 1)
    return body + text("range") + data(subscription(topic))


@dataclass(frozen=True)
class Joined:
    """What a JoinGroup was answered; `members` are told to the leader alone."""

    error_code: int
    generation: int
    leader: str
    member_id: str
    members: tuple[str, ...]


def joined(answer: Reader) -> Joined:
    answer.one("i")  # throttle time
    error_code, generation = answer.unpack("hi")
    answer.string()
    leader, member_id = answer.string(), answer.string()
    members = []
    for _ in range(answer.one("i")):
        members.append(answer.string() or "")
        metadata_bytes = answer.one("i")
        answer.at += metadata_bytes
    return Joined(error_code, generation, leader or "", member_id or "", tuple(members))


def sync_group(
    group: str, generation: int, member_id: str, assignments: Mapping[str, bytes]
) -> bytes:
    body = text(group) + struct.pack(">i", generation) + text(member_id)
    body += struct.pack(">i", len(assignments))
    return body + b"".join(text(member) + data(part) for member, part in assignments.items())


def heartbeat(group: str, generation: int, member_id: str) -> bytes:
    return text(group) + struct.pack(">i", generation) + text(member_id)


def offset_commit(
    group: str, generation: int, member_id: str, topic: str, partition: int, offset: int
) -> bytes:
    """One partition; retention by the broker."""
    body = text(group) + struct.pack(">i", generation) + text(member_id)
    body += struct.pack(">qi", -1, 1) + text(topic)
    return body + struct.pack(">iiq", 1, partition, offset) + text("")


def offset_committed(answer: Reader) -> int:
    """The error code of the only partition."""
    answer.one("i")
    answer.string()
    _, _, error_code = answer.unpack("iih")
    return error_code


def _compact(value: str | None) -> bytes:
    if value is None:
        return b"\0"
    raw = value.encode()
    return unsigned_varint(len(raw) + 1) + raw


def consumer_heartbeat(group: str, member_id: str, epoch: int, topic: str | None) -> bytes:
    """topic: everything is said, as when joining; None: nothing has changed."""
    body = b"\0"  # tags of the header
    body += _compact(group) + _compact(member_id) + struct.pack(">i", epoch)
    body += _compact(None) + _compact(None)
    if topic is None:
        return body + struct.pack(">i", -1) + b"\0" + _compact(None) + b"\0" + b"\0"
    body += struct.pack(">i", 300_000) + unsigned_varint(2) + _compact(topic)
    return body + _compact(None) + unsigned_varint(1) + b"\0"


@dataclass(frozen=True)
class Beat:
    """What a ConsumerGroupHeartbeat was answered; assigned: by topic id, None when unchanged."""

    error_code: int
    member_id: str
    epoch: int
    assigned: tuple[tuple[bytes, tuple[int, ...]], ...] | None


def consumer_beat(answer: Reader) -> Beat:
    answer.at += 1  # tags of the header
    answer.one("i")
    error_code = answer.one("h")
    _compact_string(answer)
    member_id = _compact_string(answer) or ""
    epoch, _interval_ms, has_assignment = answer.unpack("iib")
    if has_assignment < 0:
        return Beat(error_code, member_id, epoch, None)
    topics = []
    for _ in range(_count(answer)):
        topic_id = answer.data[answer.at : answer.at + 16]
        answer.at += 16
        partitions = answer.unpack("i" * _count(answer))
        answer.at += 1
        topics.append((topic_id, partitions))
    return Beat(error_code, member_id, epoch, tuple(topics))


def consumer_heartbeat_owning(
    group: str, member_id: str, epoch: int, owned: Sequence[tuple[bytes, Sequence[int]]]
) -> bytes:
    """What the member has now is said, and nothing else."""
    body = b"\0" + _compact(group) + _compact(member_id) + struct.pack(">i", epoch)
    body += _compact(None) + _compact(None) + struct.pack(">i", -1) + b"\0" + _compact(None)
    body += unsigned_varint(len(owned) + 1)
    for topic_id, partitions in owned:
        body += topic_id + unsigned_varint(len(partitions) + 1)
        body += b"".join(struct.pack(">i", each) for each in partitions) + b"\0"
    return body + b"\0"


def _varint(answer: Reader) -> int:
    value = shift = 0
    while True:
        byte = answer.data[answer.at]
        answer.at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value


def _count(answer: Reader) -> int:
    return _varint(answer) - 1


def _compact_string(answer: Reader) -> str | None:
    length = _count(answer)
    if length < 0:
        return None
    answer.at += length
    return answer.data[answer.at - length : answer.at].decode()
