"""The controller as a pure machine: image and event in, change records and answer out.

Run by `controller/runtime.py` in the process that holds the metadata. Never does I/O, never reads
a clock, never draws chance of its own: time and randomness are arguments. The parts that decide
are `topics`, `configs`, `quotas`, `features` and `nodes`.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidelog.config import BrokerConfig, BrokerLayers, ResourceType
from tidelog.controller import configs, features, moves, nodes, quotas, topics
from tidelog.controller.decision import Decision, Random
from tidelog.controller.requests import (
    AllocateProducerIds,
    AllocateProducerIdsAnswer,
    AlterConfigs,
    AlterQuotas,
    ControllerRequest,
    CreatePartitions,
    CreateTopics,
    DeleteTopics,
    FenceNode,
    FinishMoves,
    PlanMoves,
    RegisterNode,
    RemoveNode,
    StartCluster,
    UnfenceNode,
    UpdateFeatures,
)
from tidelog.errors import InvariantError
from tidelog.limits import PRODUCER_ID_BLOCK_SIZE
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import CLUSTER_DEFAULT, ProducerIdsRecord
from tidelog.protocol.error_codes import ErrorCode

_PRODUCER_ID_MAX = 2**63 - 1


class Controller:
    """Decides. Holds only what doesn't change while it runs: the configs that the process was
    started with.
    """

    def __init__(self, static: Mapping[str, str]) -> None:
        """static: texts of broker configs by name. Raises ConfigValueError for a bad one."""
        self._static = static
        self._config = BrokerConfig.resolve(BrokerLayers(static=static))

    def handle(
        self, image: MetadataImage, request: ControllerRequest, now_ms: int, rng: Random
    ) -> Decision:
        """What the event leads to. `image` is the state after every earlier event."""
        match request:
            case CreateTopics():
                return topics.TopicCreation(image, self._config, self._layers(image), rng).decide(
                    request
                )
            case DeleteTopics():
                return topics.delete_topics(image, self._config, request)
            case CreatePartitions():
                return topics.create_partitions(image, request)
            case AlterConfigs():
                return configs.alter_configs(image, self._layers(image), request)
            case UpdateFeatures():
                return features.update_features(image, request)
            case AlterQuotas():
                return quotas.alter_quotas(image, request)
            case AllocateProducerIds():
                return allocate_producer_ids(image, request)
            case RegisterNode():
                return nodes.register_node(image, request)
            case UnfenceNode():
                return nodes.unfence_node(image, request)
            case FenceNode():
                return nodes.fence_node(image, request)
            case RemoveNode():
                return nodes.remove_node(image, request)
            case PlanMoves():
                return moves.plan_moves(image, request)
            case FinishMoves():
                return moves.finish_moves(image)
            case StartCluster():
                return nodes.start_cluster(image, request)
        raise InvariantError(f"the controller has no decision for {type(request).__name__}")

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
