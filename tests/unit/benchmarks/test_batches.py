"""Batches of an exact size, read back by kafka-python."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record import MemoryRecords  # type: ignore[import-untyped]

from tidelog.benchmarks.batches import (
    encode_batch,
    payloads,
    record_size,
    sized_batch,
    value_sizes,
    varint,
)

NOW_MS = 1_700_000_000_000


def read(data: bytes) -> list[tuple[int, int, bytes]]:
    """[(offset, timestamp, value)], by another implementation that checks the CRC."""
    records = MemoryRecords(data)
    batch = records.next_batch()
    assert batch is not None
    assert batch.validate_crc()
    found = [(record.offset, record.timestamp, record.value) for record in batch]
    assert records.next_batch() is None
    return found


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=20))
@settings(max_examples=60)
def test_a_batch_reads_back(values: list[bytes]) -> None:
    batch = encode_batch(values, NOW_MS)
    assert read(batch.data) == [(i, NOW_MS, value) for i, value in enumerate(values)]
    assert batch.record_count == len(values)


def test_producer_fields() -> None:
    batch = encode_batch([b"v"], NOW_MS, producer_id=7, producer_epoch=3, base_sequence=11)
    found = MemoryRecords(batch.data).next_batch()
    assert (found.producer_id, found.producer_epoch, found.base_sequence) == (7, 3, 11)
    assert batch.base_sequence == 11


@given(st.integers(70, 5000), st.sampled_from([1, 60, 100, 127, 128, 1024]))
@settings(max_examples=200)
def test_size_is_exact(batch_bytes: int, record_bytes: int) -> None:
    try:
        batch = sized_batch(batch_bytes, NOW_MS, record_bytes=record_bytes)
    except ValueError:
        # Only where the length prefix of the last record jumps and none before can give a byte.
        assert batch_bytes - 61 in {65, 72}
        return
    assert len(batch.data) == batch_bytes
    values = [value for _, _, value in read(batch.data)]
    assert [len(value) for value in values[:-2]] == [record_bytes] * (len(values) - 2)


def test_sizes_of_the_named_workloads() -> None:
    for size in (255, 16_384, 65_536, 1_000_000):
        batch = sized_batch(size, NOW_MS)
        assert len(batch.data) == size
        assert batch.record_count == len(read(batch.data)) == max(1, (size - 61) // 1034)
    assert sized_batch(255, NOW_MS).data == sized_batch(255, NOW_MS).data


def test_too_small_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="no batch of exactly 62 bytes"):
        value_sizes(62, 100)


def test_record_size_is_that_of_the_encoding() -> None:
    from tidelog.benchmarks.batches import encode_record

    for delta in (0, 63, 64, 8192):
        for size in (0, 1, 56, 57, 58, 63, 64, 8191, 8192):
            assert record_size(delta, size) == len(encode_record(delta, bytes(size)))


def test_varints_zigzag() -> None:
    assert [varint(v) for v in (0, -1, 1, -64, 64)] == [b"\0", b"\1", b"\2", b"\x7f", b"\x80\x01"]


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
def test_keys_and_codecs(codec: int) -> None:
    values = payloads(7, 500, seed=1)
    batch = encode_batch(values, NOW_MS, keys=[b"a", b"bc"], codec=codec)
    found = list(MemoryRecords(batch.data).next_batch())
    assert [record.value for record in found] == values
    assert [record.key for record in found] == [b"a", b"bc", b"a", b"bc", b"a", b"bc", b"a"]
    assert codec == 0 or len(batch.data) < 0.8 * sum(map(len, values))


def test_payloads_are_random_in_part_and_the_same_for_a_seed() -> None:
    values = payloads(3, 100, seed=5, random_share=0.25)
    assert values == payloads(3, 100, seed=5, random_share=0.25)
    assert len(set(values)) == 3
    assert all(len(value) == 100 and not any(value[25:]) for value in values)
