"""The controller as a pure machine: image and event in, change records and answer out.

Run by `controller/runtime.py` in the process that holds the metadata. Never does I/O, never reads
a clock, never draws chance of its own: time and randomness are arguments. The parts that decide
are `topics`, `configs`, `quotas`, `features`, `nodes`, `isr_changes`, `offline_replicas`,
`elections`, `reassignments` and `moves`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tidelog.config import BrokerConfig, BrokerLayers, ResourceType
from tidelog.controller import (
    configs,
    elections,
    features,
    isr_changes,
    moves,
    nodes,
    offline_replicas,
    quotas,
    reassignments,
    topics,
)
from tidelog.controller.decision import Decision, Random
from tidelog.controller.partition_changes import MIN_ISR, NodeStates, PartitionChanges
from tidelog.controller.requests import (
    AllocateProducerIds,
    AllocateProducerIdsAnswer,
    AlterConfigs,
    AlterIsr,
    AlterQuotas,
    AlterReassignments,
    ControllerRequest,
    CreatePartitions,
    CreateTopics,
    DeleteTopics,
    ElectLeaders,
    ElectUnclean,
    FenceNode,
    FinishMoves,
    NodeDown,
    PlanMoves,
    RebalanceLeaders,
    RegisterNode,
    RemoveNode,
    ReportOffline,
    ShutDownNode,
    StartCluster,
    UnfenceNode,
    UnregisterNode,
    UpdateFeatures,
)
from tidelog.errors import InvariantError
from tidelog.limits import PRODUCER_ID_BLOCK_SIZE, REPLICATION_FACTOR_MAX
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import CLUSTER_DEFAULT, ConfigRecord, ProducerIdsRecord
from tidelog.protocol.error_codes import ErrorCode

_PRODUCER_ID_MAX = 2**63 - 1


class Controller:
    """Decides. Holds only what doesn't change while it runs: the configs that the process was
    started with.
    """

    def __init__(
        self, static: Mapping[str, str], replication_factor_max: int = REPLICATION_FACTOR_MAX
    ) -> None:
        """static: texts of broker configs by name. Raises ConfigValueError for a bad one."""
        self._static = static
        self._config = BrokerConfig.resolve(BrokerLayers(static=static))
        self._replication_factor_max = replication_factor_max

    def handle(
        self, image: MetadataImage, request: ControllerRequest, now_ms: int, rng: Random
    ) -> Decision:
        """What the event leads to. `image` is the state after every earlier event."""
        decision = (
            self._about_topics(image, request, rng)
            or self._about_replicas(image, request)
            or self._about_nodes(image, request)
        )
        if decision is None:
            raise InvariantError(f"the controller has no decision for {type(request).__name__}")
        return decision

    def _about_topics(
        self, image: MetadataImage, request: ControllerRequest, rng: Random
    ) -> Decision | None:
        """Topics, configs, quotas, features."""
        factor_max = self._replication_factor_max
        match request:
            case CreateTopics():
                return topics.TopicCreation(
                    image, self._config, self._layers(image), rng, factor_max
                ).decide(request)
            case DeleteTopics():
                return topics.delete_topics(image, self._config, request)
            case CreatePartitions():
                return topics.create_partitions(image, request, factor_max)
            case AlterConfigs():
                return self._alter_configs(image, request)
            case UpdateFeatures():
                return features.update_features(image, request)
            case AlterQuotas():
                return quotas.alter_quotas(image, request)
        return None

    def _about_replicas(self, image: MetadataImage, request: ControllerRequest) -> Decision | None:
        """ISRs, leaders, reassignments, moves."""
        match request:
            case AlterIsr():
                return isr_changes.alter_isr(image, self._layers(image), request)
            case ReportOffline():
                return offline_replicas.report_offline(image, self._layers(image), request)
            case ElectLeaders():
                return elections.elect_leaders(image, self._layers(image), request)
            case RebalanceLeaders():
                enabled = self._config.auto_leader_rebalance_enable
                return elections.rebalance_leaders(image, self._layers(image), enabled=enabled)
            case ElectUnclean():
                return elections.elect_unclean(image, self._layers(image))
            case AlterReassignments():
                return reassignments.alter_reassignments(
                    image, self._layers(image), request, self._replication_factor_max
                )
            case PlanMoves():
                return moves.plan_moves(image, request)
            case FinishMoves():
                return moves.finish_moves(image)
        return None

    def _about_nodes(self, image: MetadataImage, request: ControllerRequest) -> Decision | None:
        """Lives of nodes, and the cluster itself."""
        match request:
            case AllocateProducerIds():
                return allocate_producer_ids(image, request)
            case RegisterNode():
                return nodes.register_node(image, self._layers(image), request)
            case UnfenceNode():
                return nodes.unfence_node(image, self._layers(image), request)
            case FenceNode():
                return nodes.fence_node(image, self._layers(image), request)
            case NodeDown():
                return nodes.nodes_down(image, self._layers(image), request)
            case ShutDownNode():
                return nodes.shut_down_node(image, self._layers(image), request)
            case UnregisterNode():
                return nodes.unregister_node(image, self._layers(image), request)
            case RemoveNode():
                return nodes.remove_node(image, request)
            case StartCluster():
                return self._with_eligibility(image, nodes.start_cluster(image, request))
        return None

    def _alter_configs(self, image: MetadataImage, request: AlterConfigs) -> Decision:
        decision = configs.alter_configs(image, self._layers(image), request)
        names = {record.key for record in decision.records if isinstance(record, ConfigRecord)}
        return self._with_eligibility(image, decision) if MIN_ISR in names else decision

    def _with_eligibility(self, image: MetadataImage, decision: Decision) -> Decision:
        """The decision, and what follows from another min.insync.replicas."""
        after = image.apply(decision.records, image.version)
        changes = PartitionChanges(after, self._layers(after), NodeStates.of(after))
        changes.end_eligibility()
        if not changes.records:
            return decision
        return msgspec.structs.replace(decision, records=[*decision.records, *changes.records])

    def _layers(self, image: MetadataImage) -> BrokerLayers:
        """What holds for every broker of the cluster."""
        dynamic = image.config(ResourceType.BROKER, CLUSTER_DEFAULT)
        return BrokerLayers(static=self._static, dynamic_default=dynamic)


def allocate_producer_ids(image: MetadataImage, request: AllocateProducerIds) -> Decision:
    """The next block. It is committed before it is answered: after a crash it is skipped, never
    given again.
    """
    node = image.nodes.get(request.node_id)
    if node is None or node.epoch != request.node_epoch:
        return Decision([], AllocateProducerIdsAnswer(ErrorCode.STALE_BROKER_EPOCH))
    first = image.next_producer_id
    if first > _PRODUCER_ID_MAX - PRODUCER_ID_BLOCK_SIZE:
        return Decision([], AllocateProducerIdsAnswer(ErrorCode.UNKNOWN_SERVER_ERROR))
    return Decision(
        [ProducerIdsRecord(first + PRODUCER_ID_BLOCK_SIZE)],
        AllocateProducerIdsAnswer(ErrorCode.NONE, first, PRODUCER_ID_BLOCK_SIZE),
    )
