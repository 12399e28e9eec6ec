"""Broker configs of listeners, connections, requests, quotas and metrics.

Facts (name, type, default, range, update mode) are those of Apache Kafka 4.3.1. Data only, owned
by no process; see `broker_configs` for what is made of it and where Tidelog differs.
"""

from __future__ import annotations

from tidelog.config.definition import INT_MAX, ConfigType, Importance, Row, UpdateMode
from tidelog.config.validators import (
    ANY,
    ANY_LIST,
    NON_EMPTY_LIST,
    NULL_OR_LIST,
    NULL_OR_NON_EMPTY_LIST,
    at_least,
)

CLASS = ConfigType.CLASS
INT = ConfigType.INT
LIST = ConfigType.LIST
LONG = ConfigType.LONG
STRING = ConfigType.STRING
HIGH = Importance.HIGH
LOW = Importance.LOW
MEDIUM = Importance.MEDIUM
CLUSTER_WIDE = UpdateMode.CLUSTER_WIDE
PER_BROKER = UpdateMode.PER_BROKER
READ_ONLY = UpdateMode.READ_ONLY

# One row a config, wrapped by hand: name, type, default, allowed values, importance, update
# mode, and below them what it means.
# fmt: off
ROWS: tuple[Row, ...] = (
    ("advertised.listeners", LIST, None, NULL_OR_NON_EMPTY_LIST, HIGH, READ_ONLY,
     "Addresses told to clients; not set, each client is told the address it connected to."),
    ("background.threads", INT, 10, at_least(1), HIGH, CLUSTER_WIDE,
     "Threads for work beside requests."),
    ("client.quota.callback.class", CLASS, None, ANY, LOW, READ_ONLY,
     "Plug-in class that decides client quotas."),
    ("config.providers", LIST, "", ANY_LIST, LOW, CLUSTER_WIDE,
     "Names of plug-ins that look up values held outside the configuration."),
    ("connections.max.idle.ms", LONG, 600000, ANY, MEDIUM, READ_ONLY,
     "Silence after which a connection is closed."),
    ("delete.records.purgatory.purge.interval.requests", INT, 1, ANY, MEDIUM, READ_ONLY,
     "Finished DeleteRecords requests after which their waiting list is tidied."),
    ("early.start.listeners", LIST, None, NULL_OR_LIST, HIGH, READ_ONLY,
     "Listeners that may open before the authorizer is ready."),
    ("fetch.max.bytes", INT, 57671680, at_least(1024), MEDIUM, READ_ONLY,
     "Most bytes of one fetch answer, whatever the client asked for."),
    ("fetch.purgatory.purge.interval.requests", INT, 1000, ANY, MEDIUM, READ_ONLY,
     "Finished fetch requests after which their waiting list is tidied."),
    ("inter.broker.listener.name", STRING, None, ANY, MEDIUM, READ_ONLY,
     "Listener over which brokers talk to each other."),
    ("kafka.metrics.polling.interval.secs", INT, 10, at_least(1), LOW, READ_ONLY,
     "How often reporters of server metrics are polled."),
    ("kafka.metrics.reporters", LIST, "", ANY_LIST, LOW, READ_ONLY,
     "Plug-in classes that report server metrics."),
    ("listener.security.protocol.map", STRING,
     "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,"
     "SASL_PLAINTEXT:SASL_PLAINTEXT",
     ANY, LOW, PER_BROKER,
     "Security protocol of each listener name."),
    ("listeners", LIST, "PLAINTEXT://:9092", NON_EMPTY_LIST, HIGH, PER_BROKER,
     "Addresses on which the broker listens, as NAME://host:port."),
    ("max.connection.creation.rate", INT, INT_MAX, at_least(0), MEDIUM, CLUSTER_WIDE,
     "New connections a second that the broker takes."),
    ("max.connections", INT, INT_MAX, at_least(0), MEDIUM, CLUSTER_WIDE,
     "Most connections that the broker holds."),
    ("max.connections.per.ip", INT, INT_MAX, at_least(0), MEDIUM, CLUSTER_WIDE,
     "Most connections from one address."),
    ("max.connections.per.ip.overrides", STRING, "", ANY, MEDIUM, CLUSTER_WIDE,
     "Other limits for single addresses, as address:limit pairs."),
    ("max.incremental.fetch.session.cache.slots", INT, 1000, at_least(0), MEDIUM, READ_ONLY,
     "Most fetch sessions that the broker remembers."),
    ("max.request.partition.size.limit", INT, 2000, at_least(1), MEDIUM, READ_ONLY,
     "Most partitions served in one DescribeTopicPartitions answer."),
    ("metric.reporters", LIST, "org.apache.kafka.common.metrics.JmxReporter",
     ANY_LIST, LOW, CLUSTER_WIDE,
     "Plug-in classes that report metrics."),
    ("metrics.num.samples", INT, 2, at_least(1), LOW, READ_ONLY,
     "Samples kept to compute a metric."),
    ("metrics.recording.level", STRING, "INFO", ANY, LOW, READ_ONLY,
     "Most detailed level of metrics that is recorded."),
    ("metrics.sample.window.ms", LONG, 30000, at_least(1), LOW, READ_ONLY,
     "Length of one sample of a metric."),
    ("num.io.threads", INT, 8, at_least(1), HIGH, CLUSTER_WIDE,
     "Threads that handle requests."),
    ("num.network.threads", INT, 3, at_least(1), HIGH, CLUSTER_WIDE,
     "Threads that read and write sockets."),
    ("producer.purgatory.purge.interval.requests", INT, 1000, ANY, MEDIUM, READ_ONLY,
     "Finished produce requests after which their waiting list is tidied."),
    ("queued.max.request.bytes", LONG, -1, ANY, MEDIUM, READ_ONLY,
     "Bytes of waiting requests beyond which no more are read; -1 is no limit."),
    ("queued.max.requests", INT, 500, at_least(1), HIGH, READ_ONLY,
     "Waiting requests beyond which no more are read."),
    ("quota.window.num", INT, 11, at_least(1), LOW, READ_ONLY,
     "Samples kept to measure client quotas."),
    ("quota.window.size.seconds", INT, 1, at_least(1), LOW, READ_ONLY,
     "Length of one sample when client quotas are measured."),
    ("request.timeout.ms", INT, 30000, ANY, HIGH, READ_ONLY,
     "Time for which an answer from another node is waited for."),
    ("socket.connection.setup.timeout.max.ms", LONG, 30000, ANY, MEDIUM, READ_ONLY,
     "Longest time to set up a connection to another node, after repeated failures."),
    ("socket.connection.setup.timeout.ms", LONG, 10000, ANY, MEDIUM, READ_ONLY,
     "Time to set up a connection to another node."),
    ("socket.listen.backlog.size", INT, 50, at_least(1), MEDIUM, READ_ONLY,
     "Connections that may wait to be accepted."),
    ("socket.receive.buffer.bytes", INT, 102400, ANY, HIGH, READ_ONLY,
     "Receive buffer of a client's connection; -1 leaves it to the system."),
    ("socket.request.max.bytes", INT, 104857600, at_least(1), HIGH, READ_ONLY,
     "Largest request that is read; a larger one closes its connection."),
    ("socket.send.buffer.bytes", INT, 102400, ANY, HIGH, READ_ONLY,
     "Send buffer of a client's connection; -1 leaves it to the system."),
    ("telemetry.max.bytes", INT, 1048576, at_least(1), LOW, READ_ONLY,
     "Largest metrics message taken from a client."),
)
# fmt: on
