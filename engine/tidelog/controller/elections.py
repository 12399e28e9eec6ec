"""Elections that no node's life or death asks for: by an administrator, and by timers. Pure.

Codes and sentences as a running Kafka 4.3 answers them (KIP-183, KIP-460). As there, leaders go
back to their first replicas one and all: the share of a node that may be led by others
(leader.imbalance.per.broker.percentage) was ended with Kafka 4.0.
"""

from __future__ import annotations

from tidelog.config import BrokerLayers
from tidelog.controller.decision import Decision
from tidelog.controller.partition_changes import Election, NodeStates, PartitionChanges
from tidelog.controller.requests import (
    Done,
    ElectionType,
    ElectLeaders,
    ElectLeadersAnswer,
    PartitionResult,
    RebalanceLeadersAnswer,
)
from tidelog.limits import LEADERS_REBALANCED_MAX
from tidelog.metadata.image import MetadataImage, PartitionImage, TopicImage
from tidelog.metadata.records import NO_LEADER
from tidelog.protocol.error_codes import ErrorCode


def elect_leaders(image: MetadataImage, layers: BrokerLayers, request: ElectLeaders) -> Decision:
    """Decides one ElectLeaders request; each partition succeeds or fails for itself."""
    changes = PartitionChanges(image, layers, NodeStates.of(image))
    unclean = request.election_type == ElectionType.UNCLEAN
    results: list[PartitionResult] = []
    if request.partitions is None:
        for topic in image.topics.values():
            for partition in topic.partitions:
                if _needs_election(partition, unclean=unclean):
                    results.append(_elect(changes, topic, partition, unclean=unclean))
        return changes.decision(ElectLeadersAnswer(tuple(results)))
    decided: dict[tuple[str, int], PartitionResult] = {}
    for name, index in request.partitions:
        result = decided.get((name, index))
        if result is None:
            result = _elect_named(image, changes, name, index, unclean=unclean)
            decided[name, index] = result
        elif result.error_code == ErrorCode.NONE:
            # Named again: it has its leader by now.
            result = PartitionResult(name, index, *_NOT_NEEDED)
        results.append(result)
    return changes.decision(ElectLeadersAnswer(tuple(results)))


def rebalance_leaders(image: MetadataImage, layers: BrokerLayers, *, enabled: bool) -> Decision:
    """Gives leaderships back to the first replicas that are in sync, so many in one decision."""
    changes = PartitionChanges(image, layers, NodeStates.of(image))
    if not enabled:
        return changes.decision(RebalanceLeadersAnswer(0))
    live = changes.nodes.live
    for topic in image.topics.values():
        for partition in topic.partitions:
            first = partition.replicas[0]
            if partition.leader == first or first not in live or first not in partition.isr:
                continue
            if len(changes.records) == LEADERS_REBALANCED_MAX:
                return changes.decision(RebalanceLeadersAnswer(LEADERS_REBALANCED_MAX, True))
            changes.change(topic, partition, election=Election.PREFERRED)
    return changes.decision(RebalanceLeadersAnswer(len(changes.records)))


def elect_unclean(image: MetadataImage, layers: BrokerLayers) -> Decision:
    """Gives a leader to what has none, where the topic allows one that may lack records."""
    changes = PartitionChanges(image, layers, NodeStates.of(image))
    for topic in image.topics.values():
        for partition in topic.partitions:
            if partition.leader == NO_LEADER:
                changes.change(topic, partition)
    return changes.decision(Done())


_NOT_NEEDED = (
    ErrorCode.ELECTION_NOT_NEEDED,
    "Leader election not needed for topic partition.",
)


def _needs_election(partition: PartitionImage, *, unclean: bool) -> bool:
    if unclean:
        return partition.leader == NO_LEADER
    return partition.leader != partition.replicas[0]


def _elect_named(
    image: MetadataImage, changes: PartitionChanges, name: str, index: int, *, unclean: bool
) -> PartitionResult:
    code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    topic = image.topics.get(name)
    if topic is None:
        return PartitionResult(name, index, code, f"No such topic as {name}")
    partition = image.partition(name, index)
    if partition is None:
        return PartitionResult(name, index, code, f"No such partition as {name}-{index}")
    if not _needs_election(partition, unclean=unclean):
        return PartitionResult(name, index, *_NOT_NEEDED)
    return _elect(changes, topic, partition, unclean=unclean)


def _elect(
    changes: PartitionChanges, topic: TopicImage, partition: PartitionImage, *, unclean: bool
) -> PartitionResult:
    election = Election.UNCLEAN if unclean else Election.PREFERRED
    if changes.change(topic, partition, election=election) is not None:
        return PartitionResult(topic.name, partition.index, ErrorCode.NONE)
    if unclean:
        code = ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE
        message = "Eligible topic partition leaders are not available."
    else:
        code = ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE
        message = "The preferred leader was not available."
    return PartitionResult(topic.name, partition.index, code, message)
