"""Codecs of record batches: none, gzip, snappy, lz4, zstd.

What is written can be read by every Kafka client, what is read is every form that they write:

| codec | written | read as well |
|---|---|---|
| gzip | one member | several members; bytes behind them are ignored, as Java does |
| snappy | the blocked stream of snappy-java ("xerial"), blocks of 32 KiB | one bare snappy block (librdkafka, Go), joined streams |
| lz4 | frame with independent blocks of 64 KiB, no content checksum | every frame of the LZ4 frame format |
| zstd | frame with its content size | frames without content size, several frames |

Decompression is bounded: it needs the largest size that is wanted, and stops before it makes more
room than that. Pure functions for any thread; the libraries let go of the interpreter lock.
"""  # noqa: E501 - a table

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from enum import IntEnum
from io import BytesIO
from typing import Final

import cramjam
import lz4.frame
import zstandard
from typing_extensions import Buffer

from tidelog.errors import PeerError


class Codec(IntEnum):
    """Bits 0-2 of a batch's attributes."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


#: Codecs by the names of `compression.type` (which knows `producer` besides).
CODECS_BY_NAME: Final = {
    "uncompressed": Codec.NONE,
    "gzip": Codec.GZIP,
    "snappy": Codec.SNAPPY,
    "lz4": Codec.LZ4,
    "zstd": Codec.ZSTD,
}

#: Kafka's default levels (compression.gzip.level and so on).
DEFAULT_LEVELS: Final = {Codec.GZIP: -1, Codec.LZ4: 9, Codec.ZSTD: 3}

_GZIP_WINDOW: Final = 31  # zlib: 15 bits of window, gzip wrapper
_GZIP_MAGIC: Final = b"\x1f\x8b"
_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER: Final = _XERIAL_MAGIC + struct.pack(">ii", 1, 1)
_XERIAL_SIZE_BYTES: Final = 4
_XERIAL_BLOCK_BYTES: Final = 32 * 1024
#: The library's levels beyond the fast one begin here.
_LZ4_HIGH_COMPRESSION: Final = 3
_ZSTD_SKIPPABLE: Final = b"\x2a\x4d\x18"
_ZSTD_REPEATED_BYTE: Final = 1  # kind of a block
#: First piece that is asked of a stream; later ones double up to the largest.
_FIRST_PIECE_BYTES: Final = 64 * 1024
_LARGEST_PIECE_BYTES: Final = 1024 * 1024


class CompressionError(PeerError):
    """Bytes that are no data of the codec, or end too soon."""


class DecompressedTooLargeError(CompressionError):
    """There would be more than the limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"more than {limit_bytes} bytes when decompressed")
        self.limit_bytes = limit_bytes


def compress(codec: int, data: Buffer, level: int | None = None) -> bytes:
    """`level`: as in compression.<codec>.level; None is the codec's default."""
    view = memoryview(data)
    if codec == Codec.NONE:
        return bytes(view)
    return _COMPRESS[Codec(codec)](view, level)


def decompress(codec: int, data: Buffer, limit_bytes: int) -> bytes:
    """Raises CompressionError; DecompressedTooLargeError when it would be over `limit_bytes`."""
    view = memoryview(data)
    if codec == Codec.NONE:
        if len(view) > limit_bytes:
            raise DecompressedTooLargeError(limit_bytes)
        return bytes(view)
    try:
        function = _DECOMPRESS[Codec(codec)]
    except ValueError:
        raise CompressionError(f"there is no codec {codec}") from None
    return function(view, limit_bytes)


# ---- gzip ---------------------------------------------------------------------------------------


def _compress_gzip(data: memoryview, level: int | None) -> bytes:
    chosen = DEFAULT_LEVELS[Codec.GZIP] if level is None else level
    stream = zlib.compressobj(chosen, zlib.DEFLATED, _GZIP_WINDOW)
    return stream.compress(data) + stream.flush()


def _decompress_gzip(data: memoryview, limit_bytes: int) -> bytes:
    out = BytesIO()
    rest: Buffer = data
    while True:
        member = zlib.decompressobj(_GZIP_WINDOW)
        while not member.eof:
            try:
                piece = member.decompress(
                    rest, min(_LARGEST_PIECE_BYTES, limit_bytes + 1 - out.tell())
                )
            except zlib.error as error:
                raise CompressionError(f"gzip: {error}") from None
            out.write(piece)
            if out.tell() > limit_bytes:
                raise DecompressedTooLargeError(limit_bytes)
            if not piece and not member.eof:
                raise CompressionError("gzip: the data end too soon")
            rest = member.unconsumed_tail
        rest = member.unused_data
        if not rest.startswith(_GZIP_MAGIC):
            return out.getvalue()


# ---- snappy -------------------------------------------------------------------------------------


def _compress_snappy(data: memoryview, level: int | None) -> bytes:
    del level  # snappy has none
    out = [_XERIAL_HEADER]
    for start in range(0, len(data), _XERIAL_BLOCK_BYTES):
        block = bytes(cramjam.snappy.compress_raw(data[start : start + _XERIAL_BLOCK_BYTES]))
        out.append(len(block).to_bytes(_XERIAL_SIZE_BYTES, "big"))
        out.append(block)
    return b"".join(out)


def _decompress_snappy(data: memoryview, limit_bytes: int) -> bytes:
    if bytes(data[: len(_XERIAL_MAGIC)]) != _XERIAL_MAGIC:
        return _snappy_block(data, limit_bytes, limit_bytes)
    pieces: list[bytes] = []
    total = 0
    position = 0
    while position < len(data):
        # Streams may be joined: each brings its header.
        if bytes(data[position : position + len(_XERIAL_MAGIC)]) == _XERIAL_MAGIC:
            position += len(_XERIAL_HEADER)
            if position > len(data):
                raise CompressionError("snappy: the stream's header is cut")
            continue
        if len(data) - position < _XERIAL_SIZE_BYTES:
            break  # too few bytes for another block: Java takes them for the end
        size = int.from_bytes(data[position : position + _XERIAL_SIZE_BYTES], "big")
        position += _XERIAL_SIZE_BYTES
        if not 0 < size <= len(data) - position:
            raise CompressionError(f"snappy: a block of {size} bytes does not fit the stream")
        block = data[position : position + size]
        piece = _snappy_block(block, limit_bytes - total, limit_bytes)
        pieces.append(piece)
        total += len(piece)
        position += size
    return b"".join(pieces)


def _snappy_block(block: memoryview, room_bytes: int, limit_bytes: int) -> bytes:
    # The size stands in front as a plain varint of 32 bits, and the library believes it.
    size = shift = 0
    for byte in block[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    else:
        raise CompressionError("snappy: a block without a size")
    if size > room_bytes:
        raise DecompressedTooLargeError(limit_bytes)
    # Snappy's densest element makes 64 bytes of 3: a size beyond that is not the block's.
    if size > len(block) * 64:
        raise CompressionError("snappy: a block cannot hold the size that it names")
    try:
        piece = bytes(cramjam.snappy.decompress_raw(block))
    except cramjam.DecompressionError as error:
        raise CompressionError(f"snappy: {error}") from None
    if len(piece) != size:
        raise CompressionError("snappy: a block holds another size than it names")
    return piece


# ---- lz4 ----------------------------------------------------------------------------------------


def _compress_lz4(data: memoryview, level: int | None) -> bytes:
    # Kafka's default level stands for the fast compressor, any other one for high compression.
    fast = level is None or level == DEFAULT_LEVELS[Codec.LZ4]
    out: bytes = lz4.frame.compress(
        data,
        compression_level=0 if fast else max(level or 0, _LZ4_HIGH_COMPRESSION),
        block_size=lz4.frame.BLOCKSIZE_MAX64KB,
        block_linked=False,  # Java reads independent blocks only
        content_checksum=False,
        store_size=False,
    )
    return out


def _decompress_lz4(data: memoryview, limit_bytes: int) -> bytes:
    stream = lz4.frame.LZ4FrameDecompressor()
    # The library reads bytes only; after the first call it keeps what it has not used.
    rest = bytes(data)

    def read(size: int) -> bytes:
        nonlocal rest
        if stream.eof:
            return b""
        piece: bytes = stream.decompress(rest, max_length=size)
        rest = b""
        if not piece and stream.needs_input and not stream.eof:
            raise CompressionError("lz4: the data end too soon")
        return piece

    try:
        return _read_bounded(read, limit_bytes, limit_bytes, lambda: bool(stream.eof))
    except RuntimeError as error:
        raise CompressionError(f"lz4: {error}") from None


# ---- zstd ---------------------------------------------------------------------------------------


def _compress_zstd(data: memoryview, level: int | None) -> bytes:
    chosen = DEFAULT_LEVELS[Codec.ZSTD] if level is None else level
    return zstandard.ZstdCompressor(level=chosen).compress(data)


def _decompress_zstd(data: memoryview, limit_bytes: int) -> bytes:
    pieces: list[bytes] = []
    total = 0
    position = 0
    try:
        while position < len(data) or not pieces:
            frame = data[position : position + _zstd_frame_bytes(data[position:])]
            position += len(frame)
            piece = _zstd_frame(frame, limit_bytes - total, limit_bytes)
            pieces.append(piece)
            total += len(piece)
    except zstandard.ZstdError as error:
        raise CompressionError(f"zstd: {error}") from None
    return b"".join(pieces)


def _zstd_frame(frame: memoryview, room_bytes: int, limit_bytes: int) -> bytes:
    """One whole frame."""
    if _is_skippable(frame):
        return b""
    size = zstandard.get_frame_parameters(frame).content_size
    if size == zstandard.CONTENTSIZE_UNKNOWN:
        return _read_bounded(
            zstandard.ZstdDecompressor().stream_reader(frame).read, room_bytes, limit_bytes
        )
    if size > room_bytes:
        raise DecompressedTooLargeError(limit_bytes)
    return zstandard.ZstdDecompressor().decompress(frame)


def _zstd_frame_bytes(data: memoryview) -> int:
    """Size of the first frame, by its block headers.

    The library's stream takes the end of its input for the end of the frame, without a word.
    """
    if _is_skippable(data):
        end = 8 + int.from_bytes(data[4:8], "little")
    else:
        end = zstandard.frame_header_size(data)
        last = 0
        while not last:
            header = int.from_bytes(data[end : end + 3], "little")
            last, kind, size = header & 1, header >> 1 & 3, header >> 3
            end += 3 + (1 if kind == _ZSTD_REPEATED_BYTE else size)
            if end > len(data):
                break
        if zstandard.get_frame_parameters(data).has_checksum:
            end += 4
    if end > len(data):
        raise CompressionError("zstd: the data end too soon")
    return end


def _is_skippable(data: memoryview) -> bool:
    return bytes(data[1:4]) == _ZSTD_SKIPPABLE and len(data) >= 8 and data[0] & 0xF0 == 0x50


# ---- reading in pieces --------------------------------------------------------------------------


def _read_bounded(
    read: Callable[[int], bytes],
    room_bytes: int,
    limit_bytes: int,
    has_ended: Callable[[], bool] | None = None,
) -> bytes:
    """All of a stream, never asking for more than one byte beyond the room there is."""
    # It gives its own buffer away in the end: the data are never in memory twice.
    out = BytesIO()
    size = _FIRST_PIECE_BYTES
    while True:
        before = out.tell()
        out.write(read(min(size, room_bytes + 1 - before)))
        if out.tell() > room_bytes:
            raise DecompressedTooLargeError(limit_bytes)
        if has_ended() if has_ended is not None else before == out.tell():
            return out.getvalue()
        size = min(2 * size, _LARGEST_PIECE_BYTES)


_COMPRESS: Final[dict[Codec, Callable[[memoryview, int | None], bytes]]] = {
    Codec.GZIP: _compress_gzip,
    Codec.SNAPPY: _compress_snappy,
    Codec.LZ4: _compress_lz4,
    Codec.ZSTD: _compress_zstd,
}
_DECOMPRESS: Final[dict[Codec, Callable[[memoryview, int], bytes]]] = {
    Codec.GZIP: _decompress_gzip,
    Codec.SNAPPY: _decompress_snappy,
    Codec.LZ4: _decompress_lz4,
    Codec.ZSTD: _decompress_zstd,
}
