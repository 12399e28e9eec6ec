"""Every message and record struct in every version, and random instances of them."""

from typing import Any, TypeVar

from tests.oracle.protocol.entropy import Entropy
from tidelog.protocol.api import ApiKey
from tidelog.protocol.codec import request_class, response_class
from tidelog.protocol.headers import RequestHeader, ResponseHeader
from tidelog.protocol.records import consumer_protocol, control, group, share, streams, transaction
from tidelog.protocol.schema import Data, Field, Message, Struct

S = TypeVar("S", bound=Struct)

INTEGER_RANGES = {
    "int8": (-(2**7), 2**7 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
}


def _data_classes() -> list[type[Message]]:
    modules = (group, share, streams, transaction, consumer_protocol, control)
    return [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Data) and value is not Data
    ]


API_CLASSES: list[type[Message]] = [
    make(key) for key in ApiKey for make in (request_class, response_class)
]
OTHER_CLASSES: list[type[Message]] = [RequestHeader, ResponseHeader, *_data_classes()]


def with_versions(classes: list[type[Message]]) -> list[tuple[type[Message], int]]:
    """Each class with each of its versions."""
    return [
        (cls, version)
        for cls in classes
        for version in range(cls.VERSIONS.low, cls.VERSIONS.high + 1)
    ]


API_VERSIONS = with_versions(API_CLASSES)
ALL_VERSIONS = with_versions(API_CLASSES + OTHER_CLASSES)


def name_of(value: object) -> str:
    """For the ids of parametrised tests."""
    return value.__name__ if isinstance(value, type) else str(value)


class Builder:
    """Makes messages out of entropy. Subclasses narrow the values that another codec can hold."""

    def build(self, cls: type[S], version: int, entropy: Entropy) -> S:
        """A random instance; fields that the version lacks have their defaults."""
        message = cls()
        for field in cls.FIELDS:
            if field.versions.has(version):
                setattr(message, field.name, self._field(cls, field, version, entropy))
        return message

    def _field(self, cls: type[Struct], field: Field, version: int, entropy: Entropy) -> Any:
        if field.nullable.has(version) and entropy.below(3) == 0:
            return None
        if field.tagged.has(version) and entropy.below(3) == 0:
            return field.new_default()
        if field.is_array:
            count = entropy.length()
            if field.struct is not None and count > 3:
                count = 3
            return [self.value(cls, field, version, entropy) for _ in range(count)]
        return self.value(cls, field, version, entropy)

    def value(self, cls: type[Struct], field: Field, version: int, entropy: Entropy) -> Any:
        """One value of the field's type, or one element of its array."""
        if field.struct is not None:
            return self.build(field.struct, version, entropy)
        if field.kind in INTEGER_RANGES:
            return entropy.integer(*INTEGER_RANGES[field.kind])
        if field.kind == "bool":
            return entropy.flag()
        if field.kind == "float64":
            return entropy.real()
        if field.kind == "uuid":
            return entropy.blob(16)
        return entropy.text() if field.kind == "string" else entropy.blob()


BUILDER = Builder()
