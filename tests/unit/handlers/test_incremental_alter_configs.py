"""IncrementalAlterConfigs: set, delete, append, subtract."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import NewTopic
from tidelog.protocol.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)

SET, DELETE, APPEND, SUBTRACT = range(4)
Change = tuple[str, int, str | None]


def resource(kind: int, name: str, *changes: Change) -> AlterConfigsResource:
    return AlterConfigsResource(
        resource_type=kind,
        resource_name=name,
        configs=[
            AlterableConfig(name=key, config_operation=operation, value=value)
            for key, operation, value in changes
        ],
    )


def request(*resources: AlterConfigsResource, **words: Any) -> IncrementalAlterConfigsRequest:
    return IncrementalAlterConfigsRequest(resources=list(resources), **words)


@pytest.mark.parametrize("version", [0, 1])
async def test_operations(version: int) -> None:
    node = Node()
    await node.create(NewTopic("t", 1, 1, configs=(("retention.ms", "5"), ("flush.ms", "7"))))
    changes = (
        ("retention.ms", DELETE, None),
        ("segment.ms", SET, "9000"),
        ("cleanup.policy", APPEND, "compact"),
    )
    answer = await node.ask(request(resource(2, "t", *changes)), version)
    assert [(r.error_code, r.error_message) for r in answer.responses] == [(0, None)]
    assert node.image.config(2, "t") == {
        "flush.ms": "7",
        "segment.ms": "9000",
        "cleanup.policy": "delete,compact",
    }
    await node.ask(request(resource(2, "t", ("cleanup.policy", SUBTRACT, "delete"))), version)
    assert node.image.config(2, "t")["cleanup.policy"] == "compact"


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (resource(2, "t", ("no.such", SET, "1")), 40),
        (resource(2, "t", ("no.such", DELETE, None)), 0),
        (resource(2, "t", ("retention.ms", SET, None)), 42),
        (resource(2, "t", ("retention.ms", APPEND, "1")), 40),
        (resource(2, "t", ("retention.ms", 7, "1")), -1),
        (resource(2, "none", ("retention.ms", SET, "1")), 3),
        (resource(4, "1", ("node.id", SET, "7")), 42),
        (resource(4, "", ("message.max.bytes", SET, "2000")), 0),
        (resource(4, "1", ("message.max.bytes", SET, "2000")), 0),
        (resource(4, "2", ("message.max.bytes", SET, "2000")), 42),
        (resource(32, "g", ("consumer.session.timeout.ms", SET, "50000")), 0),
        (resource(32, "g", ("nothing", SET, "1")), 40),
        (resource(16, "m", ("interval.ms", SET, "1")), 42),
        (resource(8, "1", ("tidelog.none", SET, "INFO")), 40),
        (resource(1, "x"), 42),
    ],
)
async def test_codes(item: AlterConfigsResource, code: int) -> None:
    node = Node()
    await node.create(NewTopic("t", 1, 1))
    answer = await node.ask(request(item), 1)
    (result,) = answer.responses
    assert result.error_code == code
    assert (result.error_message is None) == (code == 0)


async def test_one_bad_resource_does_not_spoil_the_others() -> None:
    node = Node()
    await node.create(NewTopic("t", 1, 1))
    good = resource(2, "t", ("retention.ms", SET, "1"))
    bad = resource(2, "none", ("retention.ms", SET, "1"))
    logger = resource(8, "1", ("tidelog.none", DELETE, None))
    answer = await node.ask(request(bad, good, logger), 1)
    assert sorted(r.error_code for r in answer.responses) == [0, 3, 40]
    assert node.image.config(2, "t") == {"retention.ms": "1"}


async def test_a_silent_controller() -> None:
    node = Node()
    await node.follow()
    node.silent = True
    answer = await node.ask(request(resource(2, "t", ("retention.ms", SET, "1"))), 1)
    assert [(r.resource_name, r.error_code) for r in answer.responses] == [("t", 7)]
