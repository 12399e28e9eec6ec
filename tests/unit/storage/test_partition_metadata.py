"""partition.metadata: Kafka's bytes, and what is refused and where."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.storage.checkpoints import MalformedFileError
from tidelog.storage.partition_metadata import (
    decode_partition_metadata,
    encode_partition_metadata,
    format_topic_id,
    parse_topic_id,
    read_partition_metadata,
    write_partition_metadata,
)

ID = bytes(15) + b"\x01"
IDS = st.binary(min_size=16, max_size=16)


def test_bytes_are_kafka_s() -> None:
    assert encode_partition_metadata(ID) == b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ"


@given(IDS.filter(any))
def test_there_and_back(topic_id: bytes) -> None:
    assert decode_partition_metadata(encode_partition_metadata(topic_id), "f") == topic_id
    assert decode_partition_metadata(encode_partition_metadata(topic_id) + b"\n", "f") == topic_id


@given(IDS)
def test_ids_as_text(topic_id: bytes) -> None:
    text = format_topic_id(topic_id)
    assert len(text) == 22
    assert parse_topic_id(text) == topic_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "AAAA",
        "A" * 23,
        "AAAAAAAAAAAAAAAAAAAAAB",
        "AAAAAAAAAAAAAAAAAAAAAQ==",
        "AAAAAAAAAA+/AAAAAAAAAQ",
    ],
)
def test_texts_that_are_no_ids(text: str) -> None:
    assert parse_topic_id(text) is None


def test_an_id_has_16_bytes() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        format_topic_id(bytes(15))


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", 0),
        (b"version: 0\n", 0),
        (b"topic_id: AAAAAAAAAAAAAAAAAAAAAQ\n", 0),
        (b"version: 1\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ", 1),
        (b"version: x\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ", 1),
        (b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA", 2),
        (b"version: 0\ntopic_id: AAAA", 2),
        (b"version:0\ntopic_id:AAAAAAAAAAAAAAAAAAAAAQ", 1),
        (b"version: 0\nversion: 0\n", 2),
        (b"version: 0\ntopic_id: \xff", 2),
    ],
)
def test_refused_with_file_and_line(data: bytes, line: int) -> None:
    with pytest.raises(MalformedFileError) as caught:
        decode_partition_metadata(data, "t-0/partition.metadata")
    assert (caught.value.path, caught.value.line) == ("t-0/partition.metadata", line)


def test_files(tmp_path: Path) -> None:
    path = str(tmp_path / "partition.metadata")
    assert read_partition_metadata(path) is None
    write_partition_metadata(path, ID)
    assert read_partition_metadata(path) == ID
