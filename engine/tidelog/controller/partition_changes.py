"""How one partition goes from one state to the next: the ISR, a reassignment that may be complete
with it, the leader that follows from both, and the epochs. Pure.

Every change of a partition that exists is made here, so that the rules hold wherever it comes from:
a partition with a live member of the ISR is led by one, nobody outside the ISR leads unless the
topic allows it and nobody of the ISR is to come back, and each record grows the partition's epoch.
The rules are those of Kafka's KRaft controller with eligible leader replicas (KIP-966, `elr`), but
for one: a leader that has no successor keeps its place while its process is started again.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import NamedTuple

import msgspec

from tidelog.config import BrokerLayers, ResourceType
from tidelog.config.topic_configs import TOPIC_CONFIGS, effective_value
from tidelog.controller import elr as eligible
from tidelog.controller.decision import Decision, UncleanElection
from tidelog.controller.elr import InSync
from tidelog.controller.requests import ControllerAnswer
from tidelog.metadata.image import MetadataImage, PartitionImage, TopicImage, partition_record
from tidelog.metadata.records import NO_LEADER, ChangeRecord, PartitionRecord

_UNCLEAN = TOPIC_CONFIGS["unclean.leader.election.enable"]
MIN_ISR = "min.insync.replicas"
_MIN_ISR = TOPIC_CONFIGS[MIN_ISR]


class Election(Enum):
    """Who may be elected, and when."""

    #: The leader stays if it can; otherwise the first live member of the ISR in replica order.
    NEEDED = 0
    #: The first replica, if it is a live member of the ISR; otherwise as above.
    PREFERRED = 1
    #: As NEEDED, and without a leader any live replica: somebody has asked for just that.
    UNCLEAN = 2


class NodeStates(NamedTuple):
    """What elections need to know of the nodes.

    live: may be elected. up: their processes run, so that they can go on leading (the live ones and
    those that shut down). returning: ended, and being started again at once.
    """

    live: frozenset[int]
    up: frozenset[int]
    returning: frozenset[int]

    @classmethod
    def of(cls, image: MetadataImage) -> NodeStates:
        nodes = [node for node in image.nodes.values() if not node.fenced]
        return cls(
            image.live_node_ids(),
            frozenset(node.node_id for node in nodes if not node.down),
            frozenset(node.node_id for node in nodes if node.down),
        )

    def serving(self, node_id: int) -> NodeStates:
        """With this node among the live ones."""
        one = frozenset((node_id,))
        return NodeStates(self.live | one, self.up | one, self.returning - one)

    def ended(self, node_ids: frozenset[int], *, returning: bool) -> NodeStates:
        """Without these processes."""
        away = self.returning - node_ids
        return NodeStates(
            self.live - node_ids, self.up - node_ids, away | node_ids if returning else away
        )

    def without(self, node_ids: Collection[int]) -> NodeStates:
        """As these are for a partition that they cannot serve: its logs there are offline."""
        return NodeStates(*(nodes.difference(node_ids) for nodes in self)) if node_ids else self

    def leaving(self, node_id: int) -> NodeStates:
        """With this node up, but given nothing any more."""
        return self._replace(live=self.live - {node_id})


def isr_without(
    isr: tuple[int, ...], gone: AbstractSet[int], others: AbstractSet[int]
) -> tuple[int, ...]:
    """The ISR after nodes have left it; unchanged if none of `others` remains in it then, because
    an empty ISR would forget who has the records.
    """
    rest = tuple(node for node in isr if node not in gone)
    return isr if others.isdisjoint(rest) else rest


class PartitionChanges:
    """The records of one decision about partitions.

    Each partition is changed at most once, or from the state that `change` returned: the image is
    that of before the decision.
    """

    def __init__(self, image: MetadataImage, layers: BrokerLayers, nodes: NodeStates) -> None:
        self.records: list[ChangeRecord] = []
        self.unclean: list[UncleanElection] = []
        self.nodes = nodes
        self._image = image
        self._layers = layers
        self._unclean_below: bool | None = None
        self._min_isr_below: int | None = None

    def decision(self, answer: ControllerAnswer) -> Decision:
        """The decision that consists of these changes."""
        return Decision(self.records, answer, tuple(self.unclean))

    def allows_unclean(self, topic: str) -> bool:
        """unclean.leader.election.enable as it holds for the topic."""
        own = self._image.config(ResourceType.TOPIC, topic).get(_UNCLEAN.name)
        if own is not None:
            return bool(effective_value(_UNCLEAN, own, self._layers))
        if self._unclean_below is None:
            self._unclean_below = bool(effective_value(_UNCLEAN, None, self._layers))
        return self._unclean_below

    def min_isr(self, topic: str, replicas: tuple[int, ...]) -> int:
        """min.insync.replicas as it holds for a partition with these replicas."""
        own = self._image.config(ResourceType.TOPIC, topic).get(_MIN_ISR.name)
        if own is None and self._min_isr_below is None:
            self._min_isr_below = _number(effective_value(_MIN_ISR, None, self._layers))
        wanted = (
            self._min_isr_below
            if own is None
            else _number(effective_value(_MIN_ISR, own, self._layers))
        )
        assert wanted is not None
        return min(wanted, max(len(replicas), 1))

    def change(
        self,
        topic: TopicImage,
        partition: PartitionImage,
        *,
        isr: tuple[int, ...] | None = None,
        replicas: tuple[int, ...] | None = None,
        adding: tuple[int, ...] | None = None,
        removing: tuple[int, ...] | None = None,
        election: Election = Election.NEEDED,
        new_life_of: int = NO_LEADER,
        may_lack: int | None = None,
        offline: tuple[int, ...] | None = None,
    ) -> PartitionRecord | None:
        """Adds the partition's next state, if it differs; None stands for what is there already.

        new_life_of: if that node leads afterwards, a leader epoch begins in any case. may_lack:
        that node may have lost records.
        """
        offline = partition.offline if offline is None else offline
        nodes = self.nodes.without(offline)
        in_sync = InSync(partition.isr, partition.elr)
        if may_lack is not None:
            in_sync = eligible.without(in_sync, may_lack)
        min_isr = self.min_isr(topic.name, partition.replicas if replicas is None else replicas)
        if isr is not None and isr != in_sync.isr:
            in_sync = eligible.with_isr(in_sync, isr, min_isr)
        isr, elr = in_sync
        replicas = partition.replicas if replicas is None else replicas
        adding = partition.adding_replicas if adding is None else adding
        removing = partition.removing_replicas if removing is None else removing
        moves = bool(adding or removing)
        completes = moves and _is_complete(nodes, replicas, isr, removing)
        if not completes and nodes.live.isdisjoint(isr):
            _, (isr, elr) = eligible.elect(InSync(isr, elr), replicas, nodes.live, min_isr)
        if not completes:
            heir = self._unclean_heir(nodes, topic, partition.leader, replicas, isr, election)
            if heir is not None:
                isr, elr = (heir,), ()
                self.unclean.append(UncleanElection(topic.name, partition.index, heir))
                completes = moves and _is_complete(nodes, replicas, isr, removing)
        if completes:
            replicas = tuple(node for node in replicas if node not in removing)
            isr = tuple(node for node in isr if node not in removing)
            adding = removing = ()
        elr = tuple(node for node in elr if node in replicas and node not in isr)
        offline = tuple(node for node in offline if node in replicas)
        leader = _elect(nodes, partition.leader, replicas, isr, election)
        begins_epoch = (
            leader != partition.leader
            or leader == new_life_of != NO_LEADER
            # A replica that is taken away must not be able to answer in the present epoch.
            or not set(partition.replicas) <= set(replicas)
        )
        before = partition_record(topic.topic_id, partition)
        record = msgspec.structs.replace(
            before,
            replicas=replicas,
            isr=isr,
            leader=leader,
            adding_replicas=adding,
            removing_replicas=removing,
            elr=elr,
            offline=offline,
        )
        if not begins_epoch and record == before:
            return None
        record = msgspec.structs.replace(
            record,
            leader_epoch=partition.leader_epoch + begins_epoch,
            partition_epoch=partition.partition_epoch + 1,
        )
        self.records.append(record)
        return record

    def end_eligibility(self) -> None:
        """Where the ISR is large enough by what min.insync.replicas is now, its leader goes on
        without those that were eligible besides it.
        """
        for topic in self._image.topics.values():
            for partition in topic.partitions:
                if partition.elr and len(partition.isr) >= self.min_isr(
                    topic.name, partition.replicas
                ):
                    self.records.append(
                        msgspec.structs.replace(
                            partition_record(topic.topic_id, partition),
                            elr=(),
                            partition_epoch=partition.partition_epoch + 1,
                        )
                    )

    def _unclean_heir(
        self,
        nodes: NodeStates,
        topic: TopicImage,
        leader: int,
        replicas: tuple[int, ...],
        isr: tuple[int, ...],
        election: Election,
    ) -> int | None:
        """Who is to lead without being in sync; None as long as somebody in sync can."""
        if _elect(nodes, leader, replicas, isr, election) != NO_LEADER:
            return None
        if election is not Election.UNCLEAN:
            # Who comes back in a moment has the records; whoever is fenced may never come back.
            coming = nodes.up | nodes.returning
            if not coming.isdisjoint(isr) or not self.allows_unclean(topic.name):
                return None
        return next((node for node in replicas if node in nodes.live), None)


def _is_complete(
    nodes: NodeStates,
    replicas: tuple[int, ...],
    isr: tuple[int, ...],
    removing: tuple[int, ...],
) -> bool:
    """Whether all that shall remain is in sync, and one of it could lead."""
    target = set(replicas).difference(removing)
    return bool(target) and target <= set(isr) and not nodes.live.isdisjoint(target)


def _elect(
    nodes: NodeStates,
    leader: int,
    replicas: tuple[int, ...],
    isr: tuple[int, ...],
    election: Election,
) -> int:
    possible = nodes.live.intersection(isr)
    if possible:
        if election is Election.PREFERRED and replicas[0] in possible:
            return replicas[0]
        if leader in possible:
            return leader
        return next(node for node in replicas if node in possible)
    if leader in isr and (leader in nodes.up or (leader in nodes.returning and len(isr) == 1)):
        return leader
    return NO_LEADER


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value
