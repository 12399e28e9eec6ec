"""A plain Python twin of the native codec: the same tables, the same rules, no cleverness.

It reads like the protocol's description and is compared with the native one on good and on hostile
bytes. The order of checks is part of the rules only in so far as both must accept and refuse alike.
"""

from struct import pack, unpack_from
from typing import Any, TypeVar

from tidelog.errors import MalformedMessageError
from tidelog.protocol.schema import Field, Message, Struct

S = TypeVar("S", bound=Struct)
FIXED = {
    "bool": ">b",
    "int8": ">b",
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "int64": ">q",
    "float64": ">d",
    "uuid": "16s",
}
SIZES = {"b": 1, "h": 2, "H": 2, "i": 4, "q": 8, "d": 8, "16s": 16}


class Reader:
    """A position in bytes that never leaves them."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.position:
            raise MalformedMessageError("short")
        self.position += size
        return self.data[self.position - size : self.position]

    def number(self, form: str) -> Any:
        return unpack_from(form, self.take(SIZES[form.removeprefix(">")]))[0]

    def uvarint(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >= 2**32:
                    break
                return value
        raise MalformedMessageError("overlong varint")

    def length(self, compact: bool, form: str) -> int:
        length = self.uvarint() - 1 if compact else self.number(form)
        if not -1 <= length <= 0x7FFFFFFF:
            raise MalformedMessageError("impossible length")
        return int(length)


def decode(cls: type[S], version: int, data: bytes, flexible: bool) -> tuple[S, int]:
    """The message at the start of data, and how many bytes it took."""
    reader = Reader(data)
    return _struct(cls, version, reader, flexible), reader.position


def _struct(cls: type[S], version: int, reader: Reader, flexible: bool) -> S:
    message = cls()
    tagged = {}
    for field in cls.FIELDS:
        if not field.versions.has(version):
            continue
        if flexible and field.tagged.has(version):
            tagged[field.tag] = field
        else:
            setattr(message, field.name, _field(field, version, reader, flexible))
    if flexible:
        unknown = []
        for _ in range(reader.uvarint()):
            tag = reader.uvarint()
            part = Reader(reader.take(reader.uvarint()))
            if tag in tagged:
                value = _tagged_field(tagged[tag], version, part)
                setattr(message, tagged[tag].name, value)
                if part.position != len(part.data):
                    raise MalformedMessageError("a tagged field that is too long")
            else:
                unknown.append((tag, part.data))
        message.unknown_tagged_fields = tuple(unknown)
    return message


def _tagged_field(field: Field, version: int, reader: Reader) -> Any:
    """Nullable structs have another marker when they are tagged: an unsigned varint, 0 for null."""
    if field.struct is None or field.is_array or not field.nullable.has(version):
        return _field(field, version, reader, True)
    return _struct(field.struct, version, reader, True) if reader.uvarint() else None


def _field(field: Field, version: int, reader: Reader, flexible: bool) -> Any:
    nullable = field.nullable.has(version)
    if not field.is_array:
        return _value(field, version, reader, flexible, nullable)
    count = reader.length(flexible, ">i")
    if count < 0:
        if not nullable:
            raise MalformedMessageError("null array")
        return None
    if count > len(reader.data) - reader.position:
        raise MalformedMessageError("more elements than bytes")
    return [_value(field, version, reader, flexible, False) for _ in range(count)]


def _value(field: Field, version: int, reader: Reader, flexible: bool, nullable: bool) -> Any:
    if field.kind in FIXED:
        value = reader.number(FIXED[field.kind])
        return value != 0 if field.kind == "bool" else value
    if field.struct is not None:
        if nullable and reader.number(">b") < 0:
            return None
        return _struct(field.struct, version, reader, flexible)
    compact = flexible and field.flexible
    length = reader.length(compact, ">h" if field.kind == "string" else ">i")
    if length < 0:
        if not nullable:
            raise MalformedMessageError("null")
        return None
    if field.kind == "string" and length > 0x7FFF:
        raise MalformedMessageError("a string that is too long")
    data = reader.take(length)
    return data.decode(errors="replace") if field.kind == "string" else data


def uvarint(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def encode(message: Struct, version: int, flexible: bool) -> bytes:
    """The message without a header. Values are taken to be right."""
    out = b""
    tagged = list(message.unknown_tagged_fields)
    for field in message.FIELDS:
        if not field.versions.has(version):
            continue
        value = getattr(message, field.name)
        data = _encode_field(field, version, value, flexible)
        if not (flexible and field.tagged.has(version)):
            out += data
        elif value != field.new_default():
            null_struct = value is None and field.struct is not None and not field.is_array
            tagged.append((field.tag, b"\x00" if null_struct else data))
    if flexible:
        out += uvarint(len(tagged))
        for tag, data in sorted(tagged, key=lambda field: field[0]):
            out += uvarint(tag) + uvarint(len(data)) + data
    return out


def _length(value: int, compact: bool, form: str) -> bytes:
    return uvarint(value + 1) if compact else pack(form, value)


def _encode_field(field: Field, version: int, value: Any, flexible: bool) -> bytes:
    if not field.is_array:
        return _encode_value(field, version, value, flexible, field.nullable.has(version))
    if value is None:
        return _length(-1, flexible, ">i")
    elements = [_encode_value(field, version, each, flexible, False) for each in value]
    return _length(len(value), flexible, ">i") + b"".join(elements)


def _encode_value(field: Field, version: int, value: Any, flexible: bool, nullable: bool) -> bytes:
    if field.kind in FIXED:
        return pack(FIXED[field.kind], value)
    if field.struct is not None:
        if value is None:
            return b"\xff"
        return (b"\x01" if nullable else b"") + encode(value, version, flexible)
    data = value.encode() if isinstance(value, str) else value
    form = ">h" if field.kind == "string" else ">i"
    length = _length(-1 if data is None else len(data), flexible and field.flexible, form)
    return length + (data or b"")


def is_flexible(cls: type[Message], version: int) -> bool:
    """Whether the version has compact lengths and tagged fields."""
    return cls.FLEXIBLE.has(version)
