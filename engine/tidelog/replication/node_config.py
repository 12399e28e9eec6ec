"""The configs of this node and of its topics, as the metadata of the moment has them.

Belongs to the worker's loop task. Pure: combines what the process was started with (static) with
the dynamic configs of the image; does no I/O. Results are kept until the image's configs are
another object, so asking costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidelog.config import BrokerConfig, BrokerLayers, ResourceType, TopicConfig
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import CLUSTER_DEFAULT


class NodeConfig:
    """Resolves configs for one node. static: texts by name, from server.properties and `--set`."""

    def __init__(self, node_id: int, static: Mapping[str, str]) -> None:
        self.node_id = node_id
        self.static = static
        self._configs: object = None
        self._layers = BrokerLayers(static=static)
        self._broker = BrokerConfig.resolve(self._layers)
        self._topics: dict[str, TopicConfig] = {}
        self._default_topic: TopicConfig | None = None

    def layers(self, image: MetadataImage) -> BrokerLayers:
        """The layers of this node's broker configs."""
        self._follow(image)
        return self._layers

    def broker(self, image: MetadataImage) -> BrokerConfig:
        """This node's broker configs."""
        self._follow(image)
        return self._broker

    def topic(self, image: MetadataImage, name: str) -> TopicConfig:
        """A topic's configs; those of a topic without overrides when there is no such topic."""
        self._follow(image)
        overrides = image.config(ResourceType.TOPIC, name)
        if not overrides:
            if self._default_topic is None:
                self._default_topic = TopicConfig.resolve(None, self._layers)
            return self._default_topic
        found = self._topics.get(name)
        if found is None:
            found = self._topics[name] = TopicConfig.resolve(overrides, self._layers)
        return found

    def _follow(self, image: MetadataImage) -> None:
        if image.configs is self._configs:
            return
        self._configs = image.configs
        self._topics.clear()
        layers = BrokerLayers(
            static=self.static,
            dynamic_default=image.config(ResourceType.BROKER, CLUSTER_DEFAULT),
            dynamic=image.config(ResourceType.BROKER, str(self.node_id)),
        )
        if layers != self._layers:
            self._layers = layers
            self._broker = BrokerConfig.resolve(layers)
            self._default_topic = None
