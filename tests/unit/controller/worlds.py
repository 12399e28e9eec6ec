"""Small clusters for the controller's tests: an image with nodes, rules that know a handful of
configs, a machine that applies what it decides.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

import msgspec

from tidelog.controller.machine import Controller
from tidelog.controller.requests import (
    ControllerAnswer,
    ControllerRequest,
    CreateTopics,
    CreateTopicsAnswer,
    NewTopic,
)
from tidelog.limits import REPLICATION_FACTOR_MAX
from tidelog.metadata.image import MetadataImage, PartitionImage, node_record
from tidelog.metadata.records import (
    ChangeRecord,
    ConfigRecord,
    Endpoint,
    NodeRecord,
    PartitionRecord,
    TopicRecord,
)


def node(node_id: int, *, fenced: bool = False, epoch: int = 0) -> NodeRecord:
    endpoint = Endpoint("PLAINTEXT", "", 9091 + node_id)
    return NodeRecord(
        node_id, epoch, None, (endpoint,), "127.0.0.1", endpoint.port, fenced, f"node-{node_id}"
    )


class World:
    """A machine and the image that its decisions lead to."""

    def __init__(
        self,
        nodes: int = 1,
        static: Mapping[str, str] | None = None,
        seed: int = 1,
        replication_factor_max: int = REPLICATION_FACTOR_MAX,
    ) -> None:
        self.machine = Controller(static or {}, replication_factor_max)
        self.rng = random.Random(seed)
        self.image = MetadataImage().apply([node(i + 1) for i in range(nodes)], 1)
        self.records: list[ChangeRecord] = []
        self.unclean: list[tuple[str, int, int]] = []

    def ask(self, request: ControllerRequest) -> ControllerAnswer:
        decision = self.machine.handle(self.image, request, 0, self.rng)
        self.records = decision.records
        self.unclean = [(e.topic, e.partition, e.leader) for e in decision.unclean_elections]
        if decision.records:
            self.image = self.image.apply(decision.records, self.image.version + 1)
        return decision.answer

    def apply(self, *records: ChangeRecord) -> None:
        self.image = self.image.apply(records, self.image.version + 1)

    def create(self, *items: NewTopic, validate_only: bool = False) -> list[int]:
        answer = self.ask(CreateTopics(items, validate_only=validate_only))
        assert isinstance(answer, CreateTopicsAnswer)
        assert [result.name for result in answer.topics] == [item.name for item in items]
        assert all((r.error_code == 0) == (r.error_message is None) for r in answer.topics)
        return [result.error_code for result in answer.topics]


class ReplicatedWorld(World):
    """Nodes that may hold three replicas; partitions are set as they are wanted."""

    def __init__(self, nodes: int = 4, static: Mapping[str, str] | None = None) -> None:
        super().__init__(nodes, static, replication_factor_max=3)

    def put(
        self,
        name: str,
        replicas: tuple[int, ...],
        isr: tuple[int, ...] | None = None,
        leader: int | None = None,
        epochs: tuple[int, int] = (5, 9),
        adding: tuple[int, ...] = (),
        removing: tuple[int, ...] = (),
    ) -> bytes:
        """A topic of one partition in that state; leader epoch 5, partition epoch 9."""
        topic_id = name.encode().ljust(16, b"-")
        isr = replicas if isr is None else isr
        leader = isr[0] if leader is None else leader
        partition = PartitionRecord(topic_id, 0, replicas, isr, leader, *epochs, adding, removing)
        self.apply(TopicRecord(topic_id, name), partition)
        return topic_id

    def set_topic_config(self, name: str, key: str, value: str) -> None:
        self.apply(ConfigRecord(2, name, key, value))

    def allow_unclean(self, name: str) -> None:
        self.set_topic_config(name, "unclean.leader.election.enable", "true")

    def at(self, name: str) -> PartitionImage:
        found = self.image.partition(name, 0)
        assert found is not None
        return found

    def state(self, name: str) -> tuple[int, tuple[int, ...], int, int]:
        """Leader, ISR, leader epoch and partition epoch."""
        at = self.at(name)
        return at.leader, at.isr, at.leader_epoch, at.partition_epoch

    def set_node(self, node_id: int, **fields: object) -> None:
        record = node_record(self.image.nodes[node_id])
        self.apply(msgspec.structs.replace(record, **fields))
