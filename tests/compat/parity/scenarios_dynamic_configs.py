"""Broker configs that change while the broker runs: of one broker, of all, and what is refused."""

from __future__ import annotations

from tests.compat.parity.scenarios_admin import altering, describe, entries
from tests.compat.parity.session import Session, observe, scenario, wait_until
from tidelog.protocol.messages.alter_configs import (
    AlterableConfig,
    AlterConfigsRequest,
    AlterConfigsResource,
    AlterConfigsResponse,
)


def wait_broker(s: Session, key: str, value: str | None) -> None:
    """Returns when the broker's config has a value."""

    def there() -> bool:
        found = describe(s, 4, "1", [key]).configs
        return bool(found) and found[0].value == value

    wait_until(there, f"{key} does not become {value}")


@scenario
def dynamic_broker_configs(s: Session) -> None:
    """Layers, sources and synonyms, as values come and go."""
    key = "max.connections.per.ip"
    s.note("default", entries(describe(s, 4, "1", [key])))
    altering(s, "all brokers", 4, "", (key, 0, "1000001"))
    wait_broker(s, key, "1000001")
    s.note("for all", entries(describe(s, 4, "1", [key])))
    altering(s, "one broker", 4, "1", (key, 0, "1000002"))
    wait_broker(s, key, "1000002")
    s.note("for one", entries(describe(s, 4, "1", [key])))
    s.note("all brokers still", entries(describe(s, 4, "", [])))
    altering(s, "delete all's", 4, "", (key, 1, None))
    altering(s, "delete one's", 4, "1", (key, 1, None))
    wait_broker(s, key, "2147483647")
    s.note("default again", entries(describe(s, 4, "1", [key])))
    s.note("all brokers no more", entries(describe(s, 4, "", [])))

    overrides = "max.connections.per.ip.overrides"
    altering(s, "overrides", 4, "", (overrides, 0, "10.0.0.1:5,10.0.0.2:7"))
    wait_broker(s, overrides, "10.0.0.1:5,10.0.0.2:7")
    s.note("overridden", entries(describe(s, 4, "1", [overrides])))
    altering(s, "overrides back", 4, "", (overrides, 1, None))
    wait_broker(s, overrides, "")

    altering(s, "validate only", 4, "", (key, 0, "5"), only=True)
    s.note("validated only", entries(describe(s, 4, "1", [key])))


@scenario
def dynamic_broker_refusals(s: Session) -> None:
    """Values and names that are not taken."""
    for label, name, change in (
        ("read-only", "", ("num.partitions", 0, "3")),
        ("read-only of one", "1", ("quota.window.num", 0, "3")),
        ("delete read-only", "1", ("num.partitions", 1, None)),
        ("no number", "", ("max.connections", 0, "x")),
        ("negative", "", ("max.connections", 0, "-1")),
        ("zero per ip", "", ("max.connections.per.ip", 0, "0")),
        ("bad overrides", "", ("max.connections.per.ip.overrides", 0, "10.0.0.1")),
        ("overrides without a number", "", ("max.connections.per.ip.overrides", 0, "10.0.0.1:x")),
        ("bad creation rate", "", ("max.connection.creation.rate", 0, "-5")),
        ("bad cleanup policy", "", ("log.cleanup.policy", 0, "nope")),
        ("bad compression", "", ("compression.type", 0, "nope")),
        ("bad level", "", ("compression.gzip.level", 0, "77")),
        ("append to a list", "", ("log.cleanup.policy", 2, "compact")),
        ("append to a number", "", ("max.connections", 2, "5")),
        ("group read-only", "", ("group.max.size", 0, "5")),
        ("unknown", "", ("tide.nope", 0, "5")),
        ("no such broker", "5", ("max.connections", 0, "5")),
        ("broker that is no number", "x", ("max.connections", 0, "5")),
    ):
        altering(s, label, 4, name, change, only=True)


@scenario
def replaced_broker_configs(s: Session) -> None:
    """AlterConfigs of a broker: what is not named is gone."""

    def replace(label: str, name: str, **configs: str) -> None:
        request = AlterConfigsRequest(
            resources=[
                AlterConfigsResource(
                    resource_type=4,
                    resource_name=name,
                    configs=[
                        AlterableConfig(name=key.replace("_", "."), value=value)
                        for key, value in configs.items()
                    ],
                )
            ]
        )
        answer = s.call(request, 2, AlterConfigsResponse)
        s.note(label, observe(answer, 2))

    # (Of one broker: for all of them the reference's features forbid it.)
    replace("two", "1", max_connections="1000003", log_cleaner_threads="2")
    wait_broker(s, "max.connections", "1000003")
    s.note("both", entries(describe(s, 4, "1", ["max.connections", "log.cleaner.threads"])))
    replace("one", "1", log_cleaner_threads="2")
    wait_broker(s, "max.connections", "2147483647")
    s.note("one left", entries(describe(s, 4, "1", ["max.connections", "log.cleaner.threads"])))
    replace("read-only", "1", num_partitions="5")
    replace("none", "1")
    wait_broker(s, "log.cleaner.threads", "1")
    s.note("none left", entries(describe(s, 4, "1", ["max.connections", "log.cleaner.threads"])))
