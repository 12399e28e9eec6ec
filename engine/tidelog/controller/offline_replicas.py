"""Replicas whose log directory is offline while their node runs (KIP-858). Pure.

Such a replica leads nothing and is in no ISR that has somebody else. It stays a replica: whether
its disk comes back, or the partition is moved away, is for people to decide. The node says again
with each life which of its replicas are offline; one that is back may have lost records, so that
others come first.
"""

from __future__ import annotations

from tidelog.config import BrokerLayers
from tidelog.controller.decision import Decision
from tidelog.controller.partition_changes import NodeStates, PartitionChanges, isr_without
from tidelog.controller.requests import Done, ReportOffline
from tidelog.metadata.image import MetadataImage
from tidelog.protocol.error_codes import ErrorCode


def report_offline(image: MetadataImage, layers: BrokerLayers, request: ReportOffline) -> Decision:
    """What follows from what a node says of its replicas."""
    node_id = request.node_id
    node = image.nodes.get(node_id)
    if node is None or node.epoch != request.node_epoch:
        return Decision([], Done(ErrorCode.STALE_BROKER_EPOCH, f"node {node_id} has another life"))
    changes = PartitionChanges(image, layers, NodeStates.of(image))
    named = set(request.partitions)
    for topic, partition in image.partitions_held_by(node_id):
        others = tuple(other for other in partition.offline if other != node_id)
        is_offline = (topic.topic_id, partition.index) in named
        if is_offline == (node_id in partition.offline):
            continue
        if is_offline:
            offline = (*others, node_id)
            up = changes.nodes.without(offline).up
            isr = isr_without(partition.isr, {node_id}, up)
            changes.change(topic, partition, isr=isr, offline=offline)
        else:
            changes.change(topic, partition, may_lack=node_id, offline=others)
    return changes.decision(Done())
