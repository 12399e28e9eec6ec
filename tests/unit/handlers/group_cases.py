"""What the tests of the thin group handlers share."""

from __future__ import annotations

from typing import Any

from tests.unit.handlers.worlds import Node, refusal
from tidelog.protocol.error_codes import ErrorCode


async def passed_on(node: Node, method: str, request: Any, answer: Any, version: int) -> Any:
    """The decoded answer when the coordinator answers `answer`, which must come through."""
    node.groups.answers[method] = answer
    node.groups.asked.clear()
    found = await node.ask(request, version)
    assert [(name, arguments[0]) for name, *arguments in node.groups.asked] == [(method, request)]
    return found


async def refused(node: Node, method: str, request: Any, version: int) -> Any:
    """The decoded answer when the coordinator is elsewhere."""
    node.groups.answers[method] = refusal(ErrorCode.NOT_COORDINATOR)
    return await node.ask(request, version)
