"""Levels of loggers: shown, set for this process, taken back."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.handlers.broker_loggers import describe_loggers
from tidelog.protocol.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
)
from tidelog.protocol.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)

SET, DELETE, APPEND = 0, 1, 2
NAME = "tidelog.test.broker_loggers"
Change = tuple[str, int, str | None]


@pytest.fixture(autouse=True)
def loggers() -> Iterator[logging.Logger]:
    root, own = logging.getLogger(), logging.getLogger(NAME)
    before = root.level
    yield own
    root.setLevel(before)
    own.setLevel(logging.NOTSET)


async def alter(*changes: Change, node: str = "1", only: bool = False) -> int:
    configs = [AlterableConfig(name=n, config_operation=o, value=v) for n, o, v in changes]
    resource = AlterConfigsResource(resource_type=8, resource_name=node, configs=configs)
    request = IncrementalAlterConfigsRequest(resources=[resource], validate_only=only)
    (result,) = (await Node().ask(request, 1)).responses
    assert (result.resource_type, result.resource_name) == (8, node)
    assert (result.error_message is None) == (result.error_code == 0)
    return int(result.error_code)


async def shown(name: str) -> str:
    resource = DescribeConfigsResource(
        resource_type=8, resource_name="1", configuration_keys=[name]
    )
    answer = await Node().ask(DescribeConfigsRequest(resources=[resource]), 4)
    (entry,) = answer.results[0].configs
    assert (entry.name, entry.config_source, entry.read_only) == (name, 6, False)
    return str(entry.value)


async def test_levels_are_set_and_taken_back(loggers: logging.Logger) -> None:
    assert await alter(("root", SET, "ERROR"), (NAME, SET, "debug")) == 0
    assert loggers.isEnabledFor(logging.DEBUG)
    assert (await shown("root"), await shown(NAME)) == ("ERROR", "DEBUG")
    assert await alter((NAME, DELETE, None)) == 0
    assert not loggers.isEnabledFor(logging.WARNING)
    assert await shown(NAME) == "ERROR"


@pytest.mark.parametrize("level", ["FATAL", "ERROR", "WARN", "INFO", "DEBUG"])
async def test_every_level_has_its_name(level: str) -> None:
    assert await alter((NAME, SET, level)) == 0
    assert await shown(NAME) == level


async def test_validate_only_sets_nothing(loggers: logging.Logger) -> None:
    assert await alter((NAME, SET, "DEBUG"), only=True) == 0
    assert loggers.level == logging.NOTSET


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ([("tidelog.none", SET, "INFO")], 40),
        ([("asyncio", SET, "INFO")], 40),
        ([(NAME, SET, "LOUD")], 40),
        ([(NAME, SET, None)], 42),
        ([(NAME, APPEND, "INFO")], 42),
        ([("root", DELETE, None)], 42),
        ([(NAME, SET, "DEBUG"), (NAME, SET, "INFO")], 42),
        ([(NAME, SET, "DEBUG"), ("tidelog.none", DELETE, None)], 40),
    ],
)
async def test_refusals_set_nothing(
    loggers: logging.Logger, changes: list[Change], code: int
) -> None:
    assert await alter(*changes) == code
    assert loggers.level == logging.NOTSET


@pytest.mark.parametrize("node", ["2", "x", ""])
async def test_only_this_nodes_loggers(node: str) -> None:
    assert await alter((NAME, SET, "DEBUG"), node=node) == 42


def test_only_our_own_loggers_are_shown() -> None:
    logging.getLogger("somebody.else")
    names = [entry.name for entry in describe_loggers()]
    assert "root" in names and NAME in names
    assert all(name == "root" or name.split(".")[0] == "tidelog" for name in names)
