"""A client as confluent-kafka's, with a cluster in memory behind it, for the tests of the command
line.
"""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AlterConfigOpType, ConfigSource


def failed(code: int, text: str) -> KafkaException:
    return KafkaException(KafkaError(code, text))


class FakeCluster:
    """Topics by name, with partitions and configs. `calls`: the requests with what matters."""

    def __init__(self) -> None:
        self.topics: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[Any, ...]] = []

    def _future(self, value: object = None, error: Exception | None = None) -> Future[Any]:
        future: Future[Any] = Future()
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)
        return future

    def _of(self, name: str, value: object = None) -> Future[Any]:
        if name not in self.topics:
            return self._future(error=failed(KafkaError.UNKNOWN_TOPIC_OR_PART, "no such topic"))
        return self._future(value)

    def create_topics(self, new: list[Any], **_: object) -> dict[str, Future[Any]]:
        futures = {}
        for topic in new:
            self.calls.append(
                ("create", topic.topic, topic.num_partitions, topic.replication_factor)
            )
            if topic.topic in self.topics:
                error = failed(KafkaError.TOPIC_ALREADY_EXISTS, "it exists\nalready")
                futures[topic.topic] = self._future(error=error)
                continue
            count = max(topic.num_partitions, 1)
            self.topics[topic.topic] = {"partitions": count, "configs": dict(topic.config)}
            futures[topic.topic] = self._future()
        return futures

    def delete_topics(self, names: list[str], **_: object) -> dict[str, Future[Any]]:
        futures = {name: self._of(name) for name in names}
        for name in names:
            self.topics.pop(name, None)
        return futures

    def list_topics(self, timeout: float) -> Any:
        return SimpleNamespace(topics=dict.fromkeys(self.topics), brokers={1: None, 2: None})

    def describe_topics(self, collection: Any, **_: object) -> dict[str, Future[Any]]:
        (name,) = collection.topic_names
        if name not in self.topics:
            return {name: self._of(name)}
        node = SimpleNamespace(id=1)
        partitions = [
            SimpleNamespace(id=i, leader=node if i != 1 else None, replicas=[node], isr=[node])
            for i in range(self.topics[name]["partitions"])
        ]
        found = SimpleNamespace(
            name=name, topic_id="/Z+A", is_internal=False, partitions=partitions
        )
        return {name: self._future(found)}

    def describe_configs(self, resources: list[Any], **_: object) -> dict[Any, Future[Any]]:
        (resource,) = resources
        own, default = ConfigSource.DYNAMIC_TOPIC_CONFIG, ConfigSource.DEFAULT_CONFIG
        entries = {
            key: SimpleNamespace(
                name=key, value=value, source=own.value, is_sensitive=False, is_read_only=False
            )
            for key, value in self.topics[resource.name]["configs"].items()
        }
        entries["segment.bytes"] = SimpleNamespace(
            name="segment.bytes",
            value="1073741824",
            source=default.value,
            is_sensitive=False,
            is_read_only=False,
        )
        return {resource: self._future(entries)}

    def incremental_alter_configs(
        self, resources: list[Any], **_: object
    ) -> dict[Any, Future[Any]]:
        (resource,) = resources
        future = self._of(resource.name)
        if resource.name in self.topics:
            configs = self.topics[resource.name]["configs"]
            for entry in resource.incremental_configs:
                if entry.incremental_operation is AlterConfigOpType.SET:
                    configs[entry.name] = entry.value
                else:
                    configs.pop(entry.name, None)
        return {resource: future}

    def create_partitions(self, new: list[Any], **_: object) -> dict[str, Future[Any]]:
        (item,) = new
        if item.new_total_count <= self.topics[item.topic]["partitions"]:
            error = failed(KafkaError.INVALID_PARTITIONS, "no increase")
            return {item.topic: self._future(error=error)}
        self.topics[item.topic]["partitions"] = item.new_total_count
        return {item.topic: self._future()}
