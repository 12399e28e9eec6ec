"""The codec and the tables against kafka-python, for the APIs that it has.

Each random message is made twice, as ours and as theirs, field by field; both encode to the same
bytes, and each side reads the other's.
"""

import importlib
import pkgutil
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from kafka.protocol.api_message import ApiMessage as TheirMessage

from tests.oracle.protocol.entropy import Entropy, entropies, exhaustive
from tests.oracle.protocol.messages import API_VERSIONS, BUILDER, name_of
from tidelog.protocol.codec import decode, encode
from tidelog.protocol.messages.api_versions import ApiVersionsResponse
from tidelog.protocol.schema import Message, Struct

# kafka-python 3 has these; a new release that drops some should be noticed.
EXPECTED_APIS = 52


def _their_classes() -> Iterator[tuple[str, Any]]:
    for area in ("admin", "consumer", "metadata", "producer", "sasl"):
        module = importlib.import_module(f"kafka.protocol.{area}")
        found = [module]
        if hasattr(module, "__path__"):
            names = [info.name for info in pkgutil.iter_modules(module.__path__)]
            found += [importlib.import_module(f"{module.__name__}.{name}") for name in names]
        for each in found:
            for name, value in vars(each).items():
                if isinstance(value, type) and issubclass(value, TheirMessage):
                    yield name, value


THEIRS = {name: cls for name, cls in _their_classes() if name.endswith(("Request", "Response"))}
PAIRS = [
    (cls, version)
    for cls, version in API_VERSIONS
    if cls.__name__ in THEIRS and version <= THEIRS[cls.__name__].max_version
]


def test_it_has_the_apis_that_it_had() -> None:
    assert len({cls.__name__ for cls, _ in PAIRS}) == 2 * EXPECTED_APIS


def their_values(ours: Struct, struct: Any, version: int) -> dict[str, Any]:
    """Our fields under their names and in their types."""
    our_fields = [field for field in ours.FIELDS if field.versions.has(version)]
    their_fields = [field for field in struct._fields or () if field.for_version_q(version)]
    assert len(our_fields) == len(their_fields)
    values = {}
    for our, their in zip(our_fields, their_fields, strict=True):
        # Some names are patched there ("authorized_operations"), but mean the same field.
        assert our.name.endswith(their.name), (type(ours), our.name, their.name)
        value = getattr(ours, our.name)
        if our.tagged.has(version) and value == our.new_default():
            continue  # theirs writes every tagged field that was given
        is_array = isinstance(value, list)
        made = [_their_value(v, their, version) for v in (value if is_array else [value])]
        values[their.name] = made if is_array else made[0]
    return values


def _their_value(value: Any, their: Any, version: int) -> Any:
    if isinstance(value, Struct):
        struct = getattr(their, "array_of", their)
        return their.data_class(version=version, **their_values(value, struct, version))
    if value is None:
        return None
    type_name = getattr(their, "array_of", their)._type_str
    if type_name == "uuid":
        return uuid.UUID(bytes=value)
    if type_name == "bitfield":
        return {bit for bit in range(32) if value >> bit & 1}
    return value


@pytest.mark.parametrize(("cls", "version"), PAIRS, ids=name_of)
@exhaustive
@given(entropies)
def test_byte_for_byte(cls: type[Message], version: int, entropy: Entropy) -> None:
    their_class = THEIRS[cls.__name__]
    ours = BUILDER.build(cls, version, entropy)
    if isinstance(ours, ApiVersionsResponse):
        ours.error_code = 0  # any other one makes theirs read the answer as version 0
    data = encode(ours, version)
    theirs = their_class(version=version, **their_values(ours, their_class._struct, version))
    assert theirs.encode() == data
    read = their_class.decode(data, version=version)
    read._header = None  # theirs forgets to, and then cannot encode what it decoded
    assert read.encode() == data
    assert decode(cls, version, theirs.encode()) == ours
