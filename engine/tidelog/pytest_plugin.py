"""A broker for tests: a pytest plugin that comes with the package.

    def test_something(tidelog_broker, tidelog_topic):
        produce(tidelog_broker.bootstrap_servers, tidelog_topic, b"value")

| fixture | scope | |
|---|---|---|
| `tidelog_broker` | session | a running `tidelog.Broker`; with pytest-xdist one for each worker |
| `tidelog_topic` | function | the name of a topic of this test's own, deleted after it |

Options: `--tidelog-workers N`, `--tidelog-config KEY=VALUE` (may be given many times). The marker
`@pytest.mark.tidelog_topic(partitions=3, configs={...})` says how the topic is made.

pytest loads this module into every test session of an environment that has Tidelog: it must not
import anything of the engine before a fixture is used.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from tidelog.embed import Broker

#: What is left for the test's name: Kafka allows 249 characters, the rest makes it unique.
_NAME_CHARS_MAX: Final = 200
_FOREIGN: Final = re.compile(r"[^a-zA-Z0-9._-]+")
_BROKER: Final = pytest.StashKey["Broker"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options."""
    group = parser.getgroup("tidelog", "a broker for tests (tidelog)")
    group.addoption(
        "--tidelog-workers",
        metavar="N",
        type=int,
        default=1,
        help="worker processes of the broker, each a Kafka node (default: 1)",
    )
    group.addoption(
        "--tidelog-config",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a broker config under Kafka's name; may be given many times",
    )


def pytest_configure(config: pytest.Config) -> None:
    """The marker, for --strict-markers."""
    config.addinivalue_line(
        "markers",
        "tidelog_topic(partitions=1, configs=None): how the fixture tidelog_topic makes the topic",
    )


@pytest.fixture(scope="session")
def tidelog_broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A running broker for all tests of the session, on a free port and a temporary directory."""
    from tidelog.embed import Broker

    options = request.config.option
    configs = parse_configs(options.tidelog_config)
    with Broker(workers=options.tidelog_workers, configs=configs) as broker:
        request.config.stash[_BROKER] = broker
        try:
            yield broker
        finally:
            del request.config.stash[_BROKER]


@pytest.fixture
def tidelog_topic(request: pytest.FixtureRequest, tidelog_broker: Broker) -> Iterator[str]:
    """The name of a fresh, empty topic that no other test uses."""
    marker = request.node.get_closest_marker("tidelog_topic")
    name = topic_name(request.node.name, uuid.uuid4().hex[:12])
    tidelog_broker.create_topic(name, **(marker.kwargs if marker is not None else {}))
    yield name
    if tidelog_broker.is_running:
        from tidelog.errors import KafkaError

        try:
            tidelog_broker.delete_topic(name)
        except KafkaError:
            # The test has deleted it, or forbidden that.
            return


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What the broker complained about stands beside the failure of a test that used it."""
    report = yield
    broker = item.config.stash.get(_BROKER, None)
    used = "tidelog_broker" in getattr(item, "fixturenames", ())
    if report.failed and used and broker is not None and (text := broker.log().strip()):
        report.sections.append(("tidelog broker log", text))
    return report


def parse_configs(given: list[str]) -> dict[str, str]:
    """`KEY=VALUE` texts by key. Raises pytest.UsageError."""
    configs: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise pytest.UsageError(f"--tidelog-config {text}: it is not KEY=VALUE")
        configs[key.strip()] = value.strip()
    return configs


def topic_name(test: str, unique: str) -> str:
    """A legal topic name by which the test can be recognised."""
    return f"{_FOREIGN.sub('-', test).strip('-')[:_NAME_CHARS_MAX]}-{unique}".lstrip("-")
