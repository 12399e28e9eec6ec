"""Topics: creation, deletion, more partitions. Pure: an image and a request in, records and
results out.

Items of a request are decided one after another; each sees the placement and the names of those
before it. Codes follow Kafka 4.3 (ReplicationControlManager), and so do the sentences that its
tools print.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence

from tidelog.config import BrokerConfig, BrokerLayers, ResourceType
from tidelog.config.changes import ConfigChangeError, validate
from tidelog.controller.decision import Decision, Random, Refusal
from tidelog.controller.placement import Placement
from tidelog.controller.requests import (
    CreatedTopic,
    CreatePartitions,
    CreatePartitionsAnswer,
    CreateTopics,
    CreateTopicsAnswer,
    DeletedTopic,
    DeleteTopics,
    DeleteTopicsAnswer,
    MorePartitions,
    NamedResult,
    NewTopic,
    TopicReference,
)
from tidelog.controller.topic_names import colliding_name, name_problem
from tidelog.limits import PARTITIONS_PER_REQUEST_MAX, REPLICATION_FACTOR_MAX
from tidelog.metadata.image import MetadataImage, TopicImage
from tidelog.metadata.records import (
    ChangeRecord,
    ConfigRecord,
    PartitionRecord,
    RemoveTopicRecord,
    TopicRecord,
)
from tidelog.protocol.error_codes import ErrorCode
from tidelog.types import GROUP_METADATA_TOPIC, TRANSACTION_STATE_TOPIC


def random_topic_id(rng: Random) -> bytes:
    """A version 4 UUID that no tool takes for an option: its base64 doesn't begin with "-"."""
    while True:
        raw = bytearray(rng.getrandbits(128).to_bytes(16, "big"))
        raw[6] = raw[6] & 0x0F | 0x40
        raw[8] = raw[8] & 0x3F | 0x80
        if not base64.urlsafe_b64encode(raw).startswith(b"-"):
            return bytes(raw)


def internal_topic(
    name: str,
    config: BrokerConfig,
    node_count: int,
    replication_factor_max: int = REPLICATION_FACTOR_MAX,
) -> NewTopic | None:
    """How the broker itself creates its own topic of that name; None for any other name.

    The replication factor is at most what the nodes and this version can carry: Kafka's default of
    3 would make the first consumer group on one node fail.
    """
    most = max(1, min(node_count, replication_factor_max))
    if name == GROUP_METADATA_TOPIC:
        return NewTopic(
            name,
            config.offsets_topic_num_partitions,
            min(config.offsets_topic_replication_factor, most),
            configs=(
                ("cleanup.policy", "compact"),
                ("compression.type", "producer"),
                ("segment.bytes", str(config.offsets_topic_segment_bytes)),
            ),
        )
    if name == TRANSACTION_STATE_TOPIC:
        replication_factor = min(config.transaction_state_log_replication_factor, most)
        min_isr = min(config.transaction_state_log_min_isr, replication_factor)
        return NewTopic(
            name,
            config.transaction_state_log_num_partitions,
            replication_factor,
            configs=(
                ("cleanup.policy", "compact"),
                ("compression.type", "uncompressed"),
                ("min.insync.replicas", str(min_isr)),
                ("segment.bytes", str(config.transaction_state_log_segment_bytes)),
                ("unclean.leader.election.enable", "false"),
            ),
        )
    return None


class TopicCreation:
    """Decides one CreateTopics request."""

    def __init__(
        self,
        image: MetadataImage,
        config: BrokerConfig,
        layers: BrokerLayers,
        rng: Random,
        replication_factor_max: int = REPLICATION_FACTOR_MAX,
    ) -> None:
        self._image = image
        self._factor_max = replication_factor_max
        self._config = config
        self._layers = layers
        self._rng = rng
        self._records: list[ChangeRecord] = []
        self._new_names: set[str] = set()
        self._placement = _placement(image)

    def decide(self, request: CreateTopics) -> Decision:
        items = request.topics
        if request.automatic:
            items = tuple(
                internal_topic(
                    item.name, self._config, self._placement.node_count, self._factor_max
                )
                or NewTopic(item.name)
                for item in items
            )
        if _total_partitions(items, self._config.num_partitions) > PARTITIONS_PER_REQUEST_MAX:
            code, message = _too_many_partitions()
            return Decision(
                [], CreateTopicsAnswer(tuple(CreatedTopic(i.name, code, message) for i in items))
            )
        names = Counter(item.name for item in items)
        results = tuple(self._decide_one(item, names, request.validate_only) for item in items)
        records = [] if request.validate_only else self._records
        return Decision(records, CreateTopicsAnswer(results))

    def _decide_one(self, item: NewTopic, names: Counter[str], validate_only: bool) -> CreatedTopic:
        try:
            if names[item.name] > 1:
                raise Refusal(ErrorCode.INVALID_REQUEST, "the topic is named twice in the request")
            self._check_name(item.name)
            configs = self._check_configs(item)
            partitions = self._assign(item)
        except Refusal as refusal:
            return CreatedTopic(item.name, refusal.error_code, refusal.message)
        topic_id = random_topic_id(self._rng)
        self._new_names.add(item.name)
        self._records.append(TopicRecord(topic_id, item.name))
        self._records.extend(
            new_partition(self._image, topic_id, i, r) for i, r in enumerate(partitions)
        )
        self._records.extend(
            ConfigRecord(ResourceType.TOPIC, item.name, key, value)
            for key, value in configs.items()
        )
        return CreatedTopic(
            item.name,
            ErrorCode.NONE,
            topic_id=bytes(16) if validate_only else topic_id,
            partition_count=len(partitions),
            replication_factor=len(partitions[0]),
            configs=tuple(configs.items()),
        )

    def _check_name(self, name: str) -> None:
        problem = name_problem(name)
        if problem is not None:
            raise Refusal(ErrorCode.INVALID_TOPIC_EXCEPTION, problem)
        if name in self._image.topics:
            raise Refusal(ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{name}' already exists.")
        other = colliding_name(name, self._image.topics) or colliding_name(name, self._new_names)
        if other is not None:
            raise Refusal(
                ErrorCode.INVALID_TOPIC_EXCEPTION,
                f"Topic '{name}' collides with existing topic: {other}",
            )

    def _check_configs(self, item: NewTopic) -> dict[str, str]:
        configs: dict[str, str] = {}
        for key, value in item.configs:
            if value is None:
                raise Refusal(ErrorCode.INVALID_CONFIG, f"config {key} has no value")
            configs[key] = value
        try:
            validate(ResourceType.TOPIC, item.name, configs, configs, self._layers)
        except ConfigChangeError as error:
            raise Refusal(error.code, str(error)) from None
        return configs

    def _assign(self, item: NewTopic) -> list[tuple[int, ...]]:
        if item.assignments:
            return self._assign_manually(item)
        replication_factor = item.replication_factor
        if replication_factor == -1:
            replication_factor = self._config.default_replication_factor
        if replication_factor <= 0:
            raise Refusal(
                ErrorCode.INVALID_REPLICATION_FACTOR,
                f"a replication factor of {replication_factor} is not possible: 1 or more, or -1",
            )
        partition_count = item.partition_count
        if partition_count == -1:
            partition_count = self._config.num_partitions
        if partition_count <= 0:
            raise Refusal(
                ErrorCode.INVALID_PARTITIONS,
                f"a topic has at least one partition, not {partition_count}",
            )
        _check_replication_factor(replication_factor, self._placement.node_count, self._factor_max)
        return self._placement.place(partition_count, replication_factor)

    def _assign_manually(self, item: NewTopic) -> list[tuple[int, ...]]:
        if item.partition_count != -1 or item.replication_factor != -1:
            raise Refusal(
                ErrorCode.INVALID_REQUEST,
                "with a manual assignment, partition count and replication factor have to be -1",
            )
        by_index: dict[int, tuple[int, ...]] = {}
        for assignment in item.assignments:
            if assignment.partition in by_index:
                raise Refusal(
                    ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                    f"partition {assignment.partition} is assigned twice",
                )
            width = len(next(iter(by_index.values()), assignment.replicas))
            _check_assignment(self._image, assignment.replicas, width, self._factor_max)
            by_index[assignment.partition] = assignment.replicas
        if sorted(by_index) != list(range(len(by_index))):
            raise Refusal(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                "assigned partitions have to be numbered 0, 1, 2 and so on without a gap",
            )
        partitions = [by_index[index] for index in range(len(by_index))]
        for replicas in partitions:
            self._placement.count(replicas)
        return partitions


def delete_topics(image: MetadataImage, config: BrokerConfig, request: DeleteTopics) -> Decision:
    """Decides one DeleteTopics request: a topic ends with its partitions and configs."""
    if not config.delete_topic_enable:
        code = int(ErrorCode.TOPIC_DELETION_DISABLED)
        refused = tuple(
            DeletedTopic(item.name, item.topic_id, code, "delete.topic.enable is false")
            for item in request.topics
        )
        return Decision([], DeleteTopicsAnswer(refused))
    names = Counter(item.name for item in request.topics if item.name is not None)
    ids = Counter(item.topic_id for item in request.topics if item.topic_id is not None)
    records: list[ChangeRecord] = []
    results = []
    for item in request.topics:
        try:
            topic = _find_for_deletion(image, item, names, ids)
        except Refusal as refusal:
            results.append(
                DeletedTopic(item.name, item.topic_id, refusal.error_code, refusal.message)
            )
            continue
        records.extend(
            ConfigRecord(ResourceType.TOPIC, topic.name, key, None)
            for key in image.config(ResourceType.TOPIC, topic.name)
        )
        records.append(RemoveTopicRecord(topic.topic_id))
        results.append(DeletedTopic(topic.name, topic.topic_id, ErrorCode.NONE))
    return Decision(records, DeleteTopicsAnswer(tuple(results)))


def _find_for_deletion(
    image: MetadataImage,
    item: TopicReference,
    names: Counter[str],
    ids: Counter[bytes],
) -> TopicImage:
    if (item.name is None) == (item.topic_id is None):
        raise Refusal(ErrorCode.INVALID_REQUEST, "a topic is given by its name or by its id")
    if item.name is not None:
        if names[item.name] > 1:
            raise Refusal(ErrorCode.INVALID_REQUEST, "the topic is named twice in the request")
        topic = image.topics.get(item.name)
        if topic is None:
            raise Refusal(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"there is no topic {item.name}")
        if ids[topic.topic_id]:
            raise Refusal(ErrorCode.INVALID_REQUEST, "the topic is given by name and by id")
        return topic
    assert item.topic_id is not None
    if ids[item.topic_id] > 1:
        raise Refusal(ErrorCode.INVALID_REQUEST, "the topic id is given twice in the request")
    topic = image.topic_by_id(item.topic_id)
    if topic is None:
        raise Refusal(ErrorCode.UNKNOWN_TOPIC_ID, "there is no topic with this id")
    return topic


def create_partitions(
    image: MetadataImage,
    request: CreatePartitions,
    replication_factor_max: int = REPLICATION_FACTOR_MAX,
) -> Decision:
    """Decides one CreatePartitions request."""
    names = Counter(item.name for item in request.topics)
    placement = _placement(image)
    records: list[ChangeRecord] = []
    results = []
    for item in request.topics:
        try:
            if names[item.name] > 1:
                raise Refusal(ErrorCode.INVALID_REQUEST, "the topic is named twice in the request")
            added = _more_partitions(image, placement, item, len(records), replication_factor_max)
        except Refusal as refusal:
            results.append(NamedResult(item.name, refusal.error_code, refusal.message))
            continue
        records.extend(added)
        results.append(NamedResult(item.name, ErrorCode.NONE))
    return Decision(
        [] if request.validate_only else records, CreatePartitionsAnswer(tuple(results))
    )


def _more_partitions(
    image: MetadataImage,
    placement: Placement,
    item: MorePartitions,
    placed_before: int,
    replication_factor_max: int,
) -> list[PartitionRecord]:
    topic = image.topics.get(item.name)
    if topic is None:
        raise Refusal(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"there is no topic {item.name}")
    present = len(topic.partitions)
    added = item.partition_count - present
    if added <= 0:
        raise Refusal(
            ErrorCode.INVALID_PARTITIONS,
            f"Topic already has {present} partition(s)."
            if added == 0
            else f"The topic {item.name} currently has {present} partition(s); "
            f"{item.partition_count} would not be an increase.",
        )
    if placed_before + added > PARTITIONS_PER_REQUEST_MAX:
        raise Refusal(*_too_many_partitions())
    width = len(topic.partitions[0].replicas)
    if item.assignments is None:
        _check_replication_factor(width, placement.node_count, replication_factor_max)
        existing = [partition.replicas for partition in topic.partitions]
        replica_lists: Sequence[tuple[int, ...]] = placement.place(added, width, existing)
    else:
        replica_lists = item.assignments
        if len(replica_lists) != added:
            raise Refusal(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"Attempted to add {added} additional partition(s), but only "
                f"{len(replica_lists)} assignment(s) were specified.",
            )
        for replicas in replica_lists:
            _check_assignment(image, replicas, width, replication_factor_max)
        for replicas in replica_lists:
            placement.count(replicas)
    return [
        new_partition(image, topic.topic_id, present + i, replicas)
        for i, replicas in enumerate(replica_lists)
    ]


def new_partition(
    image: MetadataImage, topic_id: bytes, index: int, replicas: tuple[int, ...]
) -> PartitionRecord:
    """A partition at its beginning: all live replicas in sync, led by the first of them, epochs 0.

    Without a live one it waits for the first that is about to come back.
    """
    nodes = image.nodes
    isr = tuple(replica for replica in replicas if nodes[replica].is_live) or next(
        (replica,) for replica in replicas if not nodes[replica].fenced
    )
    return PartitionRecord(
        topic_id,
        index,
        replicas=replicas,
        isr=isr,
        leader=isr[0],
        leader_epoch=0,
        partition_epoch=0,
    )


def _placement(image: MetadataImage) -> Placement:
    """Nodes that are fenced or shut down take followers only, and only where it needs them."""
    able = {
        node.node_id for node in image.nodes.values() if not (node.fenced or node.shutting_down)
    }
    return Placement(
        sorted(able),
        image.leader_counts,
        {node.node_id: node.rack or node.host_id for node in image.nodes.values()},
        sorted(image.nodes.keys() - able),
    )


def _total_partitions(items: Sequence[NewTopic], default_count: int) -> int:
    total = 0
    for item in items:
        if item.assignments:
            total += len(item.assignments)
        else:
            total += default_count if item.partition_count == -1 else max(0, item.partition_count)
    return total


def _too_many_partitions() -> tuple[int, str]:
    return (
        int(ErrorCode.POLICY_VIOLATION),
        f"one request makes at most {PARTITIONS_PER_REQUEST_MAX} partitions",
    )


def _check_replication_factor(
    replication_factor: int, node_count: int, replication_factor_max: int
) -> None:
    if replication_factor > node_count:
        raise Refusal(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"Unable to replicate the partition {replication_factor} time(s): The target "
            f"replication factor of {replication_factor} cannot be reached because only "
            f"{node_count} broker(s) are registered or some brokers have all their log "
            "directories cordoned.",
        )
    if replication_factor > replication_factor_max:
        raise Refusal(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"replication factor {replication_factor} is not supported, at most "
            f"{replication_factor_max}",
        )


def _check_assignment(
    image: MetadataImage, replicas: tuple[int, ...], width: int, replication_factor_max: int
) -> None:
    """Refuses a manual replica list that cannot be; width: replicas of the topic's other
    partitions.
    """
    problem = None
    if not replicas:
        problem = "a partition needs at least one replica"
    elif len(set(replicas)) != len(replicas):
        problem = f"replicas {list(replicas)} name a node twice"
    elif len(replicas) != width:
        problem = f"partitions of one topic have equally many replicas: {len(replicas)}, {width}"
    elif len(replicas) > replication_factor_max:
        problem = f"more than {replication_factor_max} replica(s) are not supported"
    else:
        missing = next((node_id for node_id in replicas if node_id not in image.nodes), None)
        if missing is not None:
            problem = (
                f"The manual partition assignment includes broker {missing}, but no such broker is "
                "registered."
            )
        else:
            nodes = [image.nodes[node_id] for node_id in replicas]
            if all(node.fenced or node.shutting_down for node in nodes):
                problem = f"none of the nodes {list(replicas)} is available"
    if problem is not None:
        raise Refusal(ErrorCode.INVALID_REPLICA_ASSIGNMENT, problem)
