"""Topic configs: the table by name, and `TopicConfig`, the typed values that a log works with.

Pure, owned by no process: values come in as text layers (see `layers`), nothing is read or kept
here. A `TopicConfig` is immutable; a change of any layer makes another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from tidelog.config.broker_configs import BROKER_CONFIGS
from tidelog.config.definition import (
    BrokerSynonym,
    ConfigDef,
    ConfigValue,
    UnknownConfigError,
    make,
    parse_value,
)
from tidelog.config.effects import TOPIC_EFFECTS
from tidelog.config.layers import BrokerLayers
from tidelog.config.tables.topic import ROWS
from tidelog.config.validators import Range

_MINUTE_MS = 60_000
_HOUR_MS = 3_600_000

#: By topic config, the broker configs that give it its value when the topic does not.
SYNONYMS: dict[str, tuple[BrokerSynonym, ...]] = {
    "cleanup.policy": (BrokerSynonym("log.cleanup.policy"),),
    "compression.gzip.level": (BrokerSynonym("compression.gzip.level"),),
    "compression.lz4.level": (BrokerSynonym("compression.lz4.level"),),
    "compression.type": (BrokerSynonym("compression.type"),),
    "compression.zstd.level": (BrokerSynonym("compression.zstd.level"),),
    "delete.retention.ms": (BrokerSynonym("log.cleaner.delete.retention.ms"),),
    "file.delete.delay.ms": (BrokerSynonym("log.segment.delete.delay.ms"),),
    "flush.messages": (BrokerSynonym("log.flush.interval.messages"),),
    "flush.ms": (
        BrokerSynonym("log.flush.interval.ms"),
        BrokerSynonym("log.flush.scheduler.interval.ms"),
    ),
    "index.interval.bytes": (BrokerSynonym("log.index.interval.bytes"),),
    "local.retention.bytes": (BrokerSynonym("log.local.retention.bytes"),),
    "local.retention.ms": (BrokerSynonym("log.local.retention.ms"),),
    "max.compaction.lag.ms": (BrokerSynonym("log.cleaner.max.compaction.lag.ms"),),
    "max.message.bytes": (BrokerSynonym("message.max.bytes"),),
    "message.timestamp.after.max.ms": (BrokerSynonym("log.message.timestamp.after.max.ms"),),
    "message.timestamp.before.max.ms": (BrokerSynonym("log.message.timestamp.before.max.ms"),),
    "message.timestamp.type": (BrokerSynonym("log.message.timestamp.type"),),
    "min.cleanable.dirty.ratio": (BrokerSynonym("log.cleaner.min.cleanable.ratio"),),
    "min.compaction.lag.ms": (BrokerSynonym("log.cleaner.min.compaction.lag.ms"),),
    "min.insync.replicas": (BrokerSynonym("min.insync.replicas"),),
    "preallocate": (BrokerSynonym("log.preallocate"),),
    "retention.bytes": (BrokerSynonym("log.retention.bytes"),),
    "retention.ms": (
        BrokerSynonym("log.retention.ms"),
        BrokerSynonym("log.retention.minutes", _MINUTE_MS),
        BrokerSynonym("log.retention.hours", _HOUR_MS),
    ),
    "segment.bytes": (BrokerSynonym("log.segment.bytes"),),
    "segment.index.bytes": (BrokerSynonym("log.index.size.max.bytes"),),
    "segment.jitter.ms": (
        BrokerSynonym("log.roll.jitter.ms"),
        BrokerSynonym("log.roll.jitter.hours", _HOUR_MS),
    ),
    "segment.ms": (
        BrokerSynonym("log.roll.ms"),
        BrokerSynonym("log.roll.hours", _HOUR_MS),
    ),
    "unclean.leader.election.enable": (BrokerSynonym("unclean.leader.election.enable"),),
}

#: Not listed in DescribeConfigs unless the topic sets it.
INTERNAL_NAMES = frozenset({"internal.segment.bytes"})

#: Every topic config by name, in alphabetical order.
TOPIC_CONFIGS: dict[str, ConfigDef] = {
    row[0]: make(
        row,
        effect="full" if row[0] in TOPIC_EFFECTS else "none yet",
        synonyms=SYNONYMS.get(row[0], ()),
        internal=row[0] in INTERNAL_NAMES,
    )
    for row in ROWS
}


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """The configs of one topic, resolved and typed. Units stand in the names; -1 is no limit."""

    cleanup_policy: tuple[str, ...]
    compression_gzip_level: int
    compression_lz4_level: int
    compression_type: str
    compression_zstd_level: int
    delete_retention_ms: int
    file_delete_delay_ms: int
    flush_messages: int
    flush_ms: int
    follower_replication_throttled_replicas: tuple[str, ...]
    index_interval_bytes: int
    internal_segment_bytes: int | None
    leader_replication_throttled_replicas: tuple[str, ...]
    local_retention_bytes: int
    local_retention_ms: int
    max_compaction_lag_ms: int
    max_message_bytes: int
    message_timestamp_after_max_ms: int
    message_timestamp_before_max_ms: int
    message_timestamp_type: str
    min_cleanable_dirty_ratio: float
    min_compaction_lag_ms: int
    min_insync_replicas: int
    preallocate: bool
    remote_log_copy_disable: bool
    remote_log_delete_on_disable: bool
    remote_storage_enable: bool
    retention_bytes: int
    retention_ms: int
    segment_bytes: int
    segment_index_bytes: int
    segment_jitter_ms: int
    segment_ms: int
    unclean_leader_election_enable: bool

    @property
    def compact(self) -> bool:
        return "compact" in self.cleanup_policy

    @property
    def delete(self) -> bool:
        return "delete" in self.cleanup_policy

    @property
    def log_append_time(self) -> bool:
        return self.message_timestamp_type == "LogAppendTime"

    @property
    def compression_level(self) -> int | None:
        """Level of the codec that batches are stored with; None when it has none."""
        if self.compression_type == "gzip":
            return self.compression_gzip_level
        if self.compression_type == "lz4":
            return self.compression_lz4_level
        if self.compression_type == "zstd":
            return self.compression_zstd_level
        return None

    @property
    def effective_segment_bytes(self) -> int:
        """The size at which segments roll; the internal config, made for tests, goes first."""
        return (
            self.segment_bytes
            if self.internal_segment_bytes is None
            else (self.internal_segment_bytes)
        )

    @classmethod
    def resolve(
        cls, overrides: Mapping[str, str] | None = None, layers: BrokerLayers | None = None
    ) -> TopicConfig:
        """The values that hold for a topic with `overrides` on a broker with `layers`.

        Names that Kafka does not know are ignored (they were refused when they were set); a value
        that cannot be parsed raises ConfigValueError.
        """
        own = overrides or {}
        below = layers or BrokerLayers()
        values = {
            _ATTRIBUTES[name]: effective_value(definition, own.get(name), below)
            for name, definition in TOPIC_CONFIGS.items()
        }
        return cls(**values)  # type: ignore[arg-type]


_ATTRIBUTES: dict[str, str] = {name: name.replace(".", "_") for name in TOPIC_CONFIGS}


def effective_value(
    definition: ConfigDef, override: str | None, layers: BrokerLayers
) -> ConfigValue:
    """The typed value of one topic config: override, else the broker's, else the default."""
    if override is not None:
        return parse_value(definition, override)
    for entry in layers.entries(tuple(synonym.name for synonym in definition.synonyms)):
        factor = next(s.factor for s in definition.synonyms if s.name == entry.name)
        value = parse_value(BROKER_CONFIGS[entry.name], entry.value)
        if isinstance(value, int) and isinstance(definition.validator, Range):
            # The broker's config may have wider bounds: what is below the topic's least is the
            # least. So -2 ms means no limit, as -1 ms does, and -1 hours.
            scaled, least = value * factor, definition.validator.low
            return scaled if least is None or scaled >= least else int(least)
        return parse_value(definition, entry.value)
    return parse_value(definition, definition.default)


def validate_overrides(overrides: Mapping[str, str]) -> None:
    """Checks configs that a user gives a topic, each alone and those that depend on each other.

    Raises UnknownConfigError or ConfigValueError; both are INVALID_CONFIG on the wire.
    """
    for name, text in overrides.items():
        definition = TOPIC_CONFIGS.get(name)
        if definition is None:
            raise UnknownConfigError("topic", name)
        parse_value(definition, text)


assert {f.name for f in fields(TopicConfig)} == set(_ATTRIBUTES.values())
