"""kio's messages: which there are, how values map onto ours, and random instances of them."""

import datetime
import io
import uuid
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from kio.index import load_request_schema, load_response_schema
from kio.schema.errors import ErrorCode as KioErrorCode
from kio.schema.index import api_key_map, schema_name_map
from kio.serial import entity_reader, entity_writer
from kio.static.constants import EntityType

from tests.oracle.protocol.entropy import Entropy
from tests.oracle.protocol.messages import API_CLASSES, Builder
from tidelog.protocol.schema import ApiMessage, Field, Request, Struct

# What kio's types cannot hold: error codes it has no name for, and times beyond datetime's range or
# the precision of a float of seconds. In milliseconds.
ERROR_CODES = [int(code) for code in KioErrorCode]
TIMEDELTA_64 = (-(2**40), 2**40)
DATETIME = (0, 2**42)


def pairs() -> Iterator[tuple[type[ApiMessage], int]]:
    """Our class and version of everything that kio has too."""
    for cls in API_CLASSES:
        assert issubclass(cls, ApiMessage)
        kind = EntityType.request if issubclass(cls, Request) else EntityType.response
        known = schema_name_map.get(api_key_map.get(int(cls.API), ""), {})
        for version in range(cls.VERSIONS.low, cls.VERSIONS.high + 1):
            if kind in known.get(version, {}):
                yield cls, version


@cache
def kio_class(cls: type[ApiMessage], version: int) -> Any:
    """kio's class for one of our messages."""
    load = load_request_schema if issubclass(cls, Request) else load_response_schema
    return load(int(cls.API), version)


def read(kio_cls: Any, data: bytes) -> Any:
    """Decodes with kio."""
    message, size = entity_reader(kio_cls)(data, 0)
    assert size == len(data)
    return message


def write(message: Any) -> bytes:
    """Encodes with kio."""
    buffer = io.BytesIO()
    entity_writer(type(message))(buffer, message)
    return buffer.getvalue()


def inner_type(annotation: Any) -> tuple[Any, bool, bool]:
    """A field's annotation: its (element) type, whether it is an array, whether it is optional."""
    optional = False
    is_array = False
    while True:
        origin = get_origin(annotation)
        if origin in (Union, UnionType):
            optional = True
            annotation = next(each for each in get_args(annotation) if each is not NoneType)
        elif origin is tuple:
            is_array = True
            annotation = get_args(annotation)[0]
        else:
            return annotation, is_array, optional


def our_name(kio_name: str, kafka_type: str) -> set[str]:
    """Names that our field may have: kio drops the unit of times."""
    return {kio_name, f"{kio_name}_ms"} if "time" in kafka_type else {kio_name}


@cache
def limits(cls: type[ApiMessage], version: int) -> dict[tuple[type[Struct], str], str]:
    """(our struct, field) -> kio's type of it, for all fields of the message in this version.

    Fails unless both have the same fields of the same names in the same order: equal bytes alone
    would not show that two fields of one type are swapped.
    """
    found: dict[tuple[type[Struct], str], str] = {}
    _pair(cls, kio_class(cls, version), version, found)
    return found


def _pair(
    ours: type[Struct], theirs: Any, version: int, found: dict[tuple[type[Struct], str], str]
) -> None:
    our_fields = [field for field in ours.FIELDS if field.versions.has(version)]
    their_fields = fields(theirs)
    assert len(our_fields) == len(their_fields), (ours, theirs)
    for our, their in zip(our_fields, their_fields, strict=True):
        kafka_type = their.metadata.get("kafka_type", "")
        assert our.name in our_name(their.name, kafka_type), (ours, our.name, their.name)
        assert their.metadata.get("tag", -1) == our.tag
        found[ours, our.name] = kafka_type
        element, is_array, _ = inner_type(their.type)
        assert is_array == our.is_array
        if is_dataclass(element):
            assert our.struct is not None
            _pair(our.struct, element, version, found)


class OursForKio(Builder):
    """Our messages, with values that kio can hold."""

    def __init__(self, allowed: dict[tuple[type[Struct], str], str]) -> None:
        self._allowed = allowed

    def value(self, cls: type[Struct], field: Field, version: int, entropy: Entropy) -> Any:
        match self._allowed[cls, field.name]:
            case "error_code":
                return ERROR_CODES[entropy.below(len(ERROR_CODES))]
            case "timedelta_i64":
                return entropy.integer(*TIMEDELTA_64)
            case "datetime_i64":
                return entropy.integer(*DATETIME)
        return super().value(cls, field, version, entropy)


def build(kio_cls: Any, entropy: Entropy) -> Any:
    """A random instance of a class of kio's."""
    values = {}
    for field in fields(kio_cls):
        element, is_array, optional = inner_type(field.type)
        kafka_type = field.metadata.get("kafka_type", "")
        if optional and entropy.below(3) == 0:
            # An optional element of an array is kio's way to say that UUIDs may be zero.
            values[field.name] = (None,) if is_array and kafka_type == "uuid" else None
        elif is_array:
            count = min(entropy.length(), 3)
            values[field.name] = tuple(_value(element, kafka_type, entropy) for _ in range(count))
        else:
            values[field.name] = _value(element, kafka_type, entropy)
    return kio_cls(**values)


def _value(element: Any, kafka_type: str, entropy: Entropy) -> Any:
    if is_dataclass(element):
        return build(element, entropy)
    match kafka_type:
        case "bool":
            return entropy.flag()
        case "int8" | "int16" | "int32" | "int64":
            bits = int(kafka_type.removeprefix("int"))
            return entropy.integer(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        case "uint16":
            return entropy.integer(0, 2**16 - 1)
        case "float64":
            return entropy.real()
        case "uuid":
            return uuid.UUID(bytes=entropy.blob(15) + b"\x01")
        case "string":
            return entropy.text()
        case "bytes" | "records":
            return entropy.blob()
        case "error_code":
            return KioErrorCode(ERROR_CODES[entropy.below(len(ERROR_CODES))])
        case "timedelta_i32":
            return datetime.timedelta(milliseconds=entropy.integer(-(2**31), 2**31 - 1))
        case "timedelta_i64":
            return datetime.timedelta(milliseconds=entropy.integer(*TIMEDELTA_64))
        case "datetime_i64":
            milliseconds = datetime.timedelta(milliseconds=entropy.integer(*DATETIME))
            return datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + milliseconds
    raise AssertionError(f"kio's type {kafka_type} is new")
