"""What the controller can be asked, and what it answers: the messages between nodes and controller.

Pure values (msgspec, tagged, frozen), sent over the control channel as they are; belongs to no
process. Items of one request are decided independently: each has its error_code
(`protocol.error_codes`, 0 is success) and a message for the user, None on success.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from tidelog.metadata.isr import AlteredIsr, IsrChange
from tidelog.metadata.records import Endpoint, QuotaEntity


class ControllerRequest(msgspec.Struct, frozen=True, tag=True):
    """Base of everything that the controller decides about."""


class ControllerAnswer(msgspec.Struct, frozen=True, tag=True):
    """Base of the controller's answers."""


class RequestFailed(ControllerAnswer, frozen=True):
    """The request as a whole was not carried out, e.g. because the store failed."""

    error_code: int
    error_message: str


# --- topics ------------------------------------------------------------------------------------


class ReplicaAssignment(msgspec.Struct, frozen=True):
    """Where the user wants one partition's replicas; the first one is the preferred leader."""

    partition: int
    replicas: tuple[int, ...]


class NewTopic(msgspec.Struct, frozen=True):
    """A topic to create. partition_count and replication_factor: -1 takes the broker's default (and
    has to be given together with assignments). configs: a value of None is refused.
    """

    name: str
    partition_count: int = -1
    replication_factor: int = -1
    assignments: tuple[ReplicaAssignment, ...] = ()
    configs: tuple[tuple[str, str | None], ...] = ()


class CreateTopics(ControllerRequest, frozen=True):
    """Creates topics. automatic: on first use, not by an administrator; the counts and configs are
    then the broker's own (internal topics included), and those of the items are not looked at.
    """

    topics: tuple[NewTopic, ...]
    validate_only: bool = False
    automatic: bool = False


class CreatedTopic(msgspec.Struct, frozen=True):
    """The answer for one topic. With validate_only, topic_id is all zeros. configs: those set on
    the topic.
    """

    name: str
    error_code: int
    error_message: str | None = None
    topic_id: bytes = bytes(16)
    partition_count: int = -1
    replication_factor: int = -1
    configs: tuple[tuple[str, str], ...] = ()


class CreateTopicsAnswer(ControllerAnswer, frozen=True):
    """One result for each item of the request, in its order."""

    topics: tuple[CreatedTopic, ...]


class TopicReference(msgspec.Struct, frozen=True):
    """A topic by name or by id, the other one None."""

    name: str | None = None
    topic_id: bytes | None = None


class DeleteTopics(ControllerRequest, frozen=True):
    """Deletes topics with their logs and configs."""

    topics: tuple[TopicReference, ...]


class DeletedTopic(msgspec.Struct, frozen=True):
    """The answer for one topic; name and id as far as they are known."""

    name: str | None
    topic_id: bytes | None
    error_code: int
    error_message: str | None = None


class DeleteTopicsAnswer(ControllerAnswer, frozen=True):
    """One result for each item of the request, in its order."""

    topics: tuple[DeletedTopic, ...]


class MorePartitions(msgspec.Struct, frozen=True):
    """A topic that shall have `partition_count` partitions in all; assignments, if any, for the
    new ones.
    """

    name: str
    partition_count: int
    assignments: tuple[tuple[int, ...], ...] | None = None


class CreatePartitions(ControllerRequest, frozen=True):
    """Adds partitions to topics."""

    topics: tuple[MorePartitions, ...]
    validate_only: bool = False


class NamedResult(msgspec.Struct, frozen=True):
    """The answer for something that has a name."""

    name: str
    error_code: int
    error_message: str | None = None


class CreatePartitionsAnswer(ControllerAnswer, frozen=True):
    """One result for each item of the request, in its order."""

    topics: tuple[NamedResult, ...]


# --- configs -----------------------------------------------------------------------------------


class AlterOperation(IntEnum):
    """What an incremental change does with a config: Kafka's codes (KIP-339)."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


class ConfigChange(msgspec.Struct, frozen=True):
    """One config to change. operation: an AlterOperation, or what the client sent instead."""

    key: str
    value: str | None
    operation: int = AlterOperation.SET


class ResourceChange(msgspec.Struct, frozen=True):
    """Changes of one resource; resource_type: Kafka's code."""

    resource_type: int
    resource_name: str
    changes: tuple[ConfigChange, ...]


class AlterConfigs(ControllerRequest, frozen=True):
    """Changes configs. incremental: apply each operation to what is set; otherwise the values given
    replace everything that is set on the resource (AlterConfigs, deprecated but used).
    """

    resources: tuple[ResourceChange, ...]
    validate_only: bool = False
    incremental: bool = True


class AlteredResource(msgspec.Struct, frozen=True):
    """The answer for one resource."""

    resource_type: int
    resource_name: str
    error_code: int
    error_message: str | None = None


class AlterConfigsAnswer(ControllerAnswer, frozen=True):
    """One result for each item of the request, in its order."""

    resources: tuple[AlteredResource, ...]


# --- features ----------------------------------------------------------------------------------


class UpgradeType(IntEnum):
    """What a change of a feature is meant to be: Kafka's codes (KIP-778)."""

    UPGRADE = 1
    SAFE_DOWNGRADE = 2
    UNSAFE_DOWNGRADE = 3


class FeatureUpdate(msgspec.Struct, frozen=True):
    """A feature and the level that it shall have; 0 ends it. upgrade_type: an UpgradeType, or what
    the client sent instead.
    """

    name: str
    level: int
    upgrade_type: int = UpgradeType.UPGRADE


class UpdateFeatures(ControllerRequest, frozen=True):
    """Changes finalized features: all of them or none. Answered with Done, whose error is that of
    the first one that cannot be changed.
    """

    updates: tuple[FeatureUpdate, ...]
    validate_only: bool = False


class QuotaChange(msgspec.Struct, frozen=True):
    """Quotas of one entity to set; a value of None ends one."""

    entity: QuotaEntity
    values: tuple[tuple[str, float | None], ...]


class AlterQuotas(ControllerRequest, frozen=True):
    """Changes client quotas (KIP-546)."""

    entries: tuple[QuotaChange, ...]
    validate_only: bool = False


class AlteredQuota(msgspec.Struct, frozen=True):
    """The answer for one entity."""

    entity: QuotaEntity
    error_code: int
    error_message: str | None = None


class AlterQuotasAnswer(ControllerAnswer, frozen=True):
    """One result for each distinct entity of the request."""

    entries: tuple[AlteredQuota, ...]


# --- nodes -------------------------------------------------------------------------------------


class AllocateProducerIds(ControllerRequest, frozen=True):
    """Takes a block of producer ids that no one else ever gets."""

    node_id: int
    node_epoch: int


class AllocateProducerIdsAnswer(ControllerAnswer, frozen=True):
    """The ids first_producer_id ... first_producer_id + length - 1."""

    error_code: int
    first_producer_id: int = -1
    length: int = 0


class RegisterNode(ControllerRequest, frozen=True):
    """A node begins a new life: its epoch grows, and with it the leader epochs of what it leads.

    unclean: the machine was started anew without a clean stop of the node, so what it had not
    written to disk is lost; it leaves every ISR that has other members. host_id: of several hosts,
    the one that runs it; answered with DUPLICATE_BROKER_REGISTRATION while another one does.
    """

    node_id: int
    rack: str | None
    endpoints: tuple[Endpoint, ...]
    internode_host: str
    internode_port: int
    directory: str = ""
    unclean: bool = False
    host_id: str = ""


class RegisterNodeAnswer(ControllerAnswer, frozen=True):
    """The node's new epoch."""

    node_epoch: int


class UnfenceNode(ControllerRequest, frozen=True):
    """The node serves: it may lead and is shown to clients. Ignored for an older life than the
    present one.
    """

    node_id: int
    node_epoch: int


class FenceNode(ControllerRequest, frozen=True):
    """The node is away for longer than a moment: others take over what it led, or nobody does."""

    node_id: int
    node_epoch: int


class NodeDown(ControllerRequest, frozen=True):
    """The processes of these (node id, node epoch) have ended, all at once: one decision. Others
    take over what they led; what has no other live replica in sync waits for them, because they are
    started again in a moment. Lives other than the present ones are passed over.

    fence: they are not started again in a moment (their host is lost): FenceNode for all of them.
    """

    nodes: tuple[tuple[int, int], ...]
    fence: bool = False


class ShutDownNode(ControllerRequest, frozen=True):
    """The node wants to stop: others take over what they can (controlled shutdown). Asked again
    until nothing remains that another replica may still take over, or the node has no more time.
    """

    node_id: int
    node_epoch: int


class ShutDownNodeAnswer(ControllerAnswer, frozen=True):
    """remaining: partitions that the node still leads though they have other live replicas; these
    are not in sync. error_code: STALE_BROKER_EPOCH for an earlier life.
    """

    error_code: int
    remaining: int = 0


class UnregisterNode(ControllerRequest, frozen=True):
    """An administrator takes a node out for good that does not run any more. Answered with Done.
    Its replicas stay where they are until they are moved.
    """

    node_id: int


class RemoveNode(ControllerRequest, frozen=True):
    """The node is taken out of the cluster; refused while replicas are placed on it."""

    node_id: int


# --- replicas ----------------------------------------------------------------------------------


class AlterIsr(ControllerRequest, frozen=True):
    """A leader changes ISRs: Kafka's AlterPartition (KIP-497, KIP-903)."""

    node_id: int
    node_epoch: int
    partitions: tuple[IsrChange, ...]


class AlterIsrAnswer(ControllerAnswer, frozen=True):
    """One result for each item of the request, in its order; none with STALE_BROKER_EPOCH."""

    error_code: int
    partitions: tuple[AlteredIsr, ...] = ()


class ReportOffline(ControllerRequest, frozen=True):
    """A node says which of its replicas it cannot serve, because their log directories are offline:
    all of them, as (topic id, partition); whatever it named before and does not name now is back.
    What AssignReplicasToDirs and the heartbeat's offline directories are in Kafka (KIP-858).
    """

    node_id: int
    node_epoch: int
    partitions: tuple[tuple[bytes, int], ...]


class ElectionType(IntEnum):
    """Kafka's codes (KIP-460)."""

    PREFERRED = 0
    UNCLEAN = 1


class ElectLeaders(ControllerRequest, frozen=True):
    """An administrator elects leaders of (topic, partition); None: wherever it is needed.

    election_type: an ElectionType; whatever else the client sent is taken for PREFERRED.
    """

    election_type: int
    partitions: tuple[tuple[str, int], ...] | None


class PartitionResult(msgspec.Struct, frozen=True):
    """The answer for one partition."""

    topic: str
    partition: int
    error_code: int
    error_message: str | None = None


class ElectLeadersAnswer(ControllerAnswer, frozen=True):
    """One result for each item of the request, in its order; without a list one for each partition
    that needed an election.
    """

    partitions: tuple[PartitionResult, ...]


class RebalanceLeaders(ControllerRequest, frozen=True):
    """Gives leaderships back to the first replicas, if auto.leader.rebalance.enable. An event of a
    timer (leader.imbalance.check.interval.seconds).
    """


class RebalanceLeadersAnswer(ControllerAnswer, frozen=True):
    """moved: leaderships given back. more: there are others, for the next event, at once."""

    moved: int
    more: bool = False


class ElectUnclean(ControllerRequest, frozen=True):
    """Elects a live replica for each partition that has no leader and none to come, where the topic
    allows it. An event of a timer (unclean.leader.election.interval.ms): a topic may come to allow
    it long after the nodes went. Answered with Done.
    """


class PartitionReassignment(msgspec.Struct, frozen=True):
    """The replicas that a partition shall have; None: those that it had before."""

    topic: str
    partition: int
    replicas: tuple[int, ...] | None


class AlterReassignments(ControllerRequest, frozen=True):
    """An administrator moves partitions to other nodes (KIP-455). It is done when all replicas that
    the partition shall have are in sync.
    """

    partitions: tuple[PartitionReassignment, ...]
    allow_replication_factor_change: bool = True


class AlterReassignmentsAnswer(ControllerAnswer, frozen=True):
    """One result for each item of the request, in its order."""

    partitions: tuple[PartitionResult, ...]


# --- the store ---------------------------------------------------------------------------------


class PlanMoves(ControllerRequest, frozen=True):
    """Before any node runs: writes down where each log of the source nodes is to go, among the
    targets. Nothing is served from there before FinishMoves.
    """

    sources: tuple[int, ...]
    targets: tuple[int, ...]


class FinishMoves(ControllerRequest, frozen=True):
    """All logs that were written down are where they are to be."""


class StartCluster(ControllerRequest, frozen=True):
    """First event of a store: records the cluster's id, and the features that a new cluster has.
    One that is there already keeps those that were set in it.
    """

    cluster_id: str
    features: tuple[tuple[str, int], ...] = ()


class Done(ControllerAnswer, frozen=True):
    """Carried out (or nothing had to be done)."""

    error_code: int = 0
    error_message: str | None = None


AnyRequest = (
    CreateTopics
    | DeleteTopics
    | CreatePartitions
    | AlterConfigs
    | UpdateFeatures
    | AlterQuotas
    | AllocateProducerIds
    | RegisterNode
    | UnfenceNode
    | FenceNode
    | NodeDown
    | ShutDownNode
    | UnregisterNode
    | RemoveNode
    | AlterIsr
    | ReportOffline
    | ElectLeaders
    | RebalanceLeaders
    | ElectUnclean
    | AlterReassignments
    | PlanMoves
    | FinishMoves
    | StartCluster
)

AnyAnswer = (
    RequestFailed
    | CreateTopicsAnswer
    | DeleteTopicsAnswer
    | CreatePartitionsAnswer
    | AlterConfigsAnswer
    | AlterQuotasAnswer
    | AllocateProducerIdsAnswer
    | RegisterNodeAnswer
    | ShutDownNodeAnswer
    | AlterIsrAnswer
    | ElectLeadersAnswer
    | RebalanceLeadersAnswer
    | AlterReassignmentsAnswer
    | Done
)

#: What a worker may ask over its channel; the rest are events of the supervisor itself.
WorkerRequest = (
    CreateTopics
    | DeleteTopics
    | CreatePartitions
    | AlterConfigs
    | UpdateFeatures
    | AlterQuotas
    | AllocateProducerIds
    | ShutDownNode
    | UnregisterNode
    | AlterIsr
    | ReportOffline
    | ElectLeaders
    | AlterReassignments
)
