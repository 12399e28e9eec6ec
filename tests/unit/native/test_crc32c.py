"""CRC-32C against the published vectors, its bit-by-bit twin and the other implementation."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.oracle.record.crc_twin import crc32c as twin
from tidelog._native.crc32c import crc32c, has_hardware, use_hardware

# RFC 3720, B.4, and the check value of the CRC catalogue.
VECTORS = [
    (b"", 0),
    (b"123456789", 0xE3069283),
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
]
NOISE = random.Random(7).randbytes(70_000)


@pytest.fixture(params=["hardware", "portable"])
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    wanted = request.param == "hardware"
    if wanted and not has_hardware():
        pytest.skip("this CPU has no CRC32C instructions")
    assert use_hardware(wanted) is wanted
    yield request.param
    use_hardware(True)


@pytest.mark.parametrize(("data", "expected"), VECTORS)
def test_known_vectors(implementation: str, data: bytes, expected: int) -> None:
    assert crc32c(data) == expected
    assert twin(data) == expected


def test_every_short_length(implementation: str) -> None:
    # The twin is slow: it goes forward byte by byte, which is also what `seed` is for.
    expected = 0
    for length in range(2001):
        assert crc32c(NOISE[:length]) == expected, length
        expected = twin(NOISE[length : length + 1], expected)


def test_every_alignment(implementation: str) -> None:
    view = memoryview(NOISE)
    for start in range(64):
        for length in (1, 7, 8, 95, 96, 97, 255, 1000, 3071, 3072, 3073, 3100):
            piece = view[start : start + length]
            expected = 0
            for at in range(0, length, 5):  # pieces too short for the streams
                expected = crc32c(piece[at : at + 5], expected)
            assert crc32c(piece) == expected, (start, length)


@pytest.mark.parametrize("length", [3072, 6144, 9216, 9240, 9247, 65_536, 69_999])
def test_long_ones_equal_those_of_short_pieces(implementation: str, length: int) -> None:
    expected = 0
    for at in range(0, length, 89):
        expected = crc32c(NOISE[at : min(at + 89, length)], expected)
    assert crc32c(NOISE[:length]) == expected


def test_continues_from_a_seed(implementation: str) -> None:
    for cut in (0, 1, 8, 100, 4000, 5000):
        assert crc32c(NOISE[cut:5000], crc32c(NOISE[:cut])) == crc32c(NOISE[:5000])


def test_both_implementations_agree() -> None:
    if not has_hardware():
        pytest.skip("this CPU has no CRC32C instructions")
    lengths = [random.Random(3).randrange(70_000) for _ in range(50)]
    try:
        use_hardware(False)
        portable = [crc32c(NOISE[:length]) for length in lengths]
    finally:
        use_hardware(True)
    assert [crc32c(NOISE[:length]) for length in lengths] == portable


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_any_contiguous_bytes(make: type) -> None:
    assert crc32c(make(b"123456789")) == 0xE3069283


def test_refuses_what_is_not_contiguous_bytes() -> None:
    with pytest.raises(BufferError):
        crc32c(memoryview(b"123456789")[::2])
    with pytest.raises(TypeError):
        crc32c("123456789")  # type: ignore[arg-type]
