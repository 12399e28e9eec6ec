"""What consumers put into JoinGroup's metadata and SyncGroup's assignment.

For protocol type "consumer": int16 version, then the struct in that version. A broker reads it to
describe groups and to migrate between classic and consumer groups.

Versions of the subscription: v1 owned_partitions (KIP-429), v2 generation_id (KIP-792), v3 rack_id
(KIP-881).
"""

from typing import Final

from tidelog._native import codec_decoder
from tidelog.errors import MalformedMessageError
from tidelog.protocol.records import Buffer, D, encode_versioned, read_number
from tidelog.protocol.schema import INT32, STRING, Data, Struct, array, bytes_, int32, plan, string

#: Bytes of the version in front of each struct.
_VERSION_BYTES: Final = 2


class TopicPartition(Struct):
    topic: str = string()
    partitions: list[int] = array(INT32)


class ConsumerProtocolSubscription(Data, versions="0-3"):
    topics: list[str] = array(STRING)
    user_data: bytes | None = bytes_(nullable="0+", default=None)
    owned_partitions: list[TopicPartition] = array(TopicPartition, "1+", ignorable=True)
    generation_id: int = int32("2+", default=-1, ignorable=True)
    rack_id: str | None = string("3+", nullable="3+", default=None, ignorable=True)


class ConsumerProtocolAssignment(Data, versions="0-3"):
    assigned_partitions: list[TopicPartition] = array(TopicPartition)
    user_data: bytes | None = bytes_(nullable="0+", default=None)


#: The newest version of both structs that is known here.
LATEST_VERSION: Final = 3


def decode_subscription(data: Buffer) -> ConsumerProtocolSubscription:
    """A consumer's metadata. Raises MalformedMessageError when it is none."""
    return _decode(ConsumerProtocolSubscription, data)


def decode_assignment(data: Buffer) -> ConsumerProtocolAssignment:
    """What a leader gave a consumer. Raises MalformedMessageError when it is none."""
    return _decode(ConsumerProtocolAssignment, data)


def encode_assignment(assignment: ConsumerProtocolAssignment, version: int) -> bytes:
    """An assignment in the version that the member's subscription has."""
    return encode_versioned(assignment, min(max(version, 0), LATEST_VERSION))


def subscription_version(data: Buffer) -> int:
    """The version in front. Raises MalformedMessageError."""
    return read_number(data)


def _decode(cls: type[D], data: Buffer) -> D:
    """A version that is newer than ours is read as our newest one."""
    version = read_number(data)
    if version < 0:
        raise MalformedMessageError(f"version {version} of {cls.__name__}")
    message, _ = codec_decoder.decode(plan(cls, min(version, LATEST_VERSION)), data, _VERSION_BYTES)
    assert isinstance(message, cls)
    return message


def subscribed_topics(data: Buffer) -> list[str]:
    """The topics in a consumer's metadata. Raises MalformedMessageError when it is none.

    They come first in every version, so that all are read as version 0, as in Kafka: whatever
    follows is the clients' own matter.
    """
    subscription, _ = codec_decoder.decode(
        plan(ConsumerProtocolSubscription, 0), data, _VERSION_BYTES
    )
    assert isinstance(subscription, ConsumerProtocolSubscription)
    return subscription.topics
