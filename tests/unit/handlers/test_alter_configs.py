"""AlterConfigs: replaces what is set, per resource."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import NewTopic
from tidelog.protocol.messages.alter_configs import (
    AlterableConfig,
    AlterConfigsRequest,
    AlterConfigsResource,
)


def resource(kind: int, name: str, *configs: tuple[str, str | None]) -> AlterConfigsResource:
    return AlterConfigsResource(
        resource_type=kind,
        resource_name=name,
        configs=[AlterableConfig(name=key, value=value) for key, value in configs],
    )


def request(*resources: AlterConfigsResource, **words: Any) -> AlterConfigsRequest:
    return AlterConfigsRequest(resources=list(resources), **words)


@pytest.mark.parametrize("version", range(3))
async def test_replaces_everything(version: int) -> None:
    node = Node()
    await node.create(NewTopic("t", 1, 1, configs=(("retention.ms", "5"),)))
    answer = await node.ask(request(resource(2, "t", ("segment.ms", "9000"))), version)
    (result,) = answer.responses
    assert (result.error_code, result.error_message) == (0, None)
    assert (result.resource_type, result.resource_name) == (2, "t")
    assert node.image.config(2, "t") == {"segment.ms": "9000"}
    if node.logs.get("t", 0):
        assert node.log("t").config.segment_ms == 9000


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (resource(2, "t", ("no.such", "1")), 40),
        (resource(2, "t", ("retention.ms", "x")), 40),
        (resource(2, "t", ("retention.ms", None)), 42),
        (resource(2, "t", ("retention.ms", "1"), ("retention.ms", "2")), 42),
        (resource(2, "none", ("retention.ms", "1")), 3),
        (resource(2, ""), 42),
        (resource(4, "2", ("message.max.bytes", "1")), 42),
        (resource(8, "1", ("root", "DEBUG")), 42),
        (resource(99, "x"), 42),
    ],
)
async def test_refusals(item: AlterConfigsResource, code: int) -> None:
    node = Node()
    await node.create(NewTopic("t", 1, 1))
    version = node.image.version
    answer = await node.ask(request(item), 2)
    assert [(r.error_code, bool(r.error_message)) for r in answer.responses] == [(code, True)]
    assert node.image.version == version


async def test_a_resource_given_twice() -> None:
    node = Node()
    await node.create(NewTopic("t", 1, 1))
    twice = resource(2, "t", ("retention.ms", "1"))
    answer = await node.ask(request(twice, twice), 2)
    assert [r.error_code for r in answer.responses] == [42]


async def test_validate_only_and_a_silent_controller() -> None:
    node = Node()
    await node.create(NewTopic("t", 1, 1))
    item = resource(2, "t", ("retention.ms", "1"))
    answer = await node.ask(request(item, validate_only=True), 2)
    assert answer.responses[0].error_code == 0
    assert not node.image.config(2, "t")
    node.silent = True
    answer = await node.ask(request(item, item), 2)
    assert [r.error_code for r in answer.responses] == [7]
