"""The marker of a clean shutdown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidelog.storage.clean_shutdown import (
    CLEAN_SHUTDOWN,
    decode_clean_shutdown,
    encode_clean_shutdown,
    is_clean,
    read_clean_shutdown,
    remove_clean_shutdown,
    write_clean_shutdown,
)


def test_bytes_are_kafka_s() -> None:
    assert encode_clean_shutdown(42) == b'{"version":0,"brokerEpoch":42}'


@pytest.mark.parametrize("epoch", [-1, 0, 42, 2**63 - 1])
def test_there_and_back(epoch: int) -> None:
    assert decode_clean_shutdown(encode_clean_shutdown(epoch)) == epoch


@pytest.mark.parametrize(
    ("data", "epoch"),
    [
        (b"", None),
        (b"garbage", None),
        (b"\xff\xfe", None),
        (b"{}", None),
        (b"[]", None),
        (b"7", None),
        (b'{"version":0,"brokerEpoch":"7"}', None),
        (b'{"version":0,"brokerEpoch":true}', None),
        (b'{"version":1,"brokerEpoch":7,"more":0}', 7),
        (b"[" * 10_000, None),
    ],
)
def test_what_older_versions_or_accidents_left(data: bytes, epoch: int | None) -> None:
    assert decode_clean_shutdown(data) == epoch


def test_life_of_the_marker(tmp_path: Path) -> None:
    directory = str(tmp_path)
    assert not is_clean(directory)
    assert read_clean_shutdown(directory) is None
    assert not remove_clean_shutdown(directory)
    write_clean_shutdown(directory, 9)
    assert is_clean(directory)
    assert read_clean_shutdown(directory) == 9
    assert (tmp_path / CLEAN_SHUTDOWN).name == ".kafka_cleanshutdown"
    assert remove_clean_shutdown(directory)
    assert not is_clean(directory)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_marker_is_a_marker(tmp_path: Path) -> None:
    (tmp_path / CLEAN_SHUTDOWN).touch()
    assert is_clean(str(tmp_path))
    assert read_clean_shutdown(str(tmp_path)) is None
