"""Messages with fields of every kind, and their bytes; for the tests of the codec."""

from enum import IntEnum
from typing import Any

from tidelog._native.codec_plan import Plan
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


def plan_of(version: int) -> Plan:
    return plan(Everything, version)


class Text(Data, versions="0-1", flexible="1+"):
    text: str = string()


class Blob(Data, versions="0-1", flexible="1+"):
    blob: bytes = bytes_()


class Numbers(Data, versions="0-2", flexible="1+"):
    numbers: list[int] | None = array(INT32, nullable="2+")


class Inners(Data, versions="0-1", flexible="1+"):
    inners: list[Inner] = array(Inner)


class Late(Data, versions="0", flexible="0+"):
    inner: Inner | None = struct(Inner, nullable="0+", tag=0)


class Color(IntEnum):
    RED = 3


def changed(**values: Any) -> Everything:
    message = example()
    for name, value in values.items():
        setattr(message, name, value)
    return message
