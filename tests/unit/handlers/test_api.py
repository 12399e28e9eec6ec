"""Rows of the registry and messages of errors."""

from __future__ import annotations

from tidelog.handlers.api import Api, message_of
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode


def test_a_row() -> None:
    api = Api(ApiKey.PRODUCE, 3, 13, native=True)
    assert [version for version in range(-1, 20) if api.has(version)] == list(range(3, 14))
    assert api.advertised_min_version == 0
    assert Api(ApiKey.FETCH, 4, 18).advertised_min_version == 4


def test_messages() -> None:
    assert message_of(0) is None
    assert message_of(0, "not shown") is None
    assert message_of(3) == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION.text
    assert message_of(3, "better") == "better"
    assert message_of(3, "") == ""
