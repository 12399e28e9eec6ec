"""Nodes: registration, fencing, and what their lives and deaths mean for the partitions they lead.
Pure.

A registration begins a new life of a node: node epoch and the leader epochs of what it leads grow,
so that whatever an earlier life left behind is told from what the present one does. Leadership
stays where it is over a short death (the supervisor restarts a worker at once and the listening
socket keeps its connections); a fenced node loses it.
"""

from __future__ import annotations

import msgspec

from tidelog.controller.decision import Decision
from tidelog.controller.requests import (
    Done,
    FenceNode,
    RegisterNode,
    RegisterNodeAnswer,
    RemoveNode,
    StartCluster,
    UnfenceNode,
)
from tidelog.metadata.image import MetadataImage, PartitionImage, node_record, partition_record
from tidelog.metadata.records import (
    NO_LEADER,
    ChangeRecord,
    ClusterRecord,
    FeatureRecord,
    NodeRecord,
    PartitionRecord,
    RemoveNodeRecord,
)
from tidelog.protocol.error_codes import ErrorCode


def start_cluster(image: MetadataImage, request: StartCluster) -> Decision:
    """Records id and features of a new cluster; the same id again changes nothing."""
    if image.cluster_id not in ("", request.cluster_id):
        return Decision(
            [],
            Done(
                ErrorCode.INCONSISTENT_CLUSTER_ID,
                f"the metadata belongs to cluster {image.cluster_id}, not {request.cluster_id}",
            ),
        )
    if image.cluster_id:
        return Decision([], Done())
    records: list[ChangeRecord] = [ClusterRecord(request.cluster_id)]
    records.extend(FeatureRecord(name, level) for name, level in request.features)
    return Decision(records, Done())


def register_node(image: MetadataImage, request: RegisterNode) -> Decision:
    """A new life of a node. A node that was not known or was fenced stays so until it serves."""
    known = image.nodes.get(request.node_id)
    epoch = known.epoch + 1 if known else 0
    records: list[ChangeRecord] = [
        NodeRecord(
            request.node_id,
            epoch,
            request.rack,
            request.endpoints,
            request.internode_host,
            request.internode_port,
            fenced=known.fenced if known else True,
            directory=request.directory,
        )
    ]
    records.extend(
        _moved(topic.topic_id, partition, partition.leader)
        for topic, partition in image.partitions_led_by(request.node_id)
    )
    return Decision(records, RegisterNodeAnswer(epoch))


def unfence_node(image: MetadataImage, request: UnfenceNode) -> Decision:
    """The node serves; it leads again what has no leader and waits for it."""
    node = image.nodes.get(request.node_id)
    if node is None or node.epoch != request.node_epoch or not node.fenced:
        return Decision([], Done())
    records: list[ChangeRecord] = [msgspec.structs.replace(node_record(node), fenced=False)]
    records.extend(
        _moved(topic.topic_id, partition, node.node_id)
        for topic, partition in image.partitions_held_by(node.node_id)
        if partition.leader == NO_LEADER and node.node_id in partition.isr
    )
    return Decision(records, Done())


def fence_node(image: MetadataImage, request: FenceNode) -> Decision:
    """The node is away: each partition that it led goes to another live member of the ISR, or to
    nobody.
    """
    node = image.nodes.get(request.node_id)
    if node is None or node.epoch != request.node_epoch or node.fenced:
        return Decision([], Done())
    records: list[ChangeRecord] = [msgspec.structs.replace(node_record(node), fenced=True)]
    for topic, partition in image.partitions_led_by(node.node_id):
        heirs = (
            replica
            for replica in partition.replicas
            if replica in partition.isr and replica != node.node_id and _is_alive(image, replica)
        )
        records.append(_moved(topic.topic_id, partition, next(heirs, NO_LEADER)))
    return Decision(records, Done())


def remove_node(image: MetadataImage, request: RemoveNode) -> Decision:
    """Takes an empty node out."""
    if request.node_id not in image.nodes:
        return Decision([], Done())
    held = sum(1 for _ in image.partitions_held_by(request.node_id))
    if held:
        return Decision(
            [],
            Done(
                ErrorCode.INVALID_REQUEST,
                f"node {request.node_id} holds {held} partition(s)",
            ),
        )
    return Decision([RemoveNodeRecord(request.node_id)], Done())


def _is_alive(image: MetadataImage, node_id: int) -> bool:
    node = image.nodes.get(node_id)
    return node is not None and not node.fenced


def _moved(topic_id: bytes, partition: PartitionImage, leader: int) -> PartitionRecord:
    """The partition with that leader (maybe the same) in a new leader epoch."""
    return msgspec.structs.replace(
        partition_record(topic_id, partition),
        leader=leader,
        leader_epoch=partition.leader_epoch + 1,
        partition_epoch=partition.partition_epoch + 1,
    )
