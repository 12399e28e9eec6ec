"""Configs of all nodes together for `tidelog configs --broker default`: the resource of kind broker
with the empty name, which the client library refuses. Runs in the user's shell.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from tidelog.cli.cluster import CommandError
from tidelog.cli.wire import Wire, check
from tidelog.protocol.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
)
from tidelog.protocol.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)

#: The name that stands for all nodes.
DEFAULT: Final = "default"
_BROKER: Final = 4
_DESCRIBE_VERSION: Final = 4
_ALTER_VERSION: Final = 1


class Change(NamedTuple):
    """operation: as in IncrementalAlterConfigs; value None where nothing is set."""

    name: str
    operation: int
    value: str | None


def describe(bootstrap: str) -> list[DescribeConfigsResourceResult]:
    """What was set for all nodes. Raises CommandError."""
    request = DescribeConfigsRequest(
        resources=[
            DescribeConfigsResource(
                resource_type=_BROKER, resource_name="", configuration_keys=None
            )
        ]
    )
    with Wire(bootstrap) as wire:
        answer = wire.ask(min(wire.nodes()), request, _DESCRIBE_VERSION, DescribeConfigsResponse)
    for one in answer.results:
        check(one.error_code, "configs of all nodes cannot be described", one.error_message)
        return one.configs
    raise CommandError("configs of all nodes cannot be described: the answer is empty")


def alter(bootstrap: str, changes: Iterable[Change], *, validate_only: bool) -> None:
    """Raises CommandError."""
    configs = [
        AlterableConfig(name=one.name, config_operation=one.operation, value=one.value)
        for one in changes
    ]
    request = IncrementalAlterConfigsRequest(
        resources=[AlterConfigsResource(resource_type=_BROKER, resource_name="", configs=configs)],
        validate_only=validate_only,
    )
    with Wire(bootstrap) as wire:
        answer = wire.ask(
            min(wire.nodes()), request, _ALTER_VERSION, IncrementalAlterConfigsResponse
        )
    for one in answer.responses:
        check(one.error_code, "configs of all nodes were not changed", one.error_message)
