"""meta.properties: Java's properties as Kafka writes them, and what is refused and where."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.storage.checkpoints import MalformedFileError
from tidelog.storage.meta_properties import (
    MetaProperties,
    decode_meta_properties,
    encode_meta_properties,
    read_meta_properties,
    write_meta_properties,
)

NOW_MS = 1_700_000_000_000
META = MetaProperties("MkU3OEVBNTcwNTJENDM2Qg", 7, bytes(15) + b"\x01")


def test_bytes_are_kafka_s() -> None:
    assert encode_meta_properties(META, NOW_MS) == (
        b"#\n#Tue Nov 14 22:13:20 UTC 2023\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\n"
        b"directory.id=AAAAAAAAAAAAAAAAAAAAAQ\nnode.id=7\nversion=1\n"
    )


@given(
    st.text(st.characters(codec="utf-16"), min_size=1, max_size=20).filter(str.strip),
    st.integers(0, 2**31 - 1),
    st.none() | st.binary(min_size=16, max_size=16),
    st.integers(0, 2**41),
)
def test_there_and_back(cluster: str, node: int, directory: bytes | None, now_ms: int) -> None:
    meta = MetaProperties(cluster, node, directory)
    assert decode_meta_properties(encode_meta_properties(meta, now_ms), "f") == meta


def test_any_order_and_other_properties() -> None:
    data = b"# by hand\nversion : 1\nother=x\n  node.id\t3\ncluster.id = abc\n"
    assert decode_meta_properties(data, "f") == MetaProperties("abc", 3, None)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", 0),
        (b"node.id=1\ncluster.id=x\n", 0),
        (b"version=0\nnode.id=1\ncluster.id=x\n", 1),
        (b"version=1\ncluster.id=x\n", 0),
        (b"version=1\nnode.id=x\ncluster.id=x\n", 2),
        (b"version=1\nnode.id=-1\ncluster.id=x\n", 2),
        (b"version=1\nnode.id=2147483648\ncluster.id=x\n", 2),
        (b"version=1\nnode.id=1\n", 0),
        (b"version=1\nnode.id=1\ncluster.id=\n", 3),
        (b"version=1\nnode.id=1\ncluster.id=x\ndirectory.id=x\n", 4),
        (b"version=1\nnode.id=1\ncluster.id=\\u12\n", 3),
    ],
)
def test_refused_with_file_and_line(data: bytes, line: int) -> None:
    with pytest.raises(MalformedFileError) as caught:
        decode_meta_properties(data, "d/meta.properties")
    assert (caught.value.path, caught.value.line) == ("d/meta.properties", line)


def test_files(tmp_path: Path) -> None:
    path = str(tmp_path / "meta.properties")
    assert read_meta_properties(path) is None
    write_meta_properties(path, META, NOW_MS)
    assert read_meta_properties(path) == META
