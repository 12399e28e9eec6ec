"""The table of APIs: what clients learn from it, and its exceptions to the rules."""

import pytest

from tidelog.protocol.api import ApiKey, Listener
from tidelog.protocol.codec import request_class, response_class
from tidelog.protocol.versions import Versions

CONTROLLER_ONLY = {52, 53, 54, 56, 58, 59, 62, 63, 67, 70, 73, 82}
GONE = {4, 5, 6, 7}


def test_every_key_of_a_broker_port_is_there() -> None:
    assert {int(key) for key in ApiKey} == set(range(93)) - CONTROLLER_ONLY - GONE


def test_look_up_by_number() -> None:
    assert ApiKey(3) is ApiKey.METADATA
    with pytest.raises(ValueError):
        ApiKey(4)


def test_produce_is_advertised_from_0_but_read_from_3() -> None:
    assert ApiKey.PRODUCE.advertised == (0, 13)
    assert ApiKey.PRODUCE.versions == (3, 13)


def test_two_phase_commit_is_read_but_not_advertised() -> None:
    assert ApiKey.INIT_PRODUCER_ID.advertised == (0, 5)
    assert ApiKey.INIT_PRODUCER_ID.versions == (0, 6)


def test_all_others_are_advertised_as_they_are_read() -> None:
    special = {ApiKey.PRODUCE, ApiKey.INIT_PRODUCER_ID}
    assert all(key.advertised == key.versions for key in ApiKey if key not in special)


def test_header_versions() -> None:
    assert ApiKey.METADATA.request_header_version(8) == 1
    assert ApiKey.METADATA.request_header_version(9) == 2
    assert ApiKey.METADATA.response_header_version(8) == 0
    assert ApiKey.METADATA.response_header_version(9) == 1
    # Also beyond what is supported: the header of such a request has to be readable.
    assert ApiKey.METADATA.request_header_version(99) == 2
    # SaslHandshake has no flexible version, and never will.
    assert ApiKey.SASL_HANDSHAKE.request_header_version(1) == 1


def test_api_versions_is_answered_with_header_0_in_all_versions() -> None:
    versions = range(5)
    assert [ApiKey.API_VERSIONS.is_flexible(v) for v in versions] == [False] * 3 + [True] * 2
    assert {ApiKey.API_VERSIONS.response_header_version(v) for v in versions} == {0}
    assert ApiKey.API_VERSIONS.request_header_version(4) == 2


def test_listeners() -> None:
    assert ApiKey.PRODUCE.listener is Listener.BROKER
    assert ApiKey.API_VERSIONS.listener is Listener.BOTH
    assert Listener.BROKER in ApiKey.DESCRIBE_CLUSTER.listener


@pytest.mark.parametrize("key", ApiKey, ids=lambda key: key.name)
def test_classes_of_an_api(key: ApiKey) -> None:
    camel = "".join(part.capitalize() for part in key.name.split("_"))
    for cls, suffix in ((request_class(key), "Request"), (response_class(key), "Response")):
        assert cls.__name__ == camel + suffix
        assert cls.__module__ == f"tidelog.protocol.messages.{key.name.lower()}"
        assert key is cls.API
        assert (key.versions, key.flexible) == (cls.VERSIONS, cls.FLEXIBLE)
    assert key.versions.low <= key.versions.high < 30
    assert isinstance(key.advertised, Versions)
