"""All broker configs by name: Kafka's, with the defaults where Tidelog differs, and Tidelog's own.

Data and look-ups only, owned by no process. The facts stand in `tables`; a config gets
`effect="full"` by being named in `effects.BROKER_EFFECTS`.
"""

from __future__ import annotations

from tidelog.config.definition import ConfigDef, Default, UpdateMode, format_value, make
from tidelog.config.effects import BROKER_EFFECTS
from tidelog.config.tables.broker_cluster import ROWS as CLUSTER_ROWS
from tidelog.config.tables.broker_groups import ROWS as GROUP_ROWS
from tidelog.config.tables.broker_log import ROWS as LOG_ROWS
from tidelog.config.tables.broker_network import ROWS as NETWORK_ROWS
from tidelog.config.tables.broker_security import ROWS as SECURITY_ROWS
from tidelog.config.tables.broker_tidelog import ROWS as TIDELOG_ROWS

#: Prefix of the configs that Kafka does not have. Unknown names below it are errors.
OWN_PREFIX = "tidelog."

#: Defaults that differ from Kafka's, each with its reason.
DEFAULT_DIFFERENCES: dict[str, tuple[Default, str]] = {
    "group.initial.rebalance.delay.ms": (
        0,
        "a single test or tool should not wait three seconds for members that never come",
    ),
    "offsets.topic.replication.factor": (1, "one worker is a whole cluster by default"),
    "transaction.state.log.replication.factor": (1, "one worker is a whole cluster by default"),
    "transaction.state.log.min.isr": (1, "one worker is a whole cluster by default"),
    "share.coordinator.state.topic.replication.factor": (
        1,
        "one worker is a whole cluster by default",
    ),
    "share.coordinator.state.topic.min.isr": (1, "one worker is a whole cluster by default"),
    "socket.send.buffer.bytes": (204800, "twice the rate of large fetches: see ADR 0011"),
    "socket.receive.buffer.bytes": (-1, "large requests come in fewer calls: see ADR 0011"),
}

#: Not listed in DescribeConfigs unless set: switches for tests and work behind the scenes.
INTERNAL_NAMES = frozenset(
    {
        "controller.performance.always.log.threshold.ms",
        "controller.performance.sample.period.ms",
        "group.consumer.regex.refresh.interval.ms",
        "group.share.initialize.retry.interval.ms",
        "group.share.persister.class.name",
        "internal.metadata.delete.delay.millis",
        "internal.metadata.log.segment.bytes",
        "internal.metadata.max.batch.size.in.bytes",
        "log.initial.task.delay.ms",
        "producer.id.expiration.check.interval.ms",
        "remote.log.index.file.cache.ttl.ms",
        "remote.log.manager.task.retry.backoff.max.ms",
        "remote.log.manager.task.retry.backoff.ms",
        "remote.log.manager.task.retry.jitter",
        "server.max.startup.time.ms",
        "share.coordinator.cold.partition.snapshot.interval.ms",
        "share.coordinator.state.topic.prune.interval.ms",
        "unclean.leader.election.interval.ms",
        "unstable.api.versions.enable",
        "unstable.feature.versions.enable",
    }
)

#: Only ever set at runtime, and listed in DescribeConfigs only where they are set.
DYNAMIC_ONLY_NAMES = frozenset(
    {
        "follower.replication.throttled.rate",
        "leader.replication.throttled.rate",
        "replica.alter.log.dirs.io.max.bytes.per.second",
    }
)

#: Configs that say the same in different units: the first one that is set wins.
SYNONYM_GROUPS: tuple[tuple[str, ...], ...] = (
    ("log.retention.ms", "log.retention.minutes", "log.retention.hours"),
    ("log.roll.ms", "log.roll.hours"),
    ("log.roll.jitter.ms", "log.roll.jitter.hours"),
    ("log.flush.interval.ms", "log.flush.scheduler.interval.ms"),
)
#: By name, the names that may give it its value, strongest first. As in Kafka the scheduler's
#: interval is only a fallback for log.flush.interval.ms and stands alone itself.
SYNONYMS: dict[str, tuple[str, ...]] = {
    name: group
    for group in SYNONYM_GROUPS
    for name in group
    if name != "log.flush.scheduler.interval.ms"
}


def _build() -> dict[str, ConfigDef]:
    table: dict[str, ConfigDef] = {}
    for rows in (
        NETWORK_ROWS,
        LOG_ROWS,
        GROUP_ROWS,
        CLUSTER_ROWS,
        SECURITY_ROWS,
        TIDELOG_ROWS,
    ):
        for row in rows:
            name = row[0]
            reason = ""
            if name in DEFAULT_DIFFERENCES:
                default, reason = DEFAULT_DIFFERENCES[name]
                row = (name, row[1], default, *row[3:])
            table[name] = make(
                row,
                effect="full" if name in BROKER_EFFECTS else "none yet",
                internal=name in INTERNAL_NAMES,
                default_reason=reason,
            )
    return dict(sorted(table.items()))


#: Every broker config by name, in alphabetical order.
BROKER_CONFIGS: dict[str, ConfigDef] = _build()


def listener_base_name(name: str) -> str | None:
    """The config that `listener.name.<listener>[.<mechanism>].<config>` sets, None if none."""
    if not name.startswith("listener.name."):
        return None
    rest = name[len("listener.name.") :].partition(".")[2]
    while rest:
        if rest in BROKER_CONFIGS:
            return rest
        rest = rest.partition(".")[2]
    return None


def find(name: str) -> ConfigDef | None:
    """The definition that a broker config's name (also one with a listener's prefix) has."""
    definition = BROKER_CONFIGS.get(name)
    if definition is None:
        base = listener_base_name(name)
        definition = BROKER_CONFIGS[base] if base is not None else None
    return definition


def update_mode(name: str) -> UpdateMode:
    """How a broker config may change at runtime; unknown names can be set, as in Kafka."""
    if name.startswith("listener.name."):
        return UpdateMode.PER_BROKER
    definition = find(name)
    return definition.update_mode if definition is not None else UpdateMode.CLUSTER_WIDE


def default_text(name: str) -> str | None:
    return BROKER_CONFIGS[name].default


__all__ = [
    "BROKER_CONFIGS",
    "DEFAULT_DIFFERENCES",
    "DYNAMIC_ONLY_NAMES",
    "INTERNAL_NAMES",
    "OWN_PREFIX",
    "SYNONYMS",
    "default_text",
    "find",
    "format_value",
    "listener_base_name",
    "update_mode",
]
