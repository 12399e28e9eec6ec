"""Moving partitions to other nodes while they are used (KIP-455). Pure.

A partition that moves has the replicas it shall have, in their order, and behind them those it
shall lose. It is complete when all of the former are in sync; `partition_changes` sees to that with
every change. Codes and sentences as a running Kafka 4.3 answers them.

A second reassignment starts from where the first one is. Unlike in Kafka, where a cancelled one
may then leave a replica behind that nobody asked for, cancelling leads back to the replicas that
the partition had before the first.
"""

from __future__ import annotations

from tidelog.config import BrokerLayers
from tidelog.controller.decision import Decision, Refusal, UncleanElection
from tidelog.controller.partition_changes import NodeStates, PartitionChanges, isr_without
from tidelog.controller.requests import (
    AlterReassignments,
    AlterReassignmentsAnswer,
    PartitionReassignment,
    PartitionResult,
)
from tidelog.metadata.image import MetadataImage, PartitionImage, TopicImage
from tidelog.protocol.error_codes import ErrorCode


def alter_reassignments(
    image: MetadataImage,
    layers: BrokerLayers,
    request: AlterReassignments,
    replication_factor_max: int,
) -> Decision:
    """Decides one request; each partition succeeds or fails for itself."""
    changes = PartitionChanges(image, layers, NodeStates.of(image))
    seen: set[tuple[str, int]] = set()
    results = []
    for item in request.partitions:
        place = (item.topic, item.partition)
        try:
            topic, partition = _find(image, item)
            if place in seen:
                raise Refusal(
                    ErrorCode.INVALID_REQUEST, "the partition is named twice in the request"
                )
            seen.add(place)
            if item.replicas is None:
                _cancel(changes, topic, partition)
            else:
                _check(image, item.replicas, partition, replication_factor_max)
                if not request.allow_replication_factor_change:
                    _check_same_factor(partition, item.replicas)
                _move(changes, topic, partition, item.replicas)
        except Refusal as refusal:
            results.append(PartitionResult(*place, refusal.error_code, refusal.message or None))
            continue
        results.append(PartitionResult(*place, ErrorCode.NONE))
    return changes.decision(AlterReassignmentsAnswer(tuple(results)))


def _find(image: MetadataImage, item: PartitionReassignment) -> tuple[TopicImage, PartitionImage]:
    code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    topic = image.topics.get(item.topic)
    if topic is None:
        raise Refusal(code, f"Unable to find a topic named {item.topic}.")
    partition = image.partition(item.topic, item.partition)
    if partition is None:
        raise Refusal(code, f"Unable to find partition {item.topic}:{item.partition}.")
    return topic, partition


def _move(
    changes: PartitionChanges,
    topic: TopicImage,
    partition: PartitionImage,
    target: tuple[int, ...],
) -> None:
    old = set(partition.replicas).difference(partition.adding_replicas)
    removing = set(partition.replicas).difference(target)
    # What an earlier reassignment was adding, and this one is not, goes at once, unless it is all
    # that is in sync.
    given_up = removing - old
    isr = isr_without(partition.isr, given_up, changes.nodes.live)
    removing -= given_up.difference(isr)
    changes.change(
        topic,
        partition,
        isr=isr,
        replicas=(*target, *sorted(removing)),
        # Also what an earlier one was adding: cancelling both leads back to the old replicas.
        adding=tuple(sorted(set(target).difference(old))),
        removing=tuple(sorted(removing)),
    )


def _cancel(changes: PartitionChanges, topic: TopicImage, partition: PartitionImage) -> None:
    """Takes out what was being added, and keeps what was being removed."""
    if not partition.is_being_reassigned:
        raise Refusal(ErrorCode.NO_REASSIGNMENT_IN_PROGRESS, "")
    adding = partition.adding_replicas
    replicas = tuple(node for node in partition.replicas if node not in adding)
    isr = tuple(node for node in partition.isr if node not in adding)
    if not replicas:
        raise Refusal(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "Invalid replica assignment: addingReplicas contains all replicas.",
        )
    if not isr:
        # All that is in sync was being added: whoever is left lacks records.
        if not changes.allows_unclean(topic.name):
            raise Refusal(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"Unable to revert partition assignment for {topic.name}:{partition.index} because "
                "it would require an unclean leader election.",
            )
        isr = (replicas[0],)
        changes.unclean.append(UncleanElection(topic.name, partition.index, replicas[0]))
    changes.change(topic, partition, replicas=replicas, isr=isr, adding=(), removing=())


def _check(
    image: MetadataImage,
    target: tuple[int, ...],
    partition: PartitionImage,
    replication_factor_max: int,
) -> None:
    problem = None
    if not target:
        problem = "The manual partition assignment includes an empty replica list."
    elif len(set(target)) != len(target):
        twice = next(node for node in sorted(target) if target.count(node) > 1)
        problem = f"The manual partition assignment includes the broker {twice} more than once."
    elif missing := sorted(set(target).difference(image.nodes)):
        problem = (
            f"The manual partition assignment includes broker {missing[0]}, but no such broker is "
            "registered."
        )
    elif len(target) > replication_factor_max:
        problem = f"more than {replication_factor_max} replica(s) are not supported"
    if problem is not None:
        raise Refusal(ErrorCode.INVALID_REPLICA_ASSIGNMENT, problem)


def _check_same_factor(partition: PartitionImage, target: tuple[int, ...]) -> None:
    present = len(partition.replicas) - len(partition.adding_replicas)
    if len(target) != present:
        raise Refusal(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"The replication factor is changed from {present} to {len(target)}",
        )
