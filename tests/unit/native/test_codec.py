"""The native codec on tables made for the purpose: every type, every refusal, byte for byte.

Real messages are compared with other codecs and with a plain twin in tests/oracle/protocol.
"""

import gc
import sys
import weakref
from enum import IntEnum
from typing import Any

import pytest

from tidelog._native import codec
from tidelog.errors import InvariantError, MalformedMessageError, MessageEncodeError
from tidelog.protocol.schema import (
    INT32,
    STRING,
    Data,
    Struct,
    array,
    boolean,
    bytes_,
    float64,
    int8,
    int16,
    int32,
    int64,
    plan,
    records_,
    string,
    struct,
    uint16,
    uuid,
)


class Inner(Struct):
    number: int = int16()
    late: int = int32("2+", default=7)


class Everything(Data, versions="0-2", flexible="1+"):
    a_bool: bool = boolean()
    an_int8: int = int8()
    an_int16: int = int16()
    an_uint16: int = uint16()
    an_int32: int = int32()
    an_int64: int = int64()
    a_float64: float = float64()
    a_uuid: bytes = uuid()
    a_string: str = string()
    a_nullable_string: str | None = string(nullable="0+")
    an_old_string: str | None = string(nullable="0+", flexible="none")
    some_bytes: bytes = bytes_()
    nullable_bytes: bytes | None = bytes_(nullable="1+")
    some_records: bytes | None = records_(nullable="0+")
    numbers: list[int] = array(INT32)
    nullable_strings: list[str] | None = array(STRING, nullable="1+")
    inner: Inner = struct(Inner)
    nullable_inner: Inner | None = struct(Inner, nullable="0+", default=None)
    inners: list[Inner] = array(Inner)
    must_not_be_lost: int = int32("2+", default=-1)
    may_be_lost: str = string("2+", ignorable=True)
    tagged_number: int = int32("1+", default=-1, tag=5)
    tagged_inner: Inner = struct(Inner, "1+", tag=0)
    tagged_nullable_inner: Inner | None = struct(Inner, "1+", nullable="1+", default=None, tag=2)
    tagged_strings: list[str] = array(STRING, "1+", tag=300)


def example() -> Everything:
    return Everything(
        a_bool=True,
        an_int8=-2,
        an_int16=-3,
        an_uint16=0xFFFE,
        an_int32=-5,
        an_int64=-6,
        a_float64=1.5,
        a_uuid=bytes(range(16)),
        a_string="é",
        a_nullable_string=None,
        an_old_string="x",
        some_bytes=b"ab",
        nullable_bytes=b"",
        some_records=None,
        numbers=[1, 2],
        nullable_strings=["s"],
        inner=Inner(number=8),
        nullable_inner=Inner(number=9),
        inners=[Inner(number=10)],
    )


FIXED = (
    "01 fe fffd fffe fffffffb fffffffffffffffa 3ff8000000000000 000102030405060708090a0b0c0d0e0f"
)
V0 = (
    FIXED + " 0002c3a9 ffff 000178 000000026162 00000000 ffffffff"
    " 00000002 00000001 00000002 00000001 000173 0008 01 0009 00000001 000a"
)
V1 = (
    FIXED + " 03c3a9 00 000178 036162 01 00 03 00000001 00000002 02 0273 000800 01 000900 02 000a00"
)
V1_TAGGED = (
    "04"  # how many
    " 00 03 000b00"  # tagged_inner
    " 02 04 01 000c00"  # tagged_nullable_inner, with its marker
    " 05 04 00000009"  # tagged_number
    " ac02 04 03 0261 01"  # tagged_strings
)


def plan_of(version: int) -> codec.Plan:
    return plan(Everything, version)


def test_old_versions_byte_for_byte() -> None:
    data = bytes.fromhex(V0)
    assert codec.encode(plan_of(0), example()) == data
    assert codec.decode(plan_of(0), data) == (example(), len(data))


def test_flexible_versions_byte_for_byte() -> None:
    data = bytes.fromhex(V1 + "00")
    assert codec.encode(plan_of(1), example()) == data
    assert codec.decode(plan_of(1), data) == (example(), len(data))


def test_tagged_fields_byte_for_byte() -> None:
    message = example()
    message.tagged_inner = Inner(number=11)
    message.tagged_nullable_inner = Inner(number=12)
    message.tagged_number = 9
    message.tagged_strings = ["a", ""]
    data = bytes.fromhex(V1 + V1_TAGGED)
    assert codec.encode(plan_of(1), message) == data
    assert codec.decode(plan_of(1), data) == (message, len(data))


def test_a_null_differs_from_a_default_in_tagged_fields() -> None:
    message = example()
    message.tagged_nullable_inner = Inner()
    data = codec.encode(plan_of(1), message)
    assert data == bytes.fromhex(V1 + "01 02 04 01000000")
    assert codec.decode(plan_of(1), data)[0].tagged_nullable_inner == Inner()


def test_decoding_fills_fields_that_the_version_lacks_with_new_defaults() -> None:
    first, _ = codec.decode(plan_of(0), bytes.fromhex(V0))
    second, _ = codec.decode(plan_of(0), bytes.fromhex(V0))
    assert first.must_not_be_lost == -1
    assert first.inner.late == 7
    assert first.tagged_inner == Inner()
    assert first.tagged_nullable_inner is None
    assert first.tagged_strings == []
    assert first.tagged_inner is not second.tagged_inner
    assert first.tagged_strings is not second.tagged_strings
    first.tagged_inner.number = 5
    assert codec.decode(plan_of(0), bytes.fromhex(V0))[0].tagged_inner.number == 0


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_and_offset(kind: Any) -> None:
    data = b"??" + bytes.fromhex(V0) + b"rest"
    assert codec.decode(plan_of(0), kind(data), 2) == (example(), len(data) - 4)


@pytest.mark.parametrize("offset", [-1, 5])
def test_an_offset_outside_the_buffer(offset: int) -> None:
    with pytest.raises(MalformedMessageError, match="behind the end"):
        codec.decode(plan_of(0), b"1234", offset)


def test_a_buffer_with_gaps_is_refused() -> None:
    with pytest.raises(BufferError):
        codec.decode(plan_of(0), memoryview(bytes(100))[::2])


class Late(Data, versions="0", flexible="0+"):
    inner: Inner | None = struct(Inner, nullable="0+", tag=0)


def test_the_marker_of_a_null_struct_is_another_one_when_it_is_tagged() -> None:
    assert codec.encode(plan(Late, 0), Late(inner=None)) == bytes.fromhex("01 00 01 00")
    assert codec.decode(plan(Late, 0), bytes.fromhex("01 00 01 00"))[0].inner is None
    with pytest.raises(MalformedMessageError):
        codec.decode(plan(Late, 0), bytes.fromhex("01 00 01 ff"))
    message = changed(nullable_inner=None)
    data = bytes.fromhex(V1.replace("01 000900", "ff") + "00")
    assert codec.encode(plan_of(1), message) == data
    assert codec.decode(plan_of(1), data)[0] == message


def test_unknown_tagged_fields_are_skipped_or_kept() -> None:
    data = bytes.fromhex(V1 + "03 01 02 aabb 05 04 00000009 8001 00")
    skipped, end = codec.decode(plan_of(1), data)
    assert (skipped.unknown_tagged_fields, skipped.tagged_number, end) == ((), 9, len(data))
    kept, _ = codec.decode(plan_of(1), data, keep_unknown=True)
    assert kept.unknown_tagged_fields == ((1, b"\xaa\xbb"), (128, b""))
    assert codec.encode(plan_of(1), kept) == data
    assert skipped != kept


def test_unknown_tagged_fields_are_written_in_order_of_their_tags() -> None:
    message = example()
    message.unknown_tagged_fields = ((128, b""), (1, b"\xaa\xbb"))
    message.tagged_number = 9
    data = bytes.fromhex(V1 + "03 01 02 aabb 05 04 00000009 8001 00")
    assert codec.encode(plan_of(1), message) == data


def test_an_unknown_tagged_field_with_a_known_tag_cannot_be_written() -> None:
    message = example()
    message.unknown_tagged_fields = ((5, b""),)
    with pytest.raises(MessageEncodeError, match="tag 5"):
        codec.encode(plan_of(1), message)


def test_unknown_tagged_fields_need_a_flexible_version() -> None:
    message = example()
    message.unknown_tagged_fields = ((77, b""),)
    with pytest.raises(MessageEncodeError, match="no tagged fields"):
        codec.encode(plan_of(0), message)


def test_the_last_of_a_repeated_tagged_field_counts() -> None:
    data = bytes.fromhex(V1 + "02 05 04 00000009 05 04 00000008")
    assert codec.decode(plan_of(1), data)[0].tagged_number == 8


def test_ill_formed_text_is_read_with_replacement_characters() -> None:
    data = bytes.fromhex(V0.replace("0002c3a9", "0002c341"))
    assert codec.decode(plan_of(0), data)[0].a_string == "\ufffdA"


def test_any_byte_but_zero_is_true() -> None:
    data = bytes.fromhex("02" + V0.removeprefix("01"))
    assert codec.decode(plan_of(0), data)[0].a_bool is True


class Text(Data, versions="0-1", flexible="1+"):
    text: str = string()


class Blob(Data, versions="0-1", flexible="1+"):
    blob: bytes = bytes_()


class Numbers(Data, versions="0-2", flexible="1+"):
    numbers: list[int] | None = array(INT32, nullable="2+")


class Inners(Data, versions="0-1", flexible="1+"):
    inners: list[Inner] = array(Inner)


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
        codec.decode(plan(cls, version), bytes.fromhex(data))


@pytest.mark.parametrize("size", ["03", "05"])
def test_a_tagged_field_of_a_wrong_size(size: str) -> None:
    with pytest.raises(MalformedMessageError, match="tagged_number"):
        codec.decode(plan_of(1), bytes.fromhex(V1 + f"01 05 {size} 0000000900"))


def test_null_arrays_where_they_are_allowed() -> None:
    assert codec.decode(plan(Numbers, 2), b"\x00\x00")[0].numbers is None
    assert codec.encode(plan(Numbers, 2), Numbers(numbers=None)) == b"\x00\x00"


def test_long_arrays() -> None:
    message = Numbers(numbers=list(range(70_000)))
    for version in (0, 1):
        data = codec.encode(plan(Numbers, version), message)
        assert codec.decode(plan(Numbers, version), data) == (message, len(data))


def test_long_strings_and_bytes() -> None:
    text = Text(text="é" * 0x3FFF + "a")
    blob = Blob(blob=bytes(3_000_000))
    for version in (0, 1):
        for message in (text, blob):
            data = codec.encode(plan(type(message), version), message)
            assert codec.decode(plan(type(message), version), data)[0] == message
    with pytest.raises(MessageEncodeError, match="longer than 32767"):
        codec.encode(plan(Text, 1), Text(text="a" * 0x8000))


class Color(IntEnum):
    RED = 3


def changed(**values: Any) -> Everything:
    message = example()
    for name, value in values.items():
        setattr(message, name, value)
    return message


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
    data = codec.encode(plan_of(1), changed(**{name: value}))
    read = getattr(codec.decode(plan_of(1), data)[0], name)
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
        codec.encode(plan_of(1), changed(**{name: value}))


def test_null_is_a_matter_of_the_version() -> None:
    message = changed(nullable_bytes=None)
    assert codec.decode(plan_of(1), codec.encode(plan_of(1), message))[0] == message
    with pytest.raises(MessageEncodeError, match="nullable_bytes is None"):
        codec.encode(plan_of(0), message)


def test_only_ignorable_values_are_dropped() -> None:
    message = changed(may_be_lost="lost")
    assert codec.encode(plan_of(0), message) == bytes.fromhex(V0)
    with pytest.raises(MessageEncodeError, match="must_not_be_lost is set"):
        codec.encode(plan_of(0), changed(must_not_be_lost=0))
    with pytest.raises(MessageEncodeError, match="tagged_strings is set"):
        codec.encode(plan_of(0), changed(tagged_strings=["x"]))
    with pytest.raises(MessageEncodeError, match="tagged_inner is set"):
        codec.encode(plan_of(0), changed(tagged_inner=Inner(number=1)))


def test_a_deleted_field_cannot_be_written() -> None:
    message = example()
    del message.numbers
    with pytest.raises(MessageEncodeError, match="numbers was deleted"):
        codec.encode(plan_of(0), message)


def test_another_message_cannot_be_written() -> None:
    with pytest.raises(MessageEncodeError, match="cannot be written from Text"):
        codec.encode(plan_of(0), Text())


def test_frames() -> None:
    body = bytes.fromhex("000161")
    assert codec.encode_frame(plan(Text, 0), Text(text="a"), b"head") == (
        b"\x00\x00\x00\x07head" + body
    )
    assert codec.encode_response_frame(plan(Text, 0), Text(text="a"), 5, False) == (
        b"\x00\x00\x00\x07\x00\x00\x00\x05" + body
    )
    assert codec.encode_response_frame(plan(Text, 0), Text(text="a"), -1, True) == (
        b"\x00\x00\x00\x08\xff\xff\xff\xff\x00" + body
    )


def test_a_plan_is_built_once_and_only_for_structs() -> None:
    made = plan_of(0)
    with pytest.raises(InvariantError, match="built once"):
        made.__init__(Everything, 0, False, [], [], [])  # type: ignore[misc]
    with pytest.raises(AttributeError):
        codec.Plan(int, 0, False, [], [], [])
    no_slot = [("FIELDS", "int8", False, False, False, False, 0, 0, None)]
    with pytest.raises(InvariantError, match="is no slot"):
        codec.Plan(Inner, 0, False, no_slot, [], [])
    tagged = [("number", "int16", False, False, False, False, 0, 0, None)]
    with pytest.raises(InvariantError, match="need a flexible version"):
        codec.Plan(Inner, 0, False, [], tagged, [])
    with pytest.raises(InvariantError, match="has no bytes"):
        empty = codec.Plan(Inner, 0, False, [], [], [])
        inner = [("inners", "struct", True, False, False, False, 0, [], empty)]
        codec.Plan(Inners, 0, False, inner, [], [])


def test_nothing_is_leaked() -> None:
    data = codec.encode(plan_of(1), changed(tagged_strings=["tag"], may_be_lost="lost"))
    marker = "a marker that is interned nowhere " + str(len(data))
    message = changed(a_string=marker)
    count = sys.getrefcount(marker)
    for _ in range(100):
        codec.encode(plan_of(1), message)
        with pytest.raises(MessageEncodeError):
            codec.encode(plan_of(1), changed(a_string=marker, tagged_number=2**40))
        codec.decode(plan_of(1), data)
        with pytest.raises(MalformedMessageError):
            codec.decode(plan_of(1), data[:-1])
    gc.collect()
    assert sys.getrefcount(marker) == count
    before = len(gc.get_objects())
    for _ in range(100):
        codec.decode(plan_of(1), data)
        with pytest.raises(MalformedMessageError):
            codec.decode(plan_of(1), data[:-1])
    gc.collect()
    assert len(gc.get_objects()) < before + 50


def test_plans_keep_what_they_point_to() -> None:
    class Sub(Struct):
        number: int = int8()

    class Short(Data, versions="0", flexible="0+"):
        sub: Sub = struct(Sub, tag=0)

    made = plan(Short, 0)
    alive = weakref.ref(Sub)
    del Short, Sub
    gc.collect()
    assert alive() is not None
    message, _ = codec.decode(made, b"\x01\x00\x02\x05\x00")
    assert message.sub.number == 5
