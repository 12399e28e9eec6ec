"""The metadata image: everything the cluster has decided, as one immutable value.

The supervisor and every worker hold one; a list of change records turns it into the next one.
Whoever has a reference may keep it: nothing in it ever changes. Pure: no I/O, no clock.

`apply` copies only what a batch touches: the mapping of a kind that occurs in it (a shallow copy,
fast also with 10,000 topics), and of each touched topic its tuple of partitions. Whoever wants to
know what changed compares by identity (`metadata/difference.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from tidelog.errors import InvariantError
from tidelog.metadata.records import (
    NO_LEADER,
    ChangeRecord,
    ClusterRecord,
    ConfigRecord,
    EndMoveRecord,
    Endpoint,
    FeatureRecord,
    MoveRecord,
    NodeRecord,
    PartitionRecord,
    ProducerIdsRecord,
    QuotaEntity,
    QuotaRecord,
    RemoveNodeRecord,
    RemoveTopicRecord,
    TopicRecord,
)

_NO_CONFIGS: Mapping[str, str] = {}


class NodeImage(msgspec.Struct, frozen=True, gc=False):
    """A registered node; see NodeRecord."""

    node_id: int
    epoch: int
    rack: str | None
    endpoints: tuple[Endpoint, ...]
    internode_host: str
    internode_port: int
    fenced: bool
    directory: str
    shutting_down: bool = False
    down: bool = False
    host_id: str = ""

    @property
    def is_live(self) -> bool:
        """Whether the node may be elected and may be in an ISR."""
        return not (self.fenced or self.shutting_down or self.down)

    def endpoint(self, listener: str) -> Endpoint | None:
        """The node's endpoint on that listener."""
        for endpoint in self.endpoints:
            if endpoint.listener == listener:
                return endpoint
        return None


class PartitionImage(msgspec.Struct, frozen=True, gc=False):
    """One partition; see PartitionRecord. ISR within replicas; the leader within it, or -1."""

    index: int
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
    def is_being_reassigned(self) -> bool:
        return bool(self.adding_replicas or self.removing_replicas)


class TopicImage(msgspec.Struct, frozen=True, gc=False):
    """A topic with its partitions, dense from 0."""

    name: str
    topic_id: bytes
    partitions: tuple[PartitionImage, ...]


class MetadataImage(msgspec.Struct, frozen=True):
    """One version of the metadata.

    version: of the store's last transaction that is in it. topics by name, topic_names by 16-byte
    id, configs by (resource type, resource name), client quotas by entity and key; leader_counts:
    partitions that each node leads (nodes that lead none may be absent). moves: those under way, by
    (topic id, partition).
    """

    version: int = 0
    cluster_id: str = ""
    nodes: Mapping[int, NodeImage] = {}
    topics: Mapping[str, TopicImage] = {}
    topic_names: Mapping[bytes, str] = {}
    configs: Mapping[tuple[int, str], Mapping[str, str]] = {}
    quotas: Mapping[QuotaEntity, Mapping[str, float]] = {}
    features: Mapping[str, int] = {}
    next_producer_id: int = 0
    leader_counts: Mapping[int, int] = {}
    moves: Mapping[tuple[bytes, int], MoveRecord] = {}

    @classmethod
    def from_records(cls, records: Iterable[ChangeRecord], version: int) -> MetadataImage:
        """The image of a snapshot: the records of all keys, in any order."""
        ordered = sorted(records, key=_snapshot_order)
        return cls().apply(ordered, version)

    def apply(self, records: Sequence[ChangeRecord], version: int) -> MetadataImage:
        """The next image. Raises InvariantError when the records contradict the image or the
        version goes back.
        """
        if version < self.version:
            raise InvariantError(f"metadata version {version} after {self.version}")
        change = _Change(self)
        for record in records:
            change.add(record)
        return change.finish(version)

    def to_records(self) -> Iterator[ChangeRecord]:
        """The image as a snapshot: one record for each key."""
        if self.cluster_id:
            yield ClusterRecord(self.cluster_id)
        for node in self.nodes.values():
            yield node_record(node)
        for topic in self.topics.values():
            yield TopicRecord(topic.topic_id, topic.name)
            for partition in topic.partitions:
                yield partition_record(topic.topic_id, partition)
        for (resource_type, resource_name), values in self.configs.items():
            for key, value in values.items():
                yield ConfigRecord(resource_type, resource_name, key, value)
        for entity, quotas in self.quotas.items():
            for key, limit in quotas.items():
                yield QuotaRecord(entity, key, limit)
        for name, level in self.features.items():
            yield FeatureRecord(name, level)
        if self.next_producer_id:
            yield ProducerIdsRecord(self.next_producer_id)
        yield from self.moves.values()

    @property
    def controller_id(self) -> int:
        """The node that clients are told to send controller requests to: the lowest live one, or
        -1.

        Any node takes them and passes them on; the answer only has to be stable and alive.
        """
        return min((n.node_id for n in self.nodes.values() if not n.fenced), default=-1)

    def alive_nodes(self) -> list[NodeImage]:
        """The nodes that are not fenced, by id."""
        return sorted(
            (node for node in self.nodes.values() if not node.fenced), key=lambda node: node.node_id
        )

    def live_node_ids(self) -> frozenset[int]:
        """The nodes that may be elected and may be in an ISR."""
        return frozenset(node.node_id for node in self.nodes.values() if node.is_live)

    def topic_by_id(self, topic_id: bytes) -> TopicImage | None:
        name = self.topic_names.get(topic_id)
        return None if name is None else self.topics[name]

    def partition(self, topic: str, index: int) -> PartitionImage | None:
        found = self.topics.get(topic)
        if found is None or not 0 <= index < len(found.partitions):
            return None
        return found.partitions[index]

    def config(self, resource_type: int, resource_name: str) -> Mapping[str, str]:
        """The configs set for that resource itself; empty when there are none."""
        return self.configs.get((resource_type, resource_name), _NO_CONFIGS)

    def partitions_held_by(self, node_id: int) -> Iterator[tuple[TopicImage, PartitionImage]]:
        """Every partition with a replica on the node."""
        for topic in self.topics.values():
            for partition in topic.partitions:
                if node_id in partition.replicas:
                    yield topic, partition

    def partitions_held_by_any(
        self, node_ids: AbstractSet[int]
    ) -> Iterator[tuple[TopicImage, PartitionImage]]:
        """Every partition with a replica on one of the nodes, each once."""
        for topic in self.topics.values():
            for partition in topic.partitions:
                if not node_ids.isdisjoint(partition.replicas):
                    yield topic, partition

    def partitions_led_by(self, node_id: int) -> Iterator[tuple[TopicImage, PartitionImage]]:
        """Every partition that the node leads."""
        for topic in self.topics.values():
            for partition in topic.partitions:
                if partition.leader == node_id:
                    yield topic, partition


def node_record(node: NodeImage) -> NodeRecord:
    """The node as a record."""
    return NodeRecord(
        node.node_id,
        node.epoch,
        node.rack,
        node.endpoints,
        node.internode_host,
        node.internode_port,
        node.fenced,
        node.directory,
        node.shutting_down,
        node.down,
        node.host_id,
    )


def partition_record(topic_id: bytes, partition: PartitionImage) -> PartitionRecord:
    """The partition as a record."""
    return PartitionRecord(
        topic_id,
        partition.index,
        partition.replicas,
        partition.isr,
        partition.leader,
        partition.leader_epoch,
        partition.partition_epoch,
        partition.adding_replicas,
        partition.removing_replicas,
        partition.elr,
        partition.offline,
    )


def _snapshot_order(record: ChangeRecord) -> int:
    """Topics before their partitions; the rest in any order."""
    return 1 if isinstance(record, PartitionRecord) else 0


class _Change:
    """The next image while it is put together: copies of the mappings that the batch touches."""

    __slots__ = ("_base", "_copied", "_partitions", "_scalars")

    def __init__(self, base: MetadataImage) -> None:
        self._base = base
        self._copied: dict[str, dict] = {}  # type: ignore[type-arg]  # one dict for each field, of its own type
        self._scalars: dict[str, object] = {}
        self._partitions: dict[str, dict[int, PartitionImage]] = {}

    def finish(self, version: int) -> MetadataImage:
        for name, partitions in self._partitions.items():
            self._set_partitions(name, partitions)
        return msgspec.structs.replace(self._base, version=version, **self._copied, **self._scalars)

    def add(self, record: ChangeRecord) -> None:
        match record:
            case PartitionRecord():
                self._add_partition(record)
            case TopicRecord():
                self._add_topic(record)
            case ConfigRecord():
                self._add_config(record)
            case QuotaRecord():
                self._add_quota(record)
            case RemoveTopicRecord():
                self._remove_topic(record)
            case NodeRecord():
                self._add_node(record)
            case RemoveNodeRecord():
                if self._copy("nodes").pop(record.node_id, None) is None:
                    raise InvariantError(f"node {record.node_id} is removed but unknown")
            case ProducerIdsRecord():
                self._add_producer_ids(record)
            case FeatureRecord():
                if record.level:
                    self._copy("features")[record.name] = record.level
                else:
                    self._copy("features").pop(record.name, None)
            case MoveRecord():
                self._copy("moves")[record.topic_id, record.partition] = record
            case EndMoveRecord():
                self._copy("moves").pop((record.topic_id, record.partition), None)
            case ClusterRecord():
                if self._base.cluster_id not in ("", record.cluster_id):
                    raise InvariantError("the cluster id changes")
                self._scalars["cluster_id"] = record.cluster_id

    def _copy(self, field: str) -> dict:  # type: ignore[type-arg]
        """The field's mapping, copied once."""
        copied = self._copied.get(field)
        if copied is None:
            copied = self._copied[field] = dict(getattr(self._base, field))
        return copied

    def _now(self, field: str) -> Mapping:  # type: ignore[type-arg]
        """The field's mapping as it stands, for reading."""
        copied = self._copied.get(field)
        return getattr(self._base, field) if copied is None else copied

    def _add_node(self, record: NodeRecord) -> None:
        known = self._now("nodes").get(record.node_id)
        if known is not None and record.epoch < known.epoch:
            raise InvariantError(f"epoch of node {record.node_id} goes back to {record.epoch}")
        self._copy("nodes")[record.node_id] = NodeImage(
            record.node_id,
            record.epoch,
            record.rack,
            record.endpoints,
            record.internode_host,
            record.internode_port,
            record.fenced,
            record.directory,
            record.shutting_down,
            record.down,
            record.host_id,
        )

    def _add_producer_ids(self, record: ProducerIdsRecord) -> None:
        if record.next_producer_id < self._base.next_producer_id:
            raise InvariantError("producer ids go back")
        self._scalars["next_producer_id"] = record.next_producer_id

    def _add_topic(self, record: TopicRecord) -> None:
        if len(record.topic_id) != 16:
            raise InvariantError(f"a topic id has 16 bytes, not {len(record.topic_id)}")
        if record.name in self._now("topics") or record.topic_id in self._now("topic_names"):
            raise InvariantError(f"topic {record.name} exists already")
        self._copy("topics")[record.name] = TopicImage(record.name, record.topic_id, ())
        self._copy("topic_names")[record.topic_id] = record.name

    def _remove_topic(self, record: RemoveTopicRecord) -> None:
        name = self._copy("topic_names").pop(record.topic_id, None)
        if name is None:
            raise InvariantError(f"topic {record.topic_id.hex()} is removed but unknown")
        pending = self._partitions.pop(name, None)
        if pending is not None:
            self._set_partitions(name, pending)
        topic: TopicImage = self._copy("topics").pop(name)
        for partition in topic.partitions:
            self._count(partition.leader, -1)

    def _add_partition(self, record: PartitionRecord) -> None:
        name = self._now("topic_names").get(record.topic_id)
        if name is None:
            raise InvariantError(f"partition of unknown topic {record.topic_id.hex()}")
        if not set(record.isr) <= set(record.replicas):
            raise InvariantError(
                f"{name}-{record.partition}: ISR {record.isr} outside the replicas"
            )
        if not set(record.elr) <= set(record.replicas).difference(record.isr):
            raise InvariantError(
                f"{name}-{record.partition}: ELR {record.elr} beside replicas {record.replicas}"
                f" and ISR {record.isr}"
            )
        if record.leader != NO_LEADER and record.leader not in record.isr:
            raise InvariantError(
                f"{name}-{record.partition}: leader {record.leader} outside the ISR"
            )
        self._partitions.setdefault(name, {})[record.partition] = PartitionImage(
            record.partition,
            record.replicas,
            record.isr,
            record.leader,
            record.leader_epoch,
            record.partition_epoch,
            record.adding_replicas,
            record.removing_replicas,
            record.elr,
            record.offline,
        )

    def _set_partitions(self, name: str, changed: Mapping[int, PartitionImage]) -> None:
        topic: TopicImage = self._now("topics")[name]
        partitions = list(topic.partitions)
        for index in sorted(changed):
            partition = changed[index]
            if index < len(partitions):
                old = partitions[index]
                if partition.leader_epoch < old.leader_epoch:
                    raise InvariantError(f"{name}-{index}: leader epoch goes back")
                if partition.partition_epoch < old.partition_epoch:
                    raise InvariantError(f"{name}-{index}: partition epoch goes back")
                partitions[index] = partition
                if old.leader != partition.leader:
                    self._count(old.leader, -1)
                    self._count(partition.leader, 1)
            elif index == len(partitions):
                partitions.append(partition)
                self._count(partition.leader, 1)
            else:
                raise InvariantError(f"{name}: partition {index} after {len(partitions)} others")
        self._copy("topics")[name] = msgspec.structs.replace(topic, partitions=tuple(partitions))

    def _count(self, leader: int, by: int) -> None:
        if leader != NO_LEADER:
            counts = self._copy("leader_counts")
            counts[leader] = counts.get(leader, 0) + by

    def _add_config(self, record: ConfigRecord) -> None:
        resource = (record.resource_type, record.resource_name)
        values = dict(self._now("configs").get(resource, _NO_CONFIGS))
        if record.value is None:
            values.pop(record.key, None)
        else:
            values[record.key] = record.value
        if values:
            self._copy("configs")[resource] = values
        else:
            self._copy("configs").pop(resource, None)

    def _add_quota(self, record: QuotaRecord) -> None:
        values = dict(self._now("quotas").get(record.entity, {}))
        if record.value is None:
            values.pop(record.key, None)
        else:
            values[record.key] = record.value
        if values:
            self._copy("quotas")[record.entity] = values
        else:
            self._copy("quotas").pop(record.entity, None)
