"""The native decoder: what it accepts, fills in and refuses.

Real messages are compared with other codecs and with a plain twin in tests/oracle/protocol.
"""

import gc
import sys
from typing import Any

import pytest

from tests.unit.native.codec_tables import (
    V0,
    V1,
    Blob,
    Inner,
    Inners,
    Numbers,
    Text,
    changed,
    example,
    plan_of,
)
from tidelog._native.codec_decoder import decode
from tidelog._native.codec_encoder import encode
from tidelog.errors import MalformedMessageError, MessageEncodeError
from tidelog.protocol.schema import Data, plan


def test_decoding_fills_fields_that_the_version_lacks_with_new_defaults() -> None:
    first, _ = decode(plan_of(0), bytes.fromhex(V0))
    second, _ = decode(plan_of(0), bytes.fromhex(V0))
    assert first.must_not_be_lost == -1
    assert first.inner.late == 7
    assert first.tagged_inner == Inner()
    assert first.tagged_nullable_inner is None
    assert first.tagged_strings == []
    assert first.tagged_inner is not second.tagged_inner
    assert first.tagged_strings is not second.tagged_strings
    first.tagged_inner.number = 5
    assert decode(plan_of(0), bytes.fromhex(V0))[0].tagged_inner.number == 0


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_and_offset(kind: Any) -> None:
    data = b"??" + bytes.fromhex(V0) + b"rest"
    assert decode(plan_of(0), kind(data), 2) == (example(), len(data) - 4)


@pytest.mark.parametrize("offset", [-1, 5])
def test_an_offset_outside_the_buffer(offset: int) -> None:
    with pytest.raises(MalformedMessageError, match="behind the end"):
        decode(plan_of(0), b"1234", offset)


def test_a_buffer_with_gaps_is_refused() -> None:
    with pytest.raises(BufferError):
        decode(plan_of(0), memoryview(bytes(100))[::2])


def test_the_last_of_a_repeated_tagged_field_counts() -> None:
    data = bytes.fromhex(V1 + "02 05 04 00000009 05 04 00000008")
    assert decode(plan_of(1), data)[0].tagged_number == 8


def test_ill_formed_text_is_read_with_replacement_characters() -> None:
    data = bytes.fromhex(V0.replace("0002c3a9", "0002c341"))
    assert decode(plan_of(0), data)[0].a_string == "\ufffdA"


def test_replacement_characters_make_no_text_that_could_not_be_written() -> None:
    for bad in (1, 10922):
        data = bad.to_bytes(2, "big") + b"\xff" * bad
        found = decode(plan(Text, 0), data)[0]
        assert decode(plan(Text, 0), encode(plan(Text, 0), found))[0].text == "\ufffd" * bad
    for bad in (10923, 32767):
        with pytest.raises(MalformedMessageError, match="longer than 32767 bytes"):
            decode(plan(Text, 0), bad.to_bytes(2, "big") + b"\xff" * bad)


def test_any_byte_but_zero_is_true() -> None:
    data = bytes.fromhex("02" + V0.removeprefix("01"))
    assert decode(plan_of(0), data)[0].a_bool is True


@pytest.mark.parametrize(
    ("cls", "version", "data", "reason"),
    [
        (Text, 0, "", "0 bytes left"),
        (Text, 0, "0003 6161", "4 bytes left"),
        (Text, 0, "ffff", "is null"),
        (Text, 0, "fffe", "impossible length"),
        (Text, 0, "8000", "impossible length"),
        (Text, 1, "00", "is null"),
        (Text, 1, "05 616161", "4 bytes left"),
        (Text, 1, "8180 02" + "61" * 0x8000 + "00", "impossible length"),
        (Text, 1, "8080808010", "overlong varint"),
        (Text, 1, "ffffffffff01", "overlong varint"),
        (Text, 1, "80", "1 bytes left"),
        (Blob, 0, "7fffffff", "4 bytes left"),
        (Blob, 0, "ffffffff", "is null"),
        (Blob, 0, "fffffffe", "impossible length"),
        (Blob, 1, "8180808008 00", "impossible length"),
        (Blob, 1, "8080808008 00", "6 bytes left"),
        (Numbers, 0, "00000002 00000001 000000", "11 bytes left"),
        (Numbers, 0, "40000000 00000001 00000000", "12 bytes left"),
        (Numbers, 0, "ffffffff", "is null"),
        (Numbers, 0, "fffffffe", "impossible length"),
        (Numbers, 0, "80000000", "impossible length"),
        (Numbers, 1, "00 00", "is null"),
        (Numbers, 1, "03 00000001 000000", "8 bytes left"),
        (Inners, 0, "00000002 0000 00", "7 bytes left"),
        (Inners, 1, "03 0000 00 00", "5 bytes left"),
        (Inners, 1, "02 0000", "3 bytes left"),
        (Text, 1, "01", "tagged fields does not fit"),
        (Text, 1, "01 01 00", "tagged fields does not fit"),
        (Text, 1, "01 01 00 05 aa", "tagged fields does not fit"),
        (Text, 1, "01 ffffffff0f", "tagged fields does not fit"),
        (Text, 1, "01 ffffffff1f", "tagged fields has an overlong varint"),
    ],
)
def test_malformed_bytes(cls: type[Data], version: int, data: str, reason: str) -> None:
    with pytest.raises(MalformedMessageError, match=reason):
        decode(plan(cls, version), bytes.fromhex(data))


@pytest.mark.parametrize("size", ["03", "05"])
def test_a_tagged_field_of_a_wrong_size(size: str) -> None:
    with pytest.raises(MalformedMessageError, match="tagged_number"):
        decode(plan_of(1), bytes.fromhex(V1 + f"01 05 {size} 0000000900"))


def test_nothing_is_leaked() -> None:
    data = encode(plan_of(1), changed(tagged_strings=["tag"], may_be_lost="lost"))
    marker = "a marker that is interned nowhere " + str(len(data))
    message = changed(a_string=marker)
    count = sys.getrefcount(marker)
    for _ in range(100):
        encode(plan_of(1), message)
        with pytest.raises(MessageEncodeError):
            encode(plan_of(1), changed(a_string=marker, tagged_number=2**40))
        decode(plan_of(1), data)
        with pytest.raises(MalformedMessageError):
            decode(plan_of(1), data[:-1])
    gc.collect()
    assert sys.getrefcount(marker) == count
    before = len(gc.get_objects())
    for _ in range(100):
        decode(plan_of(1), data)
        with pytest.raises(MalformedMessageError):
            decode(plan_of(1), data[:-1])
    gc.collect()
    assert len(gc.get_objects()) < before + 50


def test_elements_are_counted_whatever_their_depth() -> None:
    data = bytes.fromhex("00000003 0000 0000 0000")
    assert len(decode(plan(Inners, 0), data, 0, False, 3)[0].inners) == 3
    with pytest.raises(MalformedMessageError, match="too many elements"):
        decode(plan(Inners, 0), data, 0, False, 2)
    numbers = bytes.fromhex("00000002 00000001 00000002")
    assert decode(plan(Numbers, 0), numbers, 0, False, 2)[0] is not None
    with pytest.raises(MalformedMessageError, match="too many elements"):
        decode(plan(Numbers, 0), numbers, 0, False, 1)
