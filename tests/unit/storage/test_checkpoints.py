"""Offset checkpoints: Kafka's bytes, and what is refused and where."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.storage.checkpoints import (
    MalformedFileError,
    decode_checkpoint,
    decode_offsets,
    encode_checkpoint,
    encode_offsets,
    integer,
    read_offsets,
    write_offsets,
)

NAMES = st.text("abcXYZ019._-", min_size=1, max_size=30)
OFFSETS = st.dictionaries(
    st.tuples(NAMES, st.integers(0, 2**31 - 1)), st.integers(-(2**63), 2**63 - 1), max_size=20
)


def test_bytes_are_kafka_s() -> None:
    assert encode_offsets({}) == b"0\n0\n"
    offsets = {("t", 10): 7, ("t", 9): 2**40, ("a.b-c", 0): 0}
    assert encode_offsets(offsets) == b"0\n3\na.b-c 0 0\nt 9 1099511627776\nt 10 7\n"


@given(OFFSETS)
def test_there_and_back(offsets: dict[tuple[str, int], int]) -> None:
    assert decode_offsets(encode_offsets(offsets), "f") == offsets


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", {}),
        (b"0\n0", {}),
        (b"0\n1\nt 0 5", {("t", 0): 5}),
        (b"0\n1\nt  0   5\n", {("t", 0): 5}),
        (b"0\n1\nt 0 -5\n", {("t", 0): -5}),
    ],
)
def test_read_as_well(data: bytes, expected: dict[tuple[str, int], int]) -> None:
    assert decode_offsets(data, "f") == expected


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"1\n0\n", 1),
        (b"x\n0\n", 1),
        (b"\n", 1),
        (b"0\n", 2),
        (b"0\nx\n", 2),
        (b"0\n-1\n", 2),
        (b"0\n2\nt 0 5\n", 2),
        (b"0\n1\nt 0 5\nt 1 5\n", 2),
        (b"0\n1\nt 0 5\n\n", 2),
        (b"0\n2\nt 0 5\nt 1\n", 4),
        (b"0\n1\nt 0 5 6\n", 3),
        (b"0\n1\nt x 5\n", 3),
        (b"0\n1\nt 0 5.0\n", 3),
        (b"0\n1\nt -1 5\n", 3),
        (b"0\n1\nt 2147483648 5\n", 3),
        (b"0\n1\nt 0 9223372036854775808\n", 3),
        ("0\n1\nt ٠ 5\n".encode(), 3),
        (b"0\n2\nt 0 5\nt\xff 1 5\n", 4),
    ],
)
def test_refused_with_file_and_line(data: bytes, line: int) -> None:
    with pytest.raises(MalformedFileError) as caught:
        decode_offsets(data, "some/checkpoint")
    assert (caught.value.path, caught.value.line) == ("some/checkpoint", line)
    assert f"some/checkpoint, line {line}: " in str(caught.value)


@given(OFFSETS.filter(bool), st.data())
def test_a_cut_file_is_never_a_shorter_one(
    offsets: dict[tuple[str, int], int], data: st.DataObject
) -> None:
    whole = encode_offsets(offsets)
    cut = whole[: data.draw(st.integers(1, len(whole) - 2))]
    try:
        found = decode_offsets(cut, "f")
    except MalformedFileError:
        return
    # The number of the last line may have lost digits; no entry is lost.
    assert len(found) == len(offsets)


def test_files(tmp_path: Path) -> None:
    path = str(tmp_path / "recovery-point-offset-checkpoint")
    assert read_offsets(path) == {}
    write_offsets(path, {("t", 0): 5})
    write_offsets(path, {("t", 0): 6})
    assert read_offsets(path) == {("t", 0): 6}
    assert [entry.name for entry in tmp_path.iterdir()] == ["recovery-point-offset-checkpoint"]


def test_entries_of_another_kind() -> None:
    assert encode_checkpoint(["a b", "c"]) == b"0\n2\na b\nc\n"
    assert decode_checkpoint(b"0\n2\na b\nc\n", "f", list) == [["a", "b"], ["c"]]


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("-5", -5), ("007", 7), ("", None), ("+1", None), (" 1", None), ("1e3", None)],
)
def test_integer(text: str, value: int | None) -> None:
    assert integer(text) == value
