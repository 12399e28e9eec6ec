"""ApiVersions: what is listed, for whom, and the answer to versions from the future."""

from __future__ import annotations

import struct

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.handlers.registry import APIS
from tidelog.metadata.records import FeatureRecord
from tidelog.protocol.api import ApiKey
from tidelog.protocol.codec import decode_response
from tidelog.protocol.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse


@pytest.mark.parametrize("version", range(5))
async def test_lists_exactly_the_registry(version: int) -> None:
    request = ApiVersionsRequest(client_software_name="librdkafka", client_software_version="2.5.0")
    answer = await Node().ask(request, version)
    assert answer.error_code == 0
    listed = {row.api_key: (row.min_version, row.max_version) for row in answer.api_keys}
    assert len(listed) == len(answer.api_keys) == len(APIS)
    for api in APIS:
        low = 0 if api.key == ApiKey.PRODUCE else api.min_version
        assert listed[api.key] == (low, api.max_version)
    assert listed[ApiKey.PRODUCE] == (0, 13)
    assert listed[ApiKey.INIT_PRODUCER_ID] == (0, 5)
    assert answer.finalized_features == []
    assert answer.finalized_features_epoch == -1


@pytest.mark.parametrize(
    ("name", "version", "code"),
    [
        ("apache-kafka-java", "4.3.1", 0),
        ("x", "1", 0),
        ("a b", "1", 42),
        ("", "1", 42),
        ("x", "", 42),
        ("-x", "1", 42),
        ("x", "1.", 42),
        ("x\n", "1", 42),
    ],
)
async def test_the_clients_name_is_checked(name: str, version: str, code: int) -> None:
    node = Node()
    request = ApiVersionsRequest(client_software_name=name, client_software_version=version)
    answer = await node.ask(request, 3)
    assert answer.error_code == code
    assert bool(answer.api_keys) == (code == 0)
    assert node.connection.software == ((name, version) if code == 0 else ("", ""))


async def test_finalized_features() -> None:
    node = Node()
    node.controller.apply(FeatureRecord("group.version", 1), FeatureRecord("a.version", 2))
    request = ApiVersionsRequest(client_software_name="x", client_software_version="1")
    answer = await node.ask(request, 4)
    assert answer.finalized_features_epoch == node.image.version
    levels = {f.name: (f.min_version_level, f.max_version_level) for f in answer.finalized_features}
    assert levels == {"group.version": (1, 1), "a.version": (2, 2)}
    assert (await node.ask(ApiVersionsRequest(), 0)).finalized_features == []


@pytest.mark.parametrize("version", [5, 99, 32767, -1])
async def test_an_unknown_version_is_answered_with_version_0(version: int) -> None:
    node = Node()
    frame = struct.pack(">hhi", ApiKey.API_VERSIONS, version, 4711) + b"whatever follows"
    answer = node.dispatcher.dispatch(frame, node.connection)
    assert isinstance(answer, bytes)
    correlation_id, decoded = decode_response(ApiKey.API_VERSIONS, 0, answer[4:])
    assert isinstance(decoded, ApiVersionsResponse)
    assert (correlation_id, decoded.error_code) == (4711, 35)
    rows = [(row.api_key, row.min_version, row.max_version) for row in decoded.api_keys]
    assert rows == [(ApiKey.API_VERSIONS, 0, 4)]
