"""DescribeConfigs: every resource type, sources, keys, and the error table."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import AlterConfigs, ConfigChange, NewTopic, ResourceChange
from tidelog.protocol.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
)


def ask(kind: int, name: str, *keys: str, **words: Any) -> DescribeConfigsRequest:
    resource = DescribeConfigsResource(
        resource_type=kind, resource_name=name, configuration_keys=list(keys) or None
    )
    return DescribeConfigsRequest(resources=[resource], **words)


async def world() -> Node:
    node = Node(static={"log.retention.hours": "2"})
    await node.create(NewTopic("t", 1, 1, configs=(("segment.ms", "9000"),)))
    return node


@pytest.mark.parametrize("version", range(1, 5))
async def test_a_topic_in_every_version(version: int) -> None:
    node = await world()
    request = ask(2, "t", include_synonyms=True)
    if version >= 3:
        request.include_documentation = True
    (result,) = (await node.ask(request, version)).results
    assert (result.error_code, result.error_message) == (0, "")
    entries = {entry.name: entry for entry in result.configs}
    assert len(entries) == 33
    own, inherited = entries["segment.ms"], entries["retention.ms"]
    assert (own.value, own.config_source, own.read_only) == ("9000", 1, False)
    assert (inherited.value, inherited.config_source) == ("7200000", 4)
    assert [(s.name, s.value, s.source) for s in own.synonyms[:1]] == [("segment.ms", "9000", 1)]
    assert bool(own.documentation) == (version >= 3)
    assert own.config_type == (5 if version >= 3 else 0)


async def test_keys_and_what_is_not_asked_for() -> None:
    node = await world()
    (result,) = (await node.ask(ask(2, "t", "segment.ms", "no.such.key"), 4)).results
    (entry,) = result.configs
    assert (entry.name, entry.synonyms, entry.documentation) == ("segment.ms", [], None)


async def test_the_other_resources() -> None:
    node = await world()
    (broker,) = (await node.ask(ask(4, "1", "log.retention.hours", "node.id"), 4)).results
    sources = {entry.name: (entry.config_source, entry.read_only) for entry in broker.configs}
    assert sources["log.retention.hours"] == (4, True)
    (default,) = (await node.ask(ask(4, ""), 4)).results
    assert (default.error_code, default.configs) == (0, [])
    change = ResourceChange(4, "", (ConfigChange("message.max.bytes", "2000"),))
    node.controller.ask(AlterConfigs((change,)))
    (default,) = (await node.ask(ask(4, ""), 4)).results
    assert [(e.name, e.value, e.config_source) for e in default.configs] == [
        ("message.max.bytes", "2000", 3)
    ]
    (topic,) = (await node.ask(ask(2, "t", "max.message.bytes"), 4)).results
    assert (topic.configs[0].value, topic.configs[0].config_source) == ("2000", 3)
    (group,) = (await node.ask(ask(32, "any group"), 4)).results
    (metrics,) = (await node.ask(ask(16, "any"), 4)).results
    assert (len(group.configs), len(metrics.configs)) == (17, 3)
    (logger,) = (await node.ask(ask(8, "1"), 4)).results
    assert logger.error_code == 0
    assert {"root", "tidelog.handlers.dispatch"} <= {entry.name for entry in logger.configs}


@pytest.mark.parametrize(
    ("kind", "name", "code", "message"),
    [
        (2, "none", 3, False),
        (2, "bad name", 17, True),
        (2, "", 17, True),
        (4, "2", 42, True),
        (4, "x", 42, True),
        (8, "2", 42, True),
        (16, "", 42, True),
        (32, "", 42, True),
        (1, "t", 42, True),
        (99, "t", 42, True),
    ],
)
async def test_refusals(kind: int, name: str, code: int, message: bool) -> None:
    (result,) = (await (await world()).ask(ask(kind, name), 4)).results
    assert (result.error_code, bool(result.error_message)) == (code, message)
    assert (result.resource_type, result.resource_name, result.configs) == (kind, name, [])
