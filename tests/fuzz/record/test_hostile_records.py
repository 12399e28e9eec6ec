"""Hostile batches and files: a clean answer, never a crash, never memory for promised lengths."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle.record.batch_twin import NO_LIMIT, Limits
from tests.oracle.record.batches import NOW_MS, make_batch, patched, sealed
from tidelog._native import batch as native
from tidelog._native.producer_state import ProducerStates
from tidelog._native.records import control_type_of, decode_records, record_errors
from tidelog.record.builder import NewRecord, Producer, build_batch, end_txn_marker
from tidelog.record.compression import Codec, CompressionError, compress, decompress
from tidelog.record.reasons import InvalidBatchError
from tidelog.record.recompress import recompress
from tidelog.record.view import CorruptBatchError, iterate_batches
from tidelog.storage.checkpoints import MalformedFileError, decode_offsets, encode_offsets
from tidelog.storage.clean_shutdown import decode_clean_shutdown, encode_clean_shutdown
from tidelog.storage.leader_epochs import EpochEntry, LeaderEpochCache
from tidelog.storage.meta_properties import (
    MetaProperties,
    decode_meta_properties,
    encode_meta_properties,
)
from tidelog.storage.partition_metadata import (
    decode_partition_metadata,
    encode_partition_metadata,
)
from tidelog.storage.producer_snapshot import (
    CorruptSnapshotError,
    decode_snapshot,
    encode_snapshot,
)
from tidelog.storage.txn_index import AbortedTxn, CorruptTxnIndexError, decode_txns, encode_txn

ROUNDS = 1500
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF)
LIMITS = [
    Limits(),
    Limits(log_append_time=True),
    Limits(compacted=True, timestamp_before_max_ms=1000),
    Limits(timestamp_after_max_ms=NO_LIMIT, target_codec=Codec.ZSTD),
]
RICH = [
    NewRecord(NOW_MS + i, (None, b"key" * i)[i % 2], b"v" * (i * 40), ((b"h" * i, None),) * (i % 4))
    for i in range(6)
]
SEEDS = [
    make_batch(1),
    make_batch(40),
    *(bytes(build_batch(RICH, codec=codec, producer=Producer(9, 1, 5))) for codec in Codec),
    bytes(
        end_txn_marker(
            producer_id=1, producer_epoch=0, is_commit=True, coordinator_epoch=0, timestamp=0
        )
    ),
]


def damaged(rng: random.Random, data: bytes) -> bytes:
    """A few bytes changed, a piece cut out, doubled or moved to the end."""
    out = bytearray(data)
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        position = rng.randrange(len(out))
        out[position] = rng.choice(EXTREMES) if rng.random() < 0.7 else rng.randrange(256)
    if rng.random() < 0.3:
        start = rng.randrange(len(out))
        piece = out[start : start + rng.randrange(1, 40)]
        if rng.random() < 0.5:
            del out[start : start + len(piece)]
        else:
            out[start:start] = piece
    return bytes(out)


def hostile_batch(rng: random.Random) -> bytes:
    """A damaged batch; mostly with a size and a checksum that are right, to get further in."""
    data = damaged(rng, rng.choice(SEEDS))
    if rng.random() < 0.8 and len(data) >= 61:
        data = patched(data, 8, ">i", len(data) - 12)
        if rng.random() < 0.9:
            data = sealed(data)
    return data


@pytest.mark.parametrize("part", range(3))
def test_batches(part: int) -> None:
    rng = random.Random(part)
    accepted = 0
    for _ in range(ROUNDS):
        data = hostile_batch(rng)
        limits = rng.choice(LIMITS).as_tuple()
        status, header, _, _ = native.check(data, rng.choice([3, 9, 13]), NOW_MS, limits)
        accepted += status == 0
        if status == -100:
            try:
                out = recompress(data, now_ms=NOW_MS, limits=limits, decompressed_bytes_max=1 << 20)
            except InvalidBatchError as refused:
                assert refused.error_code != 0
            else:
                assert native.is_crc_ok(out)
        if header is not None and status == 0 and header.codec == Codec.NONE:
            # What is accepted can be read, all of it.
            records = decode_records(data[61 : header.size], header)
            assert [record.offset for record in records] == list(range(header.records_count))
    assert 0 < accepted < ROUNDS


def test_readers() -> None:
    rng = random.Random(77)
    for _ in range(ROUNDS):
        data = hostile_batch(rng) + hostile_batch(rng)
        try:
            for view in iterate_batches(data, check_crc=rng.random() < 0.5):
                view.records(1 << 20)
                view.control()
        except CorruptBatchError as error:
            assert 0 <= error.position < len(data)
        control_type_of(data)
        header = native.parse(data)
        if header is not None:
            limits = rng.choice(LIMITS).as_tuple()
            assert len(record_errors(data[61:], header, NOW_MS, limits, 10)) <= 10
        try:
            ProducerStates().replay(data)
        except ValueError:
            pass


def test_promised_lengths_take_no_memory() -> None:
    # A count and lengths of two thousand million, in 100 bytes.
    data = make_batch(1)
    data = sealed(patched(patched(data, 57, ">i", 2**31 - 1), 23, ">i", 2**31 - 2))
    header = native.parse(data)
    assert header is not None
    huge = b"\xfe\xff\xff\xff\x0f"
    tracemalloc.start()
    try:
        assert native.check(data, 9, NOW_MS, LIMITS[0].as_tuple())[0] == 87
        with pytest.raises(ValueError, match="malformed"):
            decode_records(data[61:], header)
        with pytest.raises(ValueError, match="malformed"):
            decode_records(huge + data[61:], header)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD])
def test_decompression(codec: Codec) -> None:
    rng = random.Random(codec)
    packed = compress(codec, b"".join(b"some text %d " % (i % 50) for i in range(300)))
    for _ in range(ROUNDS):
        try:
            assert len(decompress(codec, damaged(rng, packed), 1 << 16)) <= 1 << 16
        except CompressionError:
            pass


FILES: dict[str, tuple[bytes, Callable[[bytes], object], type[Exception]]] = {
    "offsets": (
        encode_offsets({("topic", n): n * 10 for n in range(5)}),
        lambda data: decode_offsets(data, "f"),
        MalformedFileError,
    ),
    "leader epochs": (
        LeaderEpochCache([EpochEntry(n, n * 10) for n in range(4)]).encode(),
        lambda data: LeaderEpochCache.decode(data, "f").entries,
        MalformedFileError,
    ),
    "partition metadata": (
        encode_partition_metadata(bytes(range(16))),
        lambda data: decode_partition_metadata(data, "f"),
        MalformedFileError,
    ),
    "meta properties": (
        encode_meta_properties(MetaProperties("cluster", 1, bytes(range(16))), NOW_MS),
        lambda data: decode_meta_properties(data, "f"),
        MalformedFileError,
    ),
    "snapshot": (
        encode_snapshot([(n, 0, 1, 2, 3, 4, 5, 6) for n in range(3)]),
        lambda data: decode_snapshot(data, "f"),
        CorruptSnapshotError,
    ),
    "transaction index": (
        b"".join(encode_txn(AbortedTxn(1, n * 10, n * 10 + 5, 1)) for n in range(3)),
        lambda data: decode_txns(data, "f"),
        CorruptTxnIndexError,
    ),
    "clean shutdown": (encode_clean_shutdown(9), decode_clean_shutdown, MalformedFileError),
}


@pytest.mark.parametrize("name", FILES)
def test_small_files(name: str) -> None:
    whole, decode, error = FILES[name]
    decode(whole)
    rng = random.Random(name)
    for _ in range(ROUNDS // 3):
        try:
            decode(damaged(rng, whole))
        except error:
            pass
    for size in range(len(whole)):
        try:
            decode(whole[:size])
        except error:
            pass


@given(st.binary(max_size=200))
def test_noise(data: bytes) -> None:
    for _, decode, error in FILES.values():
        try:
            decode(data)
        except error:
            pass
    for codec in Codec:
        try:
            decompress(codec, data, 1 << 16)
        except CompressionError:
            pass
    assert native.check(data, 9, NOW_MS, LIMITS[0].as_tuple())[0] != 0
