"""Describing one group, whichever kind: refusals are codes of that group."""

from __future__ import annotations

from typing import cast

import pytest

from tidelog.errors import KafkaError
from tidelog.handlers.context import RequestContext
from tidelog.handlers.described_groups import describe_group
from tidelog.protocol.messages import consumer_group_describe, describe_groups


class Context:
    """As much of a RequestContext as is asked."""

    def __init__(self, *, allowed: bool) -> None:
        self.allowed = allowed

    def authorize(self, *_: object) -> bool:
        return self.allowed

    def authorized_operations(self, *_: object, asked: bool) -> int:
        return 7 if asked else -1


@pytest.mark.parametrize("kind", [describe_groups, consumer_group_describe])
@pytest.mark.parametrize(
    ("allowed", "asked", "outcome", "code", "operations"),
    [
        (True, True, 0, 0, 7),
        (True, False, 0, 0, -1),
        (False, True, 0, 30, -(1 << 31)),
        (True, True, 16, 16, -(1 << 31)),  # raised
        (True, True, -69, 69, -(1 << 31)),  # within the answer
    ],
)
def test_one_group(
    kind: object, allowed: bool, asked: bool, outcome: int, code: int, operations: int
) -> None:
    described = kind.DescribedGroup  # type: ignore[attr-defined]

    def read(group_id: str, _: RequestContext) -> object:
        if outcome > 0:
            raise KafkaError(outcome)
        return described(group_id=group_id, error_code=-outcome)

    context = cast(RequestContext, Context(allowed=allowed))
    found = describe_group("g", described, read, context, with_operations=asked)
    assert (found.group_id, found.error_code, found.authorized_operations) == (
        "g",
        code,
        operations,
    )
