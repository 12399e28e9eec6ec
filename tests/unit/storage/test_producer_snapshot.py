"""Producer snapshots: Kafka's bytes (one of Apache Kafka's own), names, damage."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle.record.crc_twin import crc32c
from tidelog._native.producer_state import ProducerStates
from tidelog.storage.producer_snapshot import (
    CorruptSnapshotError,
    SnapshotEntry,
    decode_snapshot,
    encode_snapshot,
    read_snapshot,
    snapshot_name,
    snapshot_offset,
    write_snapshot,
)

LONG = st.integers(-(2**63), 2**63 - 1)
INT = st.integers(-(2**31), 2**31 - 1)
SHORT = st.integers(-(2**15), 2**15 - 1)
ENTRIES = st.lists(st.tuples(LONG, SHORT, INT, LONG, INT, LONG, INT, LONG), max_size=20)

# Written by Apache Kafka 4.3.1 for one idempotent producer with id 5, epoch 2: a batch of three
# records, sequences 7 to 9, at offset 0, with timestamp 1700000000002.
KAFKA_S: SnapshotEntry = (5, 2, 9, 2, 2, 1_700_000_000_002, -1, -1)
KAFKA_S_BYTES = bytes.fromhex(
    "0001220291a60000000100000000000000050002000000090000000000000002"
    "000000020000018bcfe56802ffffffffffffffffffffffff"
)


def test_one_of_kafka_s() -> None:
    assert decode_snapshot(KAFKA_S_BYTES, "f") == [KAFKA_S]
    assert encode_snapshot([KAFKA_S]) == KAFKA_S_BYTES


@given(ENTRIES)
def test_there_and_back(entries: list[SnapshotEntry]) -> None:
    data = encode_snapshot(entries)
    assert decode_snapshot(data, "f") == entries
    assert len(data) == 10 + 46 * len(entries)
    assert data[:2] == b"\x00\x01"
    assert int.from_bytes(data[2:6], "big") == crc32c(data[6:])


def test_of_a_state() -> None:
    states = ProducerStates()
    rows = [(n, 0, n, 10 * n, 1, n, -1, -1) for n in range(1, 50)]
    states.load(rows, 600)
    assert encode_snapshot(states.dump_bytes()) == encode_snapshot(rows)
    assert decode_snapshot(encode_snapshot(ProducerStates().dump_bytes()), "f") == []


def test_names() -> None:
    assert snapshot_name(0) == "00000000000000000000.snapshot"
    assert snapshot_name(2**63 - 1) == "09223372036854775807.snapshot"
    assert snapshot_offset("00000000000000000123.snapshot") == 123
    for other in (
        "123.snapshot",
        "00000000000000000123.snapshot.tmp",
        "0000000000000000012x.snapshot",
    ):
        assert snapshot_offset(other) is None


def test_every_changed_bit_shows() -> None:
    data = encode_snapshot([KAFKA_S, KAFKA_S])
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x40
        with pytest.raises(CorruptSnapshotError, match="some/file"):
            decode_snapshot(bytes(damaged), "some/file")


def test_every_cut_shows() -> None:
    data = encode_snapshot([KAFKA_S, KAFKA_S])
    for size in range(len(data)):
        with pytest.raises(CorruptSnapshotError):
            decode_snapshot(data[:size], "f")
    with pytest.raises(CorruptSnapshotError):
        decode_snapshot(data + b"\x00", "f")


@pytest.mark.parametrize("count", [-1, 0, 2, 2**31 - 1])
def test_a_count_that_is_not_true(count: int) -> None:
    body = count.to_bytes(4, "big", signed=True) + KAFKA_S_BYTES[10:]
    data = b"\x00\x01" + crc32c(body).to_bytes(4, "big") + body
    with pytest.raises(CorruptSnapshotError, match="entries"):
        decode_snapshot(data, "f")


def test_files(tmp_path: Path) -> None:
    path = str(tmp_path / snapshot_name(3))
    with pytest.raises(FileNotFoundError):
        read_snapshot(path)
    write_snapshot(path, [KAFKA_S])
    assert read_snapshot(path) == [KAFKA_S]
