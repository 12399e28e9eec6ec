"""Nodes: registration, death, fencing, shutdown, and what these mean for the partitions they hold.
Pure.

A registration begins a new life of a node: node epoch and the leader epochs of what it leads grow,
so that whatever an earlier life left behind is told from what the present one does.

Three ways of being away. A node that is down (its process ended, and is being started again)
hands over what another live replica in sync can take; what nobody can take waits for it, because
its listening socket keeps the connections. A fenced node is away for longer: nothing waits for it.
A node that shuts down hands over what it can while it still serves. In all of them it leaves an ISR
only if somebody else stays in it.
"""

from __future__ import annotations

import msgspec

from tidelog.config import BrokerLayers
from tidelog.controller.decision import Decision
from tidelog.controller.partition_changes import NodeStates, PartitionChanges, isr_without
from tidelog.controller.requests import (
    Done,
    FenceNode,
    NodeDown,
    RegisterNode,
    RegisterNodeAnswer,
    RemoveNode,
    ShutDownNode,
    ShutDownNodeAnswer,
    StartCluster,
    UnfenceNode,
    UnregisterNode,
)
from tidelog.metadata.image import MetadataImage, NodeImage, node_record
from tidelog.metadata.records import (
    NO_LEADER,
    ChangeRecord,
    ClusterRecord,
    FeatureRecord,
    NodeRecord,
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


def register_node(image: MetadataImage, layers: BrokerLayers, request: RegisterNode) -> Decision:
    """A new life of a node. It is given nothing new before it serves (`unfence_node`), but goes on
    leading what still waits for it.
    """
    node_id = request.node_id
    known = image.nodes.get(node_id)
    elsewhere = known is not None and known.host_id not in ("", request.host_id)
    if known is not None and elsewhere and not known.fenced:
        return Decision(
            [],
            Done(
                ErrorCode.DUPLICATE_BROKER_REGISTRATION,
                f"node {node_id} runs on host {known.host_id}",
            ),
        )
    # Another host has other files.
    unclean = request.unclean or elsewhere
    states = NodeStates.of(image)
    if known is None or known.fenced:
        pass
    elif unclean:
        states = states.ended(frozenset((node_id,)), returning=True)
    else:
        # Whatever other nodes seem to be live: after a start of the whole cluster they may not have
        # registered yet. Leaderships that wait for this node are not handed round among them.
        states = states.serving(node_id)
    changes = PartitionChanges(image, layers, states)
    changes.records.append(
        NodeRecord(
            node_id,
            # Epochs are below the version they are given in, so those of a node that was removed,
            # and comes back now, have all been lower.
            known.epoch + 1 if known else image.version,
            request.rack,
            request.endpoints,
            request.internode_host,
            request.internode_port,
            fenced=known.fenced if known else True,
            directory=request.directory,
            down=known is not None and not known.fenced,
            host_id=request.host_id,
        )
    )
    for topic, partition in image.partitions_held_by(node_id):
        if unclean and (node_id in partition.isr or node_id in partition.elr):
            changes.change(topic, partition, may_lack=node_id, new_life_of=node_id)
        elif partition.leader == node_id:
            changes.change(topic, partition, new_life_of=node_id)
    record = changes.records[0]
    assert isinstance(record, NodeRecord)
    return changes.decision(RegisterNodeAnswer(record.epoch))


def unfence_node(image: MetadataImage, layers: BrokerLayers, request: UnfenceNode) -> Decision:
    """The node serves; it leads what has no leader and had to wait for it."""
    node = _present(image, request.node_id, request.node_epoch)
    if node is None or not (node.fenced or node.down):
        return Decision([], Done())
    states = NodeStates.of(image).serving(node.node_id)
    if node.shutting_down:
        states = states.leaving(node.node_id)
    changes = PartitionChanges(image, layers, states)
    changes.records.append(msgspec.structs.replace(node_record(node), fenced=False, down=False))
    for topic, partition in image.partitions_held_by(node.node_id):
        # (A reassignment is complete only when one of its replicas can lead.)
        if partition.leader == NO_LEADER or partition.is_being_reassigned:
            changes.change(topic, partition)
    return changes.decision(Done())


def fence_node(image: MetadataImage, layers: BrokerLayers, request: FenceNode) -> Decision:
    """The node is away: each partition that it led goes to another live member of the ISR, or to
    nobody.
    """
    node = _present(image, request.node_id, request.node_epoch)
    if node is None or node.fenced:
        return Decision([], Done())
    return _nodes_end(image, layers, [node], fence=True)


def nodes_down(image: MetadataImage, layers: BrokerLayers, request: NodeDown) -> Decision:
    """Processes have ended, all that ended together in one decision."""
    ended = [
        node
        for node_id, node_epoch in dict.fromkeys(request.nodes)
        if (node := _present(image, node_id, node_epoch)) is not None and not node.fenced
    ]
    return _nodes_end(image, layers, ended, fence=request.fence)


def _nodes_end(
    image: MetadataImage, layers: BrokerLayers, ended: list[NodeImage], *, fence: bool
) -> Decision:
    gone = frozenset(node.node_id for node in ended)
    states = NodeStates.of(image).ended(gone, returning=not fence)
    changes = PartitionChanges(image, layers, states)
    for node in ended:
        record = msgspec.structs.replace(node_record(node), fenced=fence, down=not fence)
        if record != node_record(node):
            changes.records.append(record)
    for topic, partition in image.partitions_held_by_any(gone):
        if partition.leader in gone or not gone.isdisjoint(partition.isr):
            isr = isr_without(partition.isr, gone, states.up)
            changes.change(topic, partition, isr=isr)
    return changes.decision(Done())


def shut_down_node(image: MetadataImage, layers: BrokerLayers, request: ShutDownNode) -> Decision:
    """Hands over what the node leads, as far as others are in sync now (KIP-841)."""
    node = _present(image, request.node_id, request.node_epoch)
    if node is None:
        return Decision([], ShutDownNodeAnswer(ErrorCode.STALE_BROKER_EPOCH))
    states = NodeStates.of(image).leaving(node.node_id)
    changes = PartitionChanges(image, layers, states)
    if not node.shutting_down:
        changes.records.append(msgspec.structs.replace(node_record(node), shutting_down=True))
    remaining = 0
    heirs = states.live | states.returning
    for topic, partition in image.partitions_held_by(node.node_id):
        leader = partition.leader
        if node.node_id in partition.isr:
            isr = isr_without(partition.isr, {node.node_id}, states.live)
            record = changes.change(topic, partition, isr=isr)
            leader = record.leader if record is not None else leader
        remaining += leader == node.node_id and not heirs.isdisjoint(partition.replicas)
    return changes.decision(ShutDownNodeAnswer(ErrorCode.NONE, remaining))


def unregister_node(
    image: MetadataImage, layers: BrokerLayers, request: UnregisterNode
) -> Decision:
    """Takes a node out that does not run; unlike in Kafka one that does is refused, because its
    supervisor would go on running it.
    """
    node = image.nodes.get(request.node_id)
    if node is None:
        return Decision(
            [],
            Done(
                ErrorCode.BROKER_ID_NOT_REGISTERED,
                f"Broker ID {request.node_id} is not currently registered",
            ),
        )
    if not node.fenced:
        return Decision(
            [],
            Done(
                ErrorCode.INVALID_REQUEST,
                f"node {request.node_id} is running; a node is taken out when it is fenced",
            ),
        )
    decision = _nodes_end(image, layers, [node], fence=True)
    return msgspec.structs.replace(
        decision, records=[*decision.records, RemoveNodeRecord(node.node_id)]
    )


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


def _present(image: MetadataImage, node_id: int, node_epoch: int) -> NodeImage | None:
    """The node, if that is its present life."""
    node = image.nodes.get(node_id)
    return node if node is not None and node.epoch == node_epoch else None
