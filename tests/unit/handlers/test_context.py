"""The context: authorized operations and the configs of the moment."""

from __future__ import annotations

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import AlterConfigs, ConfigChange, ResourceChange
from tidelog.handlers.authorization import NOT_ASKED, Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey


class Guarded(RequestContext):
    """Refuses one operation."""

    def authorize(self, operation: Operation, resource: Resource, name: str) -> bool:
        return operation is not Operation.DELETE


def context(node: Node, kind: type[RequestContext] = RequestContext) -> RequestContext:
    return kind(ApiKey.METADATA, 9, 1, None, node.connection, node.services)


@pytest.mark.parametrize(
    ("resource", "bits"),
    [(Resource.TOPIC, 3576), (Resource.CLUSTER, 8096), (Resource.GROUP, 3400)],
)
def test_everything_is_allowed_without_an_authorizer(resource: Resource, bits: int) -> None:
    node = Node()
    assert context(node).authorized_operations(resource, "x") == bits
    assert context(node).authorized_operations(resource, "x", asked=False) == NOT_ASKED
    without_delete = bits & ~(1 << Operation.DELETE)
    assert context(node, Guarded).authorized_operations(resource, "x") == without_delete


async def test_configs_follow_the_metadata() -> None:
    node = Node()
    await node.follow()
    change = ResourceChange(4, "", (ConfigChange("log.cleaner.threads", "2"),))
    before = context(node).config
    node.controller.ask(AlterConfigs((change,)))
    await node.follow()
    assert context(node).config is not before
    assert context(node).image is node.image
