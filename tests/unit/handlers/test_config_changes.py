"""What both alter requests share: only what belongs to the controller reaches it."""

from __future__ import annotations

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import ConfigChange, NewTopic, ResourceChange
from tidelog.handlers.config_changes import alter_configs
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey


async def test_refused_resources_do_not_reach_the_controller() -> None:
    node = Node()
    await node.create(NewTopic("t", 1, 1))
    context = RequestContext(ApiKey.ALTER_CONFIGS, 2, 1, None, node.connection, node.services)
    change = (ConfigChange("retention.ms", "1"),)
    resources = [ResourceChange(8, "1", change), ResourceChange(4, "2", change)]
    results = await alter_configs(resources, context, validate_only=False, incremental=True)
    assert [(r.resource_type, r.error_code) for r in results] == [(8, 40), (4, 42)]
    assert not node.requests
    resources.append(ResourceChange(2, "t", change))
    results = await alter_configs(resources, context, validate_only=False, incremental=True)
    assert [r.error_code for r in results] == [40, 42, 0]
    assert len(node.requests) == 1
