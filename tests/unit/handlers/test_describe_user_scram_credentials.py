"""DescribeUserScramCredentials: nobody has any."""

from __future__ import annotations

from tests.unit.handlers.worlds import Node
from tidelog.protocol.messages.describe_user_scram_credentials import (
    DescribeUserScramCredentialsRequest,
    UserName,
)


async def ask(*names: str) -> list[tuple[str, int]]:
    users = [UserName(name=name) for name in names] if names else None
    answer = await Node().ask(DescribeUserScramCredentialsRequest(users=users), 0)
    assert answer.error_code == 0
    assert all(result.error_message for result in answer.results)
    return [(result.user, result.error_code) for result in answer.results]


async def test_users_are_not_found() -> None:
    assert await ask() == []
    assert await ask("a", "b", "a") == [("a", 92), ("b", 91)]
