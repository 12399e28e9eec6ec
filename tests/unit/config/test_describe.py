"""Entries of DescribeConfigs, compared with what a running Kafka 4.3.1 answered."""

from __future__ import annotations

from tests.unit.config.test_broker_configs import FACTS
from tidelog.config.broker_configs import DYNAMIC_ONLY_NAMES
from tidelog.config.definition import ConfigSource
from tidelog.config.describe import (
    ConfigEntry,
    describe_broker,
    describe_client_metrics,
    describe_cluster_default,
    describe_group,
    describe_topic,
)
from tidelog.config.layers import BrokerLayers

TOPIC, BROKER, ALL_BROKERS, STATIC, DEFAULT = (ConfigSource(n) for n in range(1, 6))
LAYERS = BrokerLayers(
    static={"log.retention.minutes": "5", "log.segment.bytes": "2000000", "log.roll.hours": "2"},
    dynamic_default={"log.retention.ms": "99999", "message.max.bytes": "2000000"},
    dynamic={"log.retention.ms": "88888", "log.cleanup.policy": "delete,compact"},
)


def by_name(entries: list[ConfigEntry]) -> dict[str, ConfigEntry]:
    found = {entry.name: entry for entry in entries}
    assert len(found) == len(entries)
    return found


def test_defaults_of_a_topic() -> None:
    entries = by_name(describe_topic({}, BrokerLayers()))
    assert set(entries) == {f["name"] for f in FACTS["topic"] if not f["internal"]}
    for fact in FACTS["topic"]:
        if not fact["internal"]:
            entry = entries[fact["name"]]
            assert (entry.value, entry.source, entry.read_only) == (fact["default"], 5, False)
            assert entry.is_default
    assert entries["retention.bytes"].synonyms == (("log.retention.bytes", "-1", DEFAULT),)
    # Configs with several synonyms, of which the first has no default, list none.
    for name in ("flush.ms", "segment.ms", "segment.jitter.ms"):
        assert entries[name].synonyms == (), name
    assert entries["remote.storage.enable"].synonyms == ()
    assert entries["cleanup.policy"].type == 7
    assert entries["retention.ms"].doc


def test_a_topic_over_all_layers() -> None:
    overrides = {"retention.ms": " 1000 ", "segment.bytes": "2000001"}
    entries = by_name(describe_topic(overrides, LAYERS))
    retention = entries["retention.ms"]
    assert (retention.value, retention.source) == ("1000", TOPIC)
    assert retention.synonyms == (
        ("retention.ms", "1000", TOPIC),
        ("log.retention.ms", "88888", BROKER),
        ("log.retention.ms", "99999", ALL_BROKERS),
        ("log.retention.minutes", "5", STATIC),
        ("log.retention.hours", "168", DEFAULT),
    )
    assert entries["segment.bytes"].synonyms == (
        ("segment.bytes", "2000001", TOPIC),
        ("log.segment.bytes", "2000000", STATIC),
        ("log.segment.bytes", "1073741824", DEFAULT),
    )
    assert (entries["segment.ms"].value, entries["segment.ms"].source) == ("7200000", STATIC)
    assert entries["max.message.bytes"].source == ALL_BROKERS
    assert entries["cleanup.policy"].value == "delete,compact"


def test_keys_choose() -> None:
    assert set(by_name(describe_topic({}, LAYERS, ["retention.ms", "nope"]))) == {"retention.ms"}
    assert len(describe_topic({}, LAYERS, [])) == len(describe_topic({}, LAYERS, None))
    assert "internal.segment.bytes" not in by_name(describe_topic({}, LAYERS))
    internal = by_name(describe_topic({"internal.segment.bytes": "5000"}, LAYERS))
    assert internal["internal.segment.bytes"].synonyms == (
        ("internal.segment.bytes", "5000", TOPIC),
    )


def test_defaults_of_a_broker() -> None:
    entries = by_name(describe_broker(BrokerLayers()))
    theirs = {
        f["name"]: f
        for f in FACTS["broker"]
        if not f["internal"] and f["name"] not in DYNAMIC_ONLY_NAMES
    }
    rate = "leader.replication.throttled.rate"
    throttled = BrokerLayers(dynamic={rate: "5"}, dynamic_default={rate: "6"})
    assert by_name(describe_broker(throttled))[rate].synonyms == (
        (rate, "5", BROKER),
        (rate, "6", ALL_BROKERS),
    )
    assert set(theirs) == {n for n in entries if not n.startswith("tidelog.")}
    for name, fact in theirs.items():
        assert entries[name].read_only == (fact["mode"] == "read-only"), name
        assert entries[name].sensitive == (fact["type"] == "PASSWORD"), name
        assert entries[name].source == DEFAULT
    assert entries["log.retention.ms"].value is None
    assert entries["log.retention.ms"].synonyms == ()
    assert entries["log.retention.hours"].synonyms == (("log.retention.hours", "168", DEFAULT),)


def test_a_broker_over_all_layers() -> None:
    static = {"ssl.keystore.password": "secret", "plug.in": "1", "node.id": "1"}
    layers = BrokerLayers(
        static={**LAYERS.static, **static},
        dynamic_default=LAYERS.dynamic_default,
        dynamic={**LAYERS.dynamic, "listener.name.a.ssl.keystore.type": "JKS"},
    )
    entries = by_name(describe_broker(layers))
    assert entries["log.retention.ms"].synonyms[0] == ("log.retention.ms", "88888", BROKER)
    assert entries["log.retention.ms"].synonyms[-1] == ("log.retention.hours", "168", DEFAULT)
    assert entries["node.id"].source == STATIC
    secret = entries["ssl.keystore.password"]
    assert (secret.value, secret.sensitive, secret.source) == (None, True, STATIC)
    assert secret.synonyms == (("ssl.keystore.password", None, STATIC),)
    unknown = entries["plug.in"]
    assert (unknown.value, unknown.sensitive, unknown.type, unknown.read_only) == (
        None,
        True,
        0,
        True,
    )
    of_listener = entries["listener.name.a.ssl.keystore.type"]
    assert (of_listener.value, of_listener.type, of_listener.read_only) == ("JKS", 2, False)


def test_the_cluster_default_lists_what_is_set() -> None:
    entries = describe_cluster_default({**LAYERS.dynamic_default, "x.y": "1"})
    assert [(e.name, e.value, e.source) for e in entries] == [
        ("log.retention.ms", "99999", ALL_BROKERS),
        ("message.max.bytes", "2000000", ALL_BROKERS),
        ("x.y", None, ALL_BROKERS),
    ]
    assert not describe_cluster_default({})


def test_a_group() -> None:
    entries = by_name(describe_group({"consumer.session.timeout.ms": "50000"}, BrokerLayers()))
    assert len(entries) == len(FACTS["group"])
    session = entries["consumer.session.timeout.ms"]
    assert session.source == ConfigSource.GROUP
    assert session.synonyms == (
        ("consumer.session.timeout.ms", "50000", ConfigSource.GROUP),
        ("group.consumer.session.timeout.ms", "45000", DEFAULT),
    )
    assert entries["share.isolation.level"].synonyms == (
        ("share.isolation.level", "read_uncommitted", DEFAULT),
    )


def test_client_metrics() -> None:
    entries = by_name(describe_client_metrics({"interval.ms": "500"}))
    assert entries["interval.ms"].synonyms == (("interval.ms", "500", ConfigSource.CLIENT_METRICS),)
    assert (entries["match"].value, entries["match"].synonyms) == ("", ())
    assert len(entries) == 3
