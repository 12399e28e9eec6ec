"""The registry: every row complete, every version within the table of record."""

from __future__ import annotations

from tidelog.handlers.registry import APIS, HANDLERS
from tidelog.protocol.api import ApiKey


def test_rows_are_complete_and_unique() -> None:
    assert len({api.key for api in APIS}) == len(APIS) == len(HANDLERS)
    assert list(APIS) == sorted(APIS, key=lambda api: api.key)
    for handler in HANDLERS:
        assert (handler.handle is None) == handler.api.native
        assert (handler.error_answer is None) == handler.api.native
    assert {api.key for api in APIS if api.native} == {ApiKey.PRODUCE, ApiKey.FETCH}


def test_versions_are_those_of_kafka() -> None:
    for api in APIS:
        assert api.min_version == api.key.versions.low
        assert api.max_version == api.key.advertised.high
        assert not api.has(api.min_version - 1)
        assert api.has(api.min_version)
        assert api.has(api.max_version)
        assert not api.has(api.max_version + 1)
        assert api.advertised_min_version == api.key.advertised.low
