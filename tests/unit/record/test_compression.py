"""Codecs: every form that clients write, limits, and damage."""

from __future__ import annotations

import gzip
import random
import struct
import tracemalloc
import zlib

import cramjam
import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tidelog.record.compression import (
    CODECS_BY_NAME,
    Codec,
    CompressionError,
    DecompressedTooLargeError,
    compress,
    decompress,
)

CODECS = [Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD]
NOISE = random.Random(5).randbytes(150_000)
TEXT = b"".join(b"line %d of the text\n" % (i * 7919 % 10007) for i in range(12_000))
MIB = 1 << 20
SNAPPY_HEADER = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)


def snappy_raw(data: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(data))


def block(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("data", [b"", b"x", TEXT, NOISE, TEXT + NOISE])
def test_there_and_back(codec: Codec, data: bytes) -> None:
    packed = compress(codec, data)
    if codec == Codec.SNAPPY and not data:
        # Only the header: Java reads no data from it either.
        assert packed == SNAPPY_HEADER
    assert decompress(codec, packed, len(data)) == data
    assert decompress(codec, memoryview(bytearray(packed)), len(data)) == data


@given(st.binary(max_size=2000), st.sampled_from(list(Codec)))
def test_there_and_back_with_anything(data: bytes, codec: Codec) -> None:
    assert decompress(codec, compress(codec, data), len(data)) == data


@pytest.mark.parametrize("codec", list(Codec))
def test_limit(codec: Codec) -> None:
    packed = compress(codec, TEXT)
    assert decompress(codec, packed, len(TEXT)) == TEXT
    for limit in (0, 1, 70_000, len(TEXT) - 1):
        with pytest.raises(DecompressedTooLargeError) as caught:
            decompress(codec, packed, limit)
        assert caught.value.limit_bytes == limit


BOMBS = {
    "gzip": (Codec.GZIP, compress(Codec.GZIP, bytes(48 * MIB), 9)),
    "lz4": (Codec.LZ4, compress(Codec.LZ4, bytes(48 * MIB))),
    "zstd": (Codec.ZSTD, compress(Codec.ZSTD, bytes(48 * MIB))),
    "zstd without size": (
        Codec.ZSTD,
        zstandard.ZstdCompressor(write_content_size=False).compress(bytes(48 * MIB)),
    ),
    "zstd frames": (Codec.ZSTD, compress(Codec.ZSTD, bytes(MIB)) * 48),
    "snappy blocks": (
        Codec.SNAPPY,
        SNAPPY_HEADER + block(snappy_raw(bytes(MIB))) * 48,
    ),
    "snappy that only says so": (Codec.SNAPPY, b"\xff\xff\xff\xff\x0f" + bytes(100)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_takes_no_memory(name: str) -> None:
    codec, packed = BOMBS[name]
    tracemalloc.start()
    try:
        with pytest.raises(DecompressedTooLargeError):
            decompress(codec, packed, 4 * MIB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The result itself, once more in pieces, and the piece at hand.
    assert peak < 3 * 4 * MIB + MIB


@pytest.mark.parametrize("codec", CODECS)
def test_cut_anywhere(codec: Codec) -> None:
    packed = compress(codec, TEXT[:3000] + NOISE[:300])
    whole = decompress(codec, packed, MIB)
    for size in range(len(packed)):
        try:
            part = decompress(codec, packed[:size], MIB)
        except CompressionError:
            continue
        # snappy's blocks have no end mark: a stream that ends between two is a shorter one.
        assert codec == Codec.SNAPPY, size
        assert len(part) < len(whole)


@pytest.mark.parametrize("codec", CODECS)
def test_damage_is_an_error_or_other_data(codec: Codec) -> None:
    packed = compress(codec, TEXT[:3000])
    rng = random.Random(11)
    for _ in range(300):
        damaged = bytearray(packed)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        try:
            assert len(decompress(codec, damaged, 64 * 1024)) <= 64 * 1024
        except CompressionError:
            pass


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("data", [b"", b"\x05", b"garbage, and quite a lot of it", b"\xff" * 50])
def test_garbage(codec: Codec, data: bytes) -> None:
    with pytest.raises(CompressionError):
        decompress(codec, data, MIB)


def test_unknown_codec() -> None:
    with pytest.raises(CompressionError, match="no codec 5"):
        decompress(5, b"", MIB)
    with pytest.raises(ValueError, match="5"):
        compress(5, b"")


# ---- gzip ----------------------------------------------------------------------------------------


def test_gzip_is_read_by_others() -> None:
    assert gzip.decompress(compress(Codec.GZIP, TEXT)) == TEXT


def test_gzip_members_and_what_is_behind_them() -> None:
    packed = gzip.compress(TEXT) + gzip.compress(NOISE)
    assert decompress(Codec.GZIP, packed, MIB) == TEXT + NOISE
    assert decompress(Codec.GZIP, packed + b"\0\0\0 more", MIB) == TEXT + NOISE
    with pytest.raises(CompressionError):
        decompress(Codec.GZIP, packed + gzip.compress(TEXT)[:-1], MIB)


def test_gzip_levels() -> None:
    sizes = {level: len(compress(Codec.GZIP, TEXT, level)) for level in (1, 9)}
    assert sizes[9] < sizes[1]
    assert compress(Codec.GZIP, TEXT) == compress(Codec.GZIP, TEXT, -1)
    with pytest.raises(CompressionError):
        decompress(Codec.GZIP, zlib.compress(TEXT), MIB)


# ---- snappy --------------------------------------------------------------------------------------


def test_snappy_is_a_stream_of_blocks() -> None:
    packed = compress(Codec.SNAPPY, TEXT)
    assert packed.startswith(SNAPPY_HEADER)
    position, out = len(SNAPPY_HEADER), b""
    while position < len(packed):
        (size,) = struct.unpack_from(">i", packed, position)
        piece = bytes(cramjam.snappy.decompress_raw(packed[position + 4 : position + 4 + size]))
        assert len(piece) == 32 * 1024 or position + 4 + size == len(packed)
        out += piece
        position += 4 + size
    assert out == TEXT


def test_snappy_forms() -> None:
    assert decompress(Codec.SNAPPY, snappy_raw(TEXT), MIB) == TEXT
    joined = compress(Codec.SNAPPY, TEXT) + compress(Codec.SNAPPY, NOISE)
    assert decompress(Codec.SNAPPY, joined, MIB) == TEXT + NOISE
    large_block = SNAPPY_HEADER + block(snappy_raw(TEXT))
    assert decompress(Codec.SNAPPY, large_block, MIB) == TEXT
    assert decompress(Codec.SNAPPY, large_block + b"xyz", MIB) == TEXT


@pytest.mark.parametrize(
    "stream",
    [
        SNAPPY_HEADER[:-1],
        SNAPPY_HEADER + b"\0\0\0\0",
        SNAPPY_HEADER + b"\xff\xff\xff\xff",
        SNAPPY_HEADER + b"\x7f\xff\xff\xff",
        SNAPPY_HEADER + block(snappy_raw(TEXT))[:-1],
        SNAPPY_HEADER + block(b"\x80\x80\x80\x80\x80\x80"),
        SNAPPY_HEADER + block(b"\xa0\x8d\x06" + bytes(10)),
    ],
)
def test_snappy_streams_that_are_none(stream: bytes) -> None:
    with pytest.raises(CompressionError):
        decompress(Codec.SNAPPY, stream, MIB)


# ---- lz4 -----------------------------------------------------------------------------------------


def test_lz4_frame_is_one_that_java_reads() -> None:
    packed = compress(Codec.LZ4, TEXT)
    info = lz4.frame.get_frame_info(packed)
    assert info["block_linked"] is False
    assert info["block_size"] == 64 * 1024
    assert info["content_size"] == 0
    assert not info["content_checksum"]
    assert lz4.frame.decompress(packed) == TEXT


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("checksums", [True, False])
@pytest.mark.parametrize("size", [4, 5, 6, 7])
def test_lz4_frames(linked: bool, checksums: bool, size: int) -> None:
    packed = lz4.frame.compress(
        TEXT,
        block_linked=linked,
        content_checksum=checksums,
        block_checksum=checksums,
        block_size=size,
        store_size=checksums,
    )
    assert decompress(Codec.LZ4, packed, MIB) == TEXT


def test_lz4_levels() -> None:
    assert len(compress(Codec.LZ4, TEXT, 12)) < len(compress(Codec.LZ4, TEXT, 9))
    assert compress(Codec.LZ4, TEXT, 9) == compress(Codec.LZ4, TEXT)
    assert decompress(Codec.LZ4, compress(Codec.LZ4, TEXT, 1), MIB) == TEXT


# ---- zstd ----------------------------------------------------------------------------------------


def test_zstd_forms() -> None:
    streamed = zstandard.ZstdCompressor(write_content_size=False).compress(TEXT)
    checked = zstandard.ZstdCompressor(write_checksum=True).compress(NOISE)
    skipped = b"\x53\x2a\x4d\x18" + struct.pack("<i", 5) + b"12345"
    assert decompress(Codec.ZSTD, streamed, MIB) == TEXT
    assert decompress(Codec.ZSTD, streamed + skipped + checked, MIB) == TEXT + NOISE
    with pytest.raises(CompressionError):
        decompress(Codec.ZSTD, checked + b"xyz", MIB)
    with pytest.raises(CompressionError):
        decompress(Codec.ZSTD, checked + skipped[:-1], MIB)


def test_zstd_levels() -> None:
    assert len(compress(Codec.ZSTD, TEXT, 19)) < len(compress(Codec.ZSTD, TEXT, -5))
    assert compress(Codec.ZSTD, TEXT, 3) == compress(Codec.ZSTD, TEXT)


def test_names() -> None:
    assert CODECS_BY_NAME == {
        "uncompressed": 0,
        "gzip": 1,
        "snappy": 2,
        "lz4": 3,
        "zstd": 4,
    }


@pytest.mark.parametrize(
    ("codec", "level"),
    [(1, -1), (1, 1), (1, 9), (3, 1), (3, 9), (3, 17), (4, -131_072), (4, 1), (4, 22)],
)
def test_every_level_that_a_topic_may_ask_for(codec: int, level: int) -> None:
    assert decompress(codec, compress(codec, TEXT, level), MIB) == TEXT
