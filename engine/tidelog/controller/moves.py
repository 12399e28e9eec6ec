"""Moving the logs of nodes that are not to run any more to those that stay. Pure.

Two decisions with work on the disk between them (`storage/relocation.py`), all of it before any
node runs: `plan_moves` writes down what goes where, then the folders are renamed, then
`finish_moves` gives the partitions to their new nodes. Whoever starts after a crash finds the plan
and carries it out again before anything else: until it is finished, a log may be in either folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from tidelog.controller.decision import Decision
from tidelog.controller.requests import Done, PlanMoves
from tidelog.errors import InvariantError
from tidelog.metadata.image import MetadataImage, PartitionImage, partition_record
from tidelog.metadata.records import (
    NO_LEADER,
    ChangeRecord,
    EndMoveRecord,
    MoveRecord,
    PartitionRecord,
)
from tidelog.protocol.error_codes import ErrorCode


def plan_moves(image: MetadataImage, request: PlanMoves) -> Decision:
    """Each log of the sources goes to the target that holds the fewest then, of those that have no
    replica of it.
    """
    if image.moves:
        raise InvariantError("moves are planned while others are not finished")
    held = {node: sum(1 for _ in image.partitions_held_by(node)) for node in request.targets}
    counts = Counter(held)
    records: list[ChangeRecord] = []
    for source in sorted(request.sources):
        for topic, partition in image.partitions_held_by(source):
            possible = [node for node in request.targets if node not in partition.replicas]
            if not possible:
                return Decision([], _nowhere(topic.name, partition, request.targets))
            target = min(possible, key=lambda node: (counts[node], node))
            counts[target] += 1
            records.append(MoveRecord(topic.topic_id, partition.index, source, target))
    return Decision(records, Done())


def finish_moves(image: MetadataImage) -> Decision:
    """The targets take the sources' places, in new epochs."""
    records: list[ChangeRecord] = []
    for move in image.moves.values():
        topic = image.topic_by_id(move.topic_id)
        if topic is not None:
            records.append(_moved(image, move, topic.partitions[move.partition]))
        records.append(EndMoveRecord(move.topic_id, move.partition))
    return Decision(records, Done())


def _moved(image: MetadataImage, move: MoveRecord, partition: PartitionImage) -> PartitionRecord:
    def there(nodes: Sequence[int]) -> tuple[int, ...]:
        return tuple(move.target if node == move.source else node for node in nodes)

    leader = partition.leader
    if leader == move.source:
        target = image.nodes.get(move.target)
        # A node that never served gets the leadership when it does (nodes.unfence_node).
        leader = move.target if target is not None and not target.fenced else NO_LEADER
    return msgspec.structs.replace(
        partition_record(move.topic_id, partition),
        replicas=there(partition.replicas),
        isr=there(partition.isr),
        leader=leader,
        leader_epoch=partition.leader_epoch + 1,
        partition_epoch=partition.partition_epoch + 1,
        adding_replicas=there(partition.adding_replicas),
        removing_replicas=there(partition.removing_replicas),
    )


def _nowhere(topic: str, partition: PartitionImage, targets: Sequence[int]) -> Done:
    return Done(
        ErrorCode.INVALID_REPLICA_ASSIGNMENT,
        f"{topic}-{partition.index} has replicas on {list(partition.replicas)} and no other place"
        f" among {list(targets)}",
    )
