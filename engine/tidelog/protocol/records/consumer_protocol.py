"""What consumers put into JoinGroup's metadata and SyncGroup's assignment.

For protocol type "consumer": int16 version, then the struct in that version. A broker reads it to
describe groups and to migrate between classic and consumer groups. A newer version than ours is
read as our newest one, and what follows the known fields is ignored.

Versions of the subscription: v1 owned_partitions (KIP-429), v2 generation_id (KIP-792), v3 rack_id
(KIP-881).
"""

from tidelog.protocol.schema import INT32, STRING, Data, Struct, array, bytes_, int32, string


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
