"""The native encoder, and both directions byte for byte.

Real messages are compared with other codecs and with a plain twin in tests/oracle/protocol.
"""

from typing import Any

import pytest

from tests.unit.native.codec_tables import (
    V0,
    V1,
    V1_TAGGED,
    Blob,
    Color,
    Inner,
    Late,
    Numbers,
    Text,
    changed,
    example,
    plan_of,
)
from tidelog._native.codec_decoder import decode
from tidelog._native.codec_encoder import encode, encode_frame, encode_response_frame
from tidelog.errors import MalformedMessageError, MessageEncodeError, TextTooLongError
from tidelog.protocol.schema import plan


def test_old_versions_byte_for_byte() -> None:
    data = bytes.fromhex(V0)
    assert encode(plan_of(0), example()) == data
    assert decode(plan_of(0), data) == (example(), len(data))


def test_flexible_versions_byte_for_byte() -> None:
    data = bytes.fromhex(V1 + "00")
    assert encode(plan_of(1), example()) == data
    assert decode(plan_of(1), data) == (example(), len(data))


def test_tagged_fields_byte_for_byte() -> None:
    message = example()
    message.tagged_inner = Inner(number=11)
    message.tagged_nullable_inner = Inner(number=12)
    message.tagged_number = 9
    message.tagged_strings = ["a", ""]
    data = bytes.fromhex(V1 + V1_TAGGED)
    assert encode(plan_of(1), message) == data
    assert decode(plan_of(1), data) == (message, len(data))


def test_a_null_differs_from_a_default_in_tagged_fields() -> None:
    message = example()
    message.tagged_nullable_inner = Inner()
    data = encode(plan_of(1), message)
    assert data == bytes.fromhex(V1 + "01 02 04 01000000")
    assert decode(plan_of(1), data)[0].tagged_nullable_inner == Inner()


def test_the_marker_of_a_null_struct_is_another_one_when_it_is_tagged() -> None:
    assert encode(plan(Late, 0), Late(inner=None)) == bytes.fromhex("01 00 01 00")
    assert decode(plan(Late, 0), bytes.fromhex("01 00 01 00"))[0].inner is None
    with pytest.raises(MalformedMessageError):
        decode(plan(Late, 0), bytes.fromhex("01 00 01 ff"))
    message = changed(nullable_inner=None)
    data = bytes.fromhex(V1.replace("01 000900", "ff") + "00")
    assert encode(plan_of(1), message) == data
    assert decode(plan_of(1), data)[0] == message


def test_unknown_tagged_fields_are_skipped_or_kept() -> None:
    data = bytes.fromhex(V1 + "03 01 02 aabb 05 04 00000009 8001 00")
    skipped, end = decode(plan_of(1), data)
    assert (skipped.unknown_tagged_fields, skipped.tagged_number, end) == ((), 9, len(data))
    kept, _ = decode(plan_of(1), data, keep_unknown=True)
    assert kept.unknown_tagged_fields == ((1, b"\xaa\xbb"), (128, b""))
    assert encode(plan_of(1), kept) == data
    assert skipped != kept


def test_unknown_tagged_fields_are_written_in_order_of_their_tags() -> None:
    message = example()
    message.unknown_tagged_fields = ((128, b""), (1, b"\xaa\xbb"))
    message.tagged_number = 9
    data = bytes.fromhex(V1 + "03 01 02 aabb 05 04 00000009 8001 00")
    assert encode(plan_of(1), message) == data


def test_an_unknown_tagged_field_with_a_known_tag_cannot_be_written() -> None:
    message = example()
    message.unknown_tagged_fields = ((5, b""),)
    with pytest.raises(MessageEncodeError, match="tag 5"):
        encode(plan_of(1), message)


def test_unknown_tagged_fields_need_a_flexible_version() -> None:
    message = example()
    message.unknown_tagged_fields = ((77, b""),)
    with pytest.raises(MessageEncodeError, match="no tagged fields"):
        encode(plan_of(0), message)


def test_null_arrays_where_they_are_allowed() -> None:
    assert decode(plan(Numbers, 2), b"\x00\x00")[0].numbers is None
    assert encode(plan(Numbers, 2), Numbers(numbers=None)) == b"\x00\x00"


def test_long_arrays() -> None:
    message = Numbers(numbers=list(range(70_000)))
    for version in (0, 1):
        data = encode(plan(Numbers, version), message)
        assert decode(plan(Numbers, version), data) == (message, len(data))


def test_long_strings_and_bytes() -> None:
    text = Text(text="é" * 0x3FFF + "a")
    blob = Blob(blob=bytes(3_000_000))
    for version in (0, 1):
        for message in (text, blob):
            data = encode(plan(type(message), version), message)
            assert decode(plan(type(message), version), data)[0] == message
    with pytest.raises(TextTooLongError, match="longer than 32767"):
        encode(plan(Text, 1), Text(text="a" * 0x8000))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("an_int32", Color.RED),
        ("an_int32", True),
        ("an_int64", 2**63 - 1),
        ("an_int64", -(2**63)),
        ("an_int8", -128),
        ("an_uint16", 0xFFFF),
        ("a_float64", 3),
        ("numbers", (1, 2, 3)),
        ("some_bytes", bytearray(b"xy")),
        ("some_bytes", memoryview(b"xy")),
    ],
)
def test_values_that_can_be_written(name: str, value: Any) -> None:
    data = encode(plan_of(1), changed(**{name: value}))
    read = getattr(decode(plan_of(1), data)[0], name)
    assert read == (list(value) if isinstance(value, tuple) else value)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("an_int8", 128, "out of range"),
        ("an_int8", -129, "out of range"),
        ("an_int16", 2**15, "out of range"),
        ("an_uint16", -1, "out of range"),
        ("an_uint16", 2**16, "out of range"),
        ("an_int32", 2**31, "out of range"),
        ("an_int64", 2**63, "out of range"),
        ("an_int64", -(2**70), "out of range"),
        ("an_int32", "1", "is no integer"),
        ("an_int32", 1.0, "is no integer"),
        ("an_int32", None, "has no null"),
        ("a_bool", 1, "is no bool"),
        ("a_float64", "1", "is no float"),
        ("a_uuid", bytes(15), "is no 16 bytes"),
        ("a_uuid", "0" * 16, "is no 16 bytes"),
        ("a_string", b"a", "is no string"),
        ("a_string", None, "has no null"),
        ("a_string", "\ud800", "lone surrogate"),
        ("some_bytes", "a", "is no contiguous buffer"),
        ("some_bytes", memoryview(b"abc")[::2], "is no contiguous buffer"),
        ("numbers", None, "has no null"),
        ("numbers", {1}, "is no list"),
        ("numbers", [None], "is no integer"),
        ("nullable_strings", [None], "is no string"),
        ("inner", None, "has no null"),
        ("inner", 3, "cannot be written from int"),
        ("inners", [Numbers()], "cannot be written from Numbers"),
        ("tagged_number", 2**40, "out of range"),
    ],
)
def test_values_that_cannot_be_written(name: str, value: Any, reason: str) -> None:
    with pytest.raises(MessageEncodeError, match=reason):
        encode(plan_of(1), changed(**{name: value}))


def test_null_is_a_matter_of_the_version() -> None:
    message = changed(nullable_bytes=None)
    assert decode(plan_of(1), encode(plan_of(1), message))[0] == message
    with pytest.raises(MessageEncodeError, match="nullable_bytes is None"):
        encode(plan_of(0), message)


def test_only_ignorable_values_are_dropped() -> None:
    message = changed(may_be_lost="lost")
    assert encode(plan_of(0), message) == bytes.fromhex(V0)
    with pytest.raises(MessageEncodeError, match="must_not_be_lost is set"):
        encode(plan_of(0), changed(must_not_be_lost=0))
    with pytest.raises(MessageEncodeError, match="tagged_strings is set"):
        encode(plan_of(0), changed(tagged_strings=["x"]))
    with pytest.raises(MessageEncodeError, match="tagged_inner is set"):
        encode(plan_of(0), changed(tagged_inner=Inner(number=1)))


def test_a_deleted_field_cannot_be_written() -> None:
    message = example()
    del message.numbers
    with pytest.raises(MessageEncodeError, match="numbers was deleted"):
        encode(plan_of(0), message)


def test_another_message_cannot_be_written() -> None:
    with pytest.raises(MessageEncodeError, match="cannot be written from Text"):
        encode(plan_of(0), Text())


def test_frames() -> None:
    body = bytes.fromhex("000161")
    assert encode_frame(plan(Text, 0), Text(text="a"), b"head") == (b"\x00\x00\x00\x07head" + body)
    assert encode_response_frame(plan(Text, 0), Text(text="a"), 5, False) == (
        b"\x00\x00\x00\x07\x00\x00\x00\x05" + body
    )
    assert encode_response_frame(plan(Text, 0), Text(text="a"), -1, True) == (
        b"\x00\x00\x00\x08\xff\xff\xff\xff\x00" + body
    )
