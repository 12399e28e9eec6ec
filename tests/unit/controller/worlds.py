"""Small clusters for the controller's tests: an image with nodes, rules that know a handful of
configs, a machine that applies what it decides.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from tidelog.controller.machine import Controller
from tidelog.controller.requests import (
    ControllerAnswer,
    ControllerRequest,
    CreateTopics,
    CreateTopicsAnswer,
    NewTopic,
)
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import ChangeRecord, Endpoint, NodeRecord


def node(node_id: int, *, fenced: bool = False, epoch: int = 0) -> NodeRecord:
    endpoint = Endpoint("PLAINTEXT", "", 9091 + node_id)
    return NodeRecord(
        node_id, epoch, None, (endpoint,), "127.0.0.1", endpoint.port, fenced, f"node-{node_id}"
    )


class World:
    """A machine and the image that its decisions lead to."""

    def __init__(
        self, nodes: int = 1, static: Mapping[str, str] | None = None, seed: int = 1
    ) -> None:
        self.machine = Controller(static or {})
        self.rng = random.Random(seed)
        self.image = MetadataImage().apply([node(i + 1) for i in range(nodes)], 1)
        self.records: list[ChangeRecord] = []

    def ask(self, request: ControllerRequest) -> ControllerAnswer:
        decision = self.machine.handle(self.image, request, 0, self.rng)
        self.records = decision.records
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
