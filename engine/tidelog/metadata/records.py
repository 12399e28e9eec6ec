"""Change records: the only way in which cluster metadata changes.

The controller decides a list of them, the metastore keeps them (one row for each key), the workers
apply them to their image. Belongs to no process; pure values, never does I/O.

A record says what holds from now on for its key (`store_key`), so the latest record of every key
is the whole state, and a snapshot is a list of records like any other. A `Remove...` record ends
its key and everything that `ends` names below it.

Fields may be added with defaults; a field is never renamed or given another meaning, because the
records lie in stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

import msgspec

from tidelog.errors import InvariantError

#: The resource name under which configs of all brokers are kept (Kafka's cluster-wide default).
CLUSTER_DEFAULT: Final = ""

NO_LEADER: Final = -1


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """Where clients reach a node on one listener.

    host: "" means that nothing was advertised; an answer then names the address on which the
    client's connection was accepted. port: the port of that node's listener (or the advertised
    one).
    """

    listener: str
    host: str
    port: int
    security_protocol: str = "PLAINTEXT"


class ClusterRecord(msgspec.Struct, frozen=True, gc=False, tag="cluster"):
    """The cluster's id: 22 characters of URL-safe base64 of a UUID, as Kafka writes it."""

    kind: ClassVar[str] = "cluster"

    cluster_id: str

    @property
    def store_key(self) -> tuple[str, str]:
        return self.kind, ""


class NodeRecord(msgspec.Struct, frozen=True, gc=False, tag="node"):
    """A node and its present life.

    epoch: grows with every registration (Kafka's broker epoch); fenced: not to be led by, not
    shown to clients. directory: the node's log directory, relative to the data directory.
    shutting_down: this life hands over what it leads and takes nothing any more (KIP-841). down:
    the process has ended and is being started again; clients are still told about the node, but
    nothing is given to it before it serves. host_id: of several hosts, the one that runs it.
    """

    kind: ClassVar[str] = "node"

    node_id: int
    epoch: int
    rack: str | None
    endpoints: tuple[Endpoint, ...]
    internode_host: str
    internode_port: int
    fenced: bool
    directory: str = ""
    shutting_down: bool = False
    down: bool = False
    host_id: str = ""

    @property
    def store_key(self) -> tuple[str, str]:
        return self.kind, str(self.node_id)


class RemoveNodeRecord(msgspec.Struct, frozen=True, gc=False, tag="remove_node"):
    """The node is gone for good. Replicas that are placed on it are lost until they are moved."""

    kind: ClassVar[str] = "node"

    node_id: int

    @property
    def store_key(self) -> tuple[str, str]:
        return self.kind, str(self.node_id)


class TopicRecord(msgspec.Struct, frozen=True, gc=False, tag="topic"):
    """A topic: 16 bytes of id that are never used again, and its name."""

    kind: ClassVar[str] = "topic"

    topic_id: bytes
    name: str

    @property
    def store_key(self) -> tuple[str, str]:
        return self.kind, self.topic_id.hex()


class RemoveTopicRecord(msgspec.Struct, frozen=True, gc=False, tag="remove_topic"):
    """The topic and its partitions are gone. Its configs are ended by their own records."""

    kind: ClassVar[str] = "topic"

    topic_id: bytes

    @property
    def store_key(self) -> tuple[str, str]:
        return self.kind, self.topic_id.hex()

    @property
    def ends(self) -> tuple[str, str]:
        """Kind and key prefix of what ends together with the topic."""
        return PartitionRecord.kind, self.topic_id.hex() + "/"


class PartitionRecord(msgspec.Struct, frozen=True, gc=False, tag="partition"):
    """One partition: where its replicas are, who leads it, and the epochs that fence older
    decisions.

    leader: node id or -1; leader_epoch grows with every new leader or new life of the same one;
    partition_epoch with every record of this partition. elr: who may lead besides the ISR
    (KIP-966, `controller/elr.py`). offline: replicas whose log directory is offline, whatever their
    nodes are: none of them may lead (KIP-858).
    """

    kind: ClassVar[str] = "partition"

    topic_id: bytes
    partition: int
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    leader: int
    leader_epoch: int
    partition_epoch: int
    adding_replicas: tuple[int, ...] = ()
    removing_replicas: tuple[int, ...] = ()
    elr: tuple[int, ...] = ()
    offline: tuple[int, ...] = ()

    @property
    def store_key(self) -> tuple[str, str]:
        return self.kind, f"{self.topic_id.hex()}/{self.partition}"


class ConfigRecord(msgspec.Struct, frozen=True, gc=False, tag="config"):
    """One config of a resource; value None ends it. resource_type: Kafka's code
    (`config.definition.ResourceType`).
    """

    kind: ClassVar[str] = "config"

    resource_type: int
    resource_name: str
    key: str
    value: str | None

    @property
    def store_key(self) -> tuple[str, str]:
        # The name comes last: it is the one part that may hold any character.
        return self.kind, f"{self.resource_type}/{self.key}/{self.resource_name}"


#: Whom a client quota is for: (type, name) pairs in the order of their types, of "client-id", "ip"
#: and "user"; a name of None is the default of all that have none of their own (KIP-546).
QuotaEntity = tuple[tuple[str, str | None], ...]


class QuotaRecord(msgspec.Struct, frozen=True, gc=False, tag="quota"):
    """One quota of an entity; value None ends it. key: `producer_byte_rate` and the like."""

    kind: ClassVar[str] = "quota"

    entity: QuotaEntity
    key: str
    value: float | None

    @property
    def store_key(self) -> tuple[str, str]:
        # Names may hold any character, so they stand as JSON.
        return self.kind, f"{self.key}/{msgspec.json.encode(self.entity).decode()}"


class ProducerIdsRecord(msgspec.Struct, frozen=True, gc=False, tag="producer_ids"):
    """The first producer id that no block holds yet."""

    kind: ClassVar[str] = "producer_ids"

    next_producer_id: int

    @property
    def store_key(self) -> tuple[str, str]:
        return self.kind, ""


class FeatureRecord(msgspec.Struct, frozen=True, gc=False, tag="feature"):
    """The finalized level of a feature; 0 ends it."""

    kind: ClassVar[str] = "feature"

    name: str
    level: int

    @property
    def store_key(self) -> tuple[str, str]:
        return self.kind, self.name


class MoveRecord(msgspec.Struct, frozen=True, gc=False, tag="move"):
    """A journal entry: a log is moved from one node's folder to another's while neither runs.

    As long as the entry stands, the log may be in either of them.
    """

    kind: ClassVar[str] = "move"

    topic_id: bytes
    partition: int
    source: int
    target: int

    @property
    def store_key(self) -> tuple[str, str]:
        return self.kind, f"{self.topic_id.hex()}/{self.partition}"


class EndMoveRecord(msgspec.Struct, frozen=True, gc=False, tag="end_move"):
    """The log is where it was to go."""

    kind: ClassVar[str] = "move"

    topic_id: bytes
    partition: int

    @property
    def store_key(self) -> tuple[str, str]:
        return self.kind, f"{self.topic_id.hex()}/{self.partition}"


ChangeRecord = (
    ClusterRecord
    | NodeRecord
    | RemoveNodeRecord
    | TopicRecord
    | RemoveTopicRecord
    | PartitionRecord
    | ConfigRecord
    | QuotaRecord
    | ProducerIdsRecord
    | FeatureRecord
    | MoveRecord
    | EndMoveRecord
)


def is_removal(record: ChangeRecord) -> bool:
    """Whether the record ends its key instead of giving it a value."""
    match record:
        case RemoveNodeRecord() | RemoveTopicRecord() | EndMoveRecord():
            return True
        case ConfigRecord(value=None) | QuotaRecord(value=None) | FeatureRecord(level=0):
            return True
    return False


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(ChangeRecord)
_changes_encoder: Final = msgspec.msgpack.Encoder()
_changes_decoder: Final = msgspec.msgpack.Decoder(list[ChangeRecord])


def encode_record(record: ChangeRecord) -> bytes:
    """The record as JSON, for a store. A removal has no stored form: InvariantError."""
    if is_removal(record):
        raise InvariantError(f"a removal is not stored: {record}")
    return _encoder.encode(record)


def decode_record(data: bytes | str) -> ChangeRecord:
    """The stored record; msgspec.DecodeError or msgspec.ValidationError when the text is none."""
    record: ChangeRecord = _decoder.decode(data)
    return record


def encode_changes(records: Sequence[ChangeRecord]) -> bytes:
    """Records of every kind, removals too, in their order, as MessagePack: what a store keeps that
    logs transactions. TypeError for what is no record.
    """
    return _changes_encoder.encode(list(records))


def decode_changes(data: bytes) -> list[ChangeRecord]:
    """The same records; msgspec.DecodeError or msgspec.ValidationError when the bytes are none."""
    return _changes_decoder.decode(data)
