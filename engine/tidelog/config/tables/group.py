"""Configs of groups (resource type 32), as rows of facts.

Facts (name, type, default, range, update mode) are those of Apache Kafka 4.3.1. Data only, owned
by no process; see `group_configs` for what is made of it and where Tidelog differs.
"""

from __future__ import annotations

from tidelog.config.definition import ConfigType, Importance, Row, UpdateMode
from tidelog.config.validators import ANY, ShareOffsetReset, at_least, one_of

BOOLEAN = ConfigType.BOOLEAN
INT = ConfigType.INT
STRING = ConfigType.STRING
MEDIUM = Importance.MEDIUM
CLUSTER_WIDE = UpdateMode.CLUSTER_WIDE

# One row a config, wrapped by hand: name, type, default, allowed values, importance, update
# mode, and below them what it means.
# fmt: off
ROWS: tuple[Row, ...] = (
    ("consumer.assignment.interval.ms", INT, 1000, at_least(0), MEDIUM, CLUSTER_WIDE,
     "Least time between two assignments computed for this consumer group."),
    ("consumer.heartbeat.interval.ms", INT, 5000, at_least(1), MEDIUM, CLUSTER_WIDE,
     "Heartbeat interval that this consumer group's members are told to keep."),
    ("consumer.session.timeout.ms", INT, 45000, at_least(1), MEDIUM, CLUSTER_WIDE,
     "Silence after which a member of this consumer group counts as gone."),
    ("share.assignment.interval.ms", INT, 1000, at_least(0), MEDIUM, CLUSTER_WIDE,
     "Least time between two assignments computed for this share group."),
    ("share.auto.offset.reset", STRING, "latest", ShareOffsetReset(), MEDIUM, CLUSTER_WIDE,
     "Where this share group starts on a partition that it has not read yet."),
    ("share.delivery.count.limit", INT, 5, at_least(2), MEDIUM, CLUSTER_WIDE,
     "Deliveries after which a record that was never accepted is given up."),
    ("share.heartbeat.interval.ms", INT, 5000, at_least(1), MEDIUM, CLUSTER_WIDE,
     "Heartbeat interval that this share group's members are told to keep."),
    ("share.isolation.level", STRING, "read_uncommitted",
     one_of("read_committed", "read_uncommitted"), MEDIUM, CLUSTER_WIDE,
     "Whether this share group sees records of open and aborted transactions."),
    ("share.partition.max.record.locks", INT, 2000, at_least(100), MEDIUM, CLUSTER_WIDE,
     "Records of one partition that this share group may hold locked at once."),
    ("share.record.lock.duration.ms", INT, 30000, at_least(1000), MEDIUM, CLUSTER_WIDE,
     "How long a delivered record stays reserved for its consumer."),
    ("share.renew.acknowledge.enable", BOOLEAN, True, ANY, MEDIUM, CLUSTER_WIDE,
     "Whether consumers of this share group may prolong the lock of a record."),
    ("share.session.timeout.ms", INT, 45000, at_least(1), MEDIUM, CLUSTER_WIDE,
     "Silence after which a member of this share group counts as gone."),
    ("streams.assignment.interval.ms", INT, 1000, at_least(0), MEDIUM, CLUSTER_WIDE,
     "Least time between two assignments computed for this streams group."),
    ("streams.heartbeat.interval.ms", INT, 5000, at_least(1), MEDIUM, CLUSTER_WIDE,
     "Heartbeat interval that this streams group's members are told to keep."),
    ("streams.initial.rebalance.delay.ms", INT, 3000, at_least(0), MEDIUM, CLUSTER_WIDE,
     "Wait for further members before a new streams group's first assignment."),
    ("streams.num.standby.replicas", INT, 0, at_least(0), MEDIUM, CLUSTER_WIDE,
     "Standby copies of each task in this streams group."),
    ("streams.session.timeout.ms", INT, 45000, at_least(1), MEDIUM, CLUSTER_WIDE,
     "Silence after which a member of this streams group counts as gone."),
)
# fmt: on
