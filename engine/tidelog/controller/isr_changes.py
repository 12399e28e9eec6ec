"""ISR changes that leaders ask for: Kafka's AlterPartition (KIP-497), with node epochs (KIP-903).
Pure.

Nothing counts before it is decided here: a leader that was deposed, an ISR that was changed in the
meantime, a replica of an earlier life or one that is going are refused. A change that completes a
reassignment may take the leadership away from whoever asked.
"""

from __future__ import annotations

from tidelog.config import BrokerLayers
from tidelog.controller.decision import Decision
from tidelog.controller.partition_changes import NodeStates, PartitionChanges, isr_without
from tidelog.controller.requests import AlterIsr, AlterIsrAnswer
from tidelog.metadata.image import MetadataImage, NodeImage, PartitionImage, TopicImage
from tidelog.metadata.isr import AlteredIsr, IsrChange
from tidelog.protocol.error_codes import ErrorCode


def alter_isr(image: MetadataImage, layers: BrokerLayers, request: AlterIsr) -> Decision:
    """Decides one request; each partition succeeds or fails for itself."""
    asker = image.nodes.get(request.node_id)
    if asker is None or asker.epoch != request.node_epoch:
        return Decision([], AlterIsrAnswer(ErrorCode.STALE_BROKER_EPOCH))
    changes = PartitionChanges(image, layers, NodeStates.of(image))
    seen: set[tuple[bytes, int]] = set()
    results = []
    for item in request.partitions:
        place = (item.topic_id, item.partition)
        if place in seen:
            results.append(AlteredIsr(*place, ErrorCode.INVALID_REQUEST))
            continue
        seen.add(place)
        results.append(_alter(image, changes, asker, item))
    return changes.decision(AlterIsrAnswer(ErrorCode.NONE, tuple(results)))


def _alter(
    image: MetadataImage, changes: PartitionChanges, asker: NodeImage, item: IsrChange
) -> AlteredIsr:
    def refused(code: ErrorCode) -> AlteredIsr:
        return AlteredIsr(item.topic_id, item.partition, code)

    topic = image.topic_by_id(item.topic_id)
    if topic is None:
        return refused(ErrorCode.UNKNOWN_TOPIC_ID)
    partition = image.partition(topic.name, item.partition)
    if partition is None:
        return refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    code = _stale(partition, asker.node_id, item)
    new_isr = tuple(node_id for node_id, _ in item.new_isr)
    if code is ErrorCode.INVALID_UPDATE_VERSION and set(new_isr) == set(partition.isr):
        # Its answer was lost, and it asks again for what has been decided.
        return _committed(topic, partition)
    if code is ErrorCode.NONE:
        code = _impossible(image, partition, asker, item)
    if code is not ErrorCode.NONE:
        return refused(code)
    if set(new_isr) == set(partition.isr):
        return _committed(topic, partition)
    if asker.shutting_down:
        # Whoever comes into sync with a leader that waits to stop takes over at once.
        new_isr = isr_without(new_isr, {asker.node_id}, changes.nodes.live)
    record = changes.change(topic, partition, isr=new_isr)
    assert record is not None
    if record.leader != asker.node_id:
        return refused(ErrorCode.NEW_LEADER_ELECTED)
    return AlteredIsr(
        topic.topic_id,
        partition.index,
        ErrorCode.NONE,
        record.leader,
        record.leader_epoch,
        record.isr,
        record.partition_epoch,
    )


def _stale(partition: PartitionImage, asker: int, item: IsrChange) -> ErrorCode:
    """Why the request comes from another state than the present one."""
    if item.leader_epoch > partition.leader_epoch or item.partition_epoch > (
        partition.partition_epoch
    ):
        # It has seen what this controller has not: a newer one must have decided it.
        return ErrorCode.NOT_CONTROLLER
    if item.leader_epoch < partition.leader_epoch:
        return ErrorCode.FENCED_LEADER_EPOCH
    if partition.leader != asker:
        return ErrorCode.INVALID_REQUEST
    if item.partition_epoch < partition.partition_epoch:
        return ErrorCode.INVALID_UPDATE_VERSION
    return ErrorCode.NONE


def _impossible(
    image: MetadataImage, partition: PartitionImage, asker: NodeImage, item: IsrChange
) -> ErrorCode:
    """Why the partition cannot have this ISR."""
    members = [node_id for node_id, _ in item.new_isr]
    if (
        len(set(members)) != len(members)
        or not set(members) <= set(partition.replicas)
        or asker.node_id not in members
    ):
        return ErrorCode.INVALID_REQUEST
    for node_id, node_epoch in item.new_isr:
        node = image.nodes.get(node_id)
        if node is None or node.epoch != node_epoch:
            return ErrorCode.INELIGIBLE_REPLICA
        if node_id in partition.offline:
            return ErrorCode.INELIGIBLE_REPLICA
        if node.fenced or node.down or (node.shutting_down and node is not asker):
            return ErrorCode.INELIGIBLE_REPLICA
    return ErrorCode.NONE


def _committed(topic: TopicImage, partition: PartitionImage) -> AlteredIsr:
    return AlteredIsr(
        topic.topic_id,
        partition.index,
        ErrorCode.NONE,
        partition.leader,
        partition.leader_epoch,
        partition.isr,
        partition.partition_epoch,
    )
