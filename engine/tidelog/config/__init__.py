"""Topic and broker configs under Kafka's names: tables, resolution, description, changes.

Pure (text in, values out), owned by no process. Use `TopicConfig.resolve` and
`BrokerConfig.resolve` for values, `describe` for DescribeConfigs, `changes` for the alter
requests, `properties` for server.properties.
"""

from tidelog.config.broker_config import BrokerConfig
from tidelog.config.definition import (
    ConfigDef,
    ConfigSource,
    ConfigType,
    ConfigValueError,
    ResourceType,
    UnknownConfigError,
)
from tidelog.config.layers import BrokerLayers
from tidelog.config.topic_configs import TopicConfig, validate_overrides

__all__ = [
    "BrokerConfig",
    "BrokerLayers",
    "ConfigDef",
    "ConfigSource",
    "ConfigType",
    "ConfigValueError",
    "ResourceType",
    "TopicConfig",
    "UnknownConfigError",
    "validate_overrides",
]
