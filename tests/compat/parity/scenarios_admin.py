"""Configs, log directories and producers as administrators see them."""

from __future__ import annotations

from tests.compat.parity.batches import Batch
from tests.compat.parity.scenarios_produce import new_producer, producing
from tests.compat.parity.session import Session, observe, scenario, wait_until
from tidelog.protocol.messages.alter_configs import (
    AlterableConfig,
    AlterConfigsRequest,
    AlterConfigsResource,
)
from tidelog.protocol.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResponse,
    DescribeConfigsResult,
)
from tidelog.protocol.messages.describe_log_dirs import (
    DescribableLogDirTopic,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
)
from tidelog.protocol.messages.describe_producers import DescribeProducersRequest, TopicRequest
from tidelog.protocol.messages.incremental_alter_configs import (
    AlterableConfig as IncrementalConfig,
)
from tidelog.protocol.messages.incremental_alter_configs import (
    AlterConfigsResource as IncrementalResource,
)
from tidelog.protocol.messages.incremental_alter_configs import IncrementalAlterConfigsRequest
from tidelog.protocol.messages.produce import ProduceResponse

#: Has a value of its own at the reference because of a feature that Tidelog does not have.
LEFT_OUT = {"min.insync.replicas"}


def describe(
    s: Session, kind: int, name: str, keys: list[str] | None = None, version: int = 4
) -> DescribeConfigsResult:
    request = DescribeConfigsRequest(
        resources=[
            DescribeConfigsResource(resource_type=kind, resource_name=name, configuration_keys=keys)
        ],
        include_synonyms=True,
    )
    return s.call(request, version, DescribeConfigsResponse).results[0]


def entries(result: DescribeConfigsResult, version: int = 4) -> object:
    result.configs = sorted(
        (c for c in result.configs if c.name not in LEFT_OUT), key=lambda c: c.name
    )
    for config in result.configs:
        config.documentation = None
    return observe(result, version)


@scenario
def describe_configs(s: Session) -> None:
    """Configs of topics, brokers, groups and what does not exist."""
    s.create("dc", retention_ms="1000")
    for version in range(1, 5):
        s.note(f"topic v{version}", entries(describe(s, 2, "dc", version=version), version))
    s.note("one key", entries(describe(s, 2, "dc", ["retention.ms", "nope"])))
    s.note("no keys", len(describe(s, 2, "dc", []).configs))
    for label, kind, name in (
        ("unknown topic", 2, "no-such"),
        ("bad topic name", 2, "a b"),
        ("empty topic name", 2, ""),
        ("another broker", 4, "99"),
        ("broker that is no number", 4, "x"),
        ("another broker's loggers", 8, "99"),
        ("group", 32, "some-group"),
        ("empty group", 32, ""),
        ("client metrics", 16, "some"),
        ("empty client metrics", 16, ""),
        ("resource type 0", 0, "x"),
        ("resource type 99", 99, "x"),
    ):
        s.note(label, entries(describe(s, kind, name)))
    broker = describe(s, 4, "1")
    s.note(
        "broker",
        sorted(
            [c.name, c.config_type, c.read_only, c.is_sensitive]
            for c in broker.configs
            if not c.name.startswith("tidelog.")
        ),
    )
    chosen = ["log.retention.ms", "log.retention.hours", "message.max.bytes", "log.cleanup.policy"]
    s.note("keys of a broker", entries(describe(s, 4, "1", chosen)))


def altering(
    s: Session,
    label: str,
    kind: int,
    name: str,
    *changes: tuple[str, int, str | None],
    only: bool = False,
) -> None:
    """Observes IncrementalAlterConfigs of one resource; changes are (name, operation, value)."""
    configs = [
        IncrementalConfig(name=key, config_operation=operation, value=value)
        for key, operation, value in changes
    ]
    resource = IncrementalResource(resource_type=kind, resource_name=name, configs=configs)
    s.ask(label, IncrementalAlterConfigsRequest(resources=[resource], validate_only=only), 1)


def wait_value(s: Session, topic: str, key: str, value: str) -> None:
    """Returns when a topic's config has a value."""

    def there() -> bool:
        return describe(s, 2, topic, [key]).configs[0].value == value

    wait_until(there, f"{key} of {topic} does not become {value}")


@scenario
def incremental_alter_configs(s: Session) -> None:
    """Changes of a topic's configs, and of what it takes over from its broker."""
    s.create("ia", retention_ms="1000")
    policy = "cleanup.policy"
    altering(s, "validate only", 2, "ia", ("retention.ms", 0, "7"), only=True)
    altering(s, "append", 2, "ia", (policy, 2, "compact"))
    wait_value(s, "ia", policy, "delete,compact")
    s.note("appended", entries(describe(s, 2, "ia", [policy, "retention.ms"])))
    altering(s, "append again", 2, "ia", (policy, 2, "compact"))
    changes: tuple[tuple[str, int, str | None], ...] = (
        (policy, 3, "delete"),
        ("retention.ms", 1, None),
    )
    altering(s, "subtract and delete", 2, "ia", *changes)
    wait_value(s, "ia", policy, "compact")
    s.note("subtracted", entries(describe(s, 2, "ia", [policy, "retention.ms"])))
    twice = (("retention.ms", 0, "1"), ("retention.ms", 0, "2"))
    altering(s, "a key twice", 2, "ia", *twice)
    altering(s, "all brokers", 4, "", ("log.retention.ms", 0, "99999"))
    wait_value(s, "ia", "retention.ms", "99999")
    s.note("all brokers' configs", entries(describe(s, 4, "", ["log.retention.ms"])))
    altering(s, "broker", 4, "1", ("log.retention.ms", 0, "88888"))
    wait_value(s, "ia", "retention.ms", "88888")
    s.note("from the broker", entries(describe(s, 2, "ia", ["retention.ms"])))
    altering(s, "back", 4, "1", ("log.retention.ms", 1, None))
    altering(s, "back for all", 4, "", ("log.retention.ms", 1, None))
    wait_value(s, "ia", "retention.ms", "604800000")
    s.note("the default again", entries(describe(s, 2, "ia", ["retention.ms"])))


@scenario
def incremental_alter_refusals(s: Session) -> None:
    """Changes that are refused, for every kind of resource."""
    s.create("iar", retention_ms="1000")
    for label, kind, name, change in (
        ("append to no list", 2, "iar", ("retention.ms", 2, "1")),
        ("subtract from no list", 2, "iar", ("retention.ms", 3, "1")),
        ("set to null", 2, "iar", ("retention.ms", 0, None)),
        ("set to nothing", 2, "iar", ("retention.ms", 0, "")),
        ("unknown name", 2, "iar", ("nope", 0, "1")),
        ("delete an unknown name", 2, "iar", ("nope", 1, None)),
        ("unknown topic", 2, "no-such", ("retention.ms", 0, "1")),
        ("bad topic name", 2, "a b", ("retention.ms", 0, "1")),
        ("no topic name", 2, "", ("retention.ms", 0, "1")),
        ("bad value", 2, "iar", ("retention.ms", 0, "abc")),
        ("out of range", 2, "iar", ("segment.bytes", 0, "5")),
        ("broker, not dynamic", 4, "1", ("num.partitions", 0, "3")),
        ("broker, unknown name", 4, "1", ("foo.baz", 0, "3")),
        ("all brokers, one broker's config", 4, "", ("listeners", 0, "PLAINTEXT://:1")),
        ("broker, out of range", 4, "1", ("log.segment.bytes", 0, "1")),
        ("broker, bad value", 4, "1", ("log.segment.bytes", 0, "x")),
        ("broker, no list", 4, "1", ("log.segment.bytes", 2, "1")),
        ("another broker", 4, "77", ("log.segment.bytes", 0, "3000000")),
        ("group, out of bounds", 32, "ia-g", ("consumer.session.timeout.ms", 0, "5")),
        ("group", 32, "ia-g", ("consumer.session.timeout.ms", 0, "50000")),
        ("group, unknown name", 32, "ia-g", ("nope", 0, "5")),
        ("client metrics", 16, "ia-m", ("interval.ms", 0, "500")),
        ("client metrics, out of range", 16, "ia-m", ("interval.ms", 0, "50")),
        ("client metrics, bad match", 16, "ia-m", ("match", 0, "foo=a")),
        ("resource type 1", 1, "x", ("a", 0, "b")),
        ("resource type 77", 77, "x", ("a", 0, "b")),
    ):
        altering(s, label, kind, name, change)


@scenario
def alter_configs(s: Session) -> None:
    """AlterConfigs replaces all configs of a resource."""
    s.create("ac", retention_ms="1000", segment_ms="5000")

    def alter(
        label: str,
        name: str,
        *configs: tuple[str, str | None],
        version: int = 2,
        only: bool = False,
    ) -> None:
        request = AlterConfigsRequest(
            resources=[
                AlterConfigsResource(
                    resource_type=2,
                    resource_name=name,
                    configs=[AlterableConfig(name=k, value=v) for k, v in configs],
                )
            ],
            validate_only=only,
        )
        s.ask(label, request, version)

    alter("validate only", "ac", ("retention.ms", "7"), only=True)
    alter("replace", "ac", ("retention.ms", "5555"))
    wait_until(
        lambda: describe(s, 2, "ac", ["retention.ms"]).configs[0].value == "5555", "not replaced"
    )
    s.note("replaced", entries(describe(s, 2, "ac", ["retention.ms", "segment.ms"])))
    alter("v0", "ac", ("retention.ms", "5555"), version=0)
    alter("v1", "ac", ("retention.ms", "5555"), version=1)
    alter("null value", "ac", ("retention.ms", None))
    alter("bad value", "ac", ("retention.ms", "x"))
    alter("unknown name", "ac", ("nope", "x"))
    alter("unknown topic", "no-such", ("retention.ms", "1"))
    alter("nothing", "ac")


@scenario
def describe_log_dirs(s: Session) -> None:
    """Sizes of partitions; all topics, some, none."""
    s.create("dld", 2)
    s.call(producing("dld", Batch().encode()), 9, ProduceResponse)
    request = DescribeLogDirsRequest(
        topics=[
            DescribableLogDirTopic(topic="dld", partitions=[0, 1, 9]),
            DescribableLogDirTopic(topic="no-such", partitions=[0]),
        ]
    )
    for version in range(1, 6):
        s.connection.send(request, version)
        answer = s.connection.answer(request, version)
        assert isinstance(answer, DescribeLogDirsResponse)
        for result in answer.results:
            for topic in result.topics:
                topic.partitions.sort(key=lambda p: p.partition_index)
        s.note(f"v{version}", observe(answer, version))
    s.ask("no topics", DescribeLogDirsRequest(topics=[]), 4)
    everything = s.call(DescribeLogDirsRequest(topics=None), 4, DescribeLogDirsResponse)
    names = [t.name for r in everything.results for t in r.topics]
    s.note("all topics", "dld" in names)


@scenario
def describe_producers(s: Session) -> None:
    """Producers of a partition."""
    s.create("dp")
    s.ask("nobody", DescribeProducersRequest(topics=[_topic("dp", 0)]), 0)
    s.call(producing("dp", Batch().encode()), 9, ProduceResponse)
    s.ask("one without an id", DescribeProducersRequest(topics=[_topic("dp", 0)]), 0)
    data = Batch(producer_id=new_producer(s), producer_epoch=0, base_sequence=0).encode()
    s.call(producing("dp", data), 9, ProduceResponse)
    s.ask("one", DescribeProducersRequest(topics=[_topic("dp", 0)]), 0)
    s.ask("unknown topic", DescribeProducersRequest(topics=[_topic("no-such", 0)]), 0)
    s.ask("unknown partition", DescribeProducersRequest(topics=[_topic("dp", 5)]), 0)
    s.ask("bad name", DescribeProducersRequest(topics=[_topic("a b", 0)]), 0)


def _topic(name: str, partition: int) -> TopicRequest:
    return TopicRequest(name=name, partition_indexes=[partition])
