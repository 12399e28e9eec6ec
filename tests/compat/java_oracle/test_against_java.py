"""Tables, codec and error codes against the classes of Apache's kafka-clients 4.3.1.

For every API, header and record struct in every version, kio's and kafka-python's gaps included:
random messages byte for byte through Java, names and values as its JSON converters show them,
defaults, and which values a version that lacks their field may drop.
"""

import base64
import functools
import os
import random
from typing import Any

import pytest

from tests.compat.java_oracle.oracle import ask, java_name
from tests.compat.reference.install import missing_reason
from tests.oracle.protocol.entropy import Entropy
from tests.oracle.protocol.messages import ALL_VERSIONS, BUILDER
from tidelog.errors import MessageEncodeError
from tidelog.protocol.api import ApiKey, Listener
from tidelog.protocol.codec import decode, encode
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.schema import Field, Message, Struct

pytestmark = [
    pytest.mark.skipif(missing_reason() is not None, reason=str(missing_reason())),
    pytest.mark.timeout(300),
]

# Java has a field for it, but in no version that Kafka 4.3 still speaks.
NEVER_ON_THE_WIRE = {"ShareFetchRequest": "topics.partitions.partition_max_bytes"}

EXAMPLES = 2 * int(os.environ.get("TIDELOG_EXAMPLES", "6"))
SEED = int(os.environ.get("TIDELOG_SEED", "20261123"))


@functools.cache
def examples() -> list[tuple[type[Message], int, Message, bytes]]:
    """Random messages of every class and version: class, version, message, its bytes."""
    chance = random.Random(SEED)
    found = []
    for cls, version in ALL_VERSIONS:
        for _ in range(EXAMPLES):
            message = BUILDER.build(cls, version, Entropy(chance.randbytes(600)))
            found.append((cls, version, message, encode(message, version)))
    return found


@functools.cache
def answers() -> dict[str, list[dict[str, Any]]]:
    """All answers of one JVM run, by kind of question."""
    pairs = [f"{java_name(cls)} {version}" for cls, version in ALL_VERSIONS]
    questions = {
        "apis": ["apis"],
        "errors": ["errors"],
        "filled": [f"filled {pair}" for pair in pairs],
        "absent": [f"absent {pair}" for pair in pairs],
        "read": [f"read {java_name(cls)} {v} {data.hex()}" for cls, v, _, data in examples()],
    }
    flat = ask([question for kind in questions.values() for question in kind])
    found = {}
    for kind, asked in questions.items():
        found[kind], flat = flat[: len(asked)], flat[len(asked) :]
    return found


def has_records(cls: type[Struct]) -> bool:
    """Whether a message carries record batches, which Java's JSON leaves out."""
    return any(
        (field.name == "records" and field.kind == "bytes")
        or (field.struct is not None and has_records(field.struct))
        for field in cls.FIELDS
    )


def test_random_messages_byte_for_byte() -> None:
    wrong = []
    for (cls, version, message, data), answer in zip(examples(), answers()["read"], strict=True):
        good = answer.get("hex") == data.hex() and answer.get("left") == 0
        if good and not has_records(cls):
            good = answer["hex_from_json"] == data.hex()
        if not good or decode(cls, version, bytes.fromhex(answer["hex"])) != message:
            wrong.append((cls.__name__, version, data.hex(), answer))
    assert not wrong[:3], f"seed {SEED}: {len(wrong)} messages differ"


def test_names_and_values_as_java_shows_them() -> None:
    wrong = []
    for (cls, version, message, _), answer in zip(examples(), answers()["read"], strict=True):
        problem = json_problem(message, version, answer.get("json", {}), cls.__name__)
        if problem is not None:
            wrong.append((version, problem))
    assert not wrong[:3], f"seed {SEED}: {len(wrong)} messages differ"


def json_problem(message: Struct, version: int, json: Any, path: str) -> str | None:
    """Where the message differs from Java's JSON, or None."""
    theirs = {name.lower(): value for name, value in json.items()}
    for field in message.FIELDS:
        name = field.name.replace("_", "").lower()
        value = getattr(message, field.name)
        where = f"{path}.{field.name}"
        if name == "records":
            theirs = {key: each for key, each in theirs.items() if not key.startswith("records")}
        elif not field.versions.has(version):
            if name in theirs:
                return f"{where}: is there in Java"
        elif name not in theirs:
            if not (field.tagged.has(version) and value == field.new_default()):
                return f"{where}: is missing in Java"
        else:
            problem = value_problem(field, value, version, theirs.pop(name), where)
            if problem is not None:
                return problem
    return f"{path}: lacks {sorted(theirs)}" if theirs else None


def value_problem(field: Field, value: Any, version: int, theirs: Any, path: str) -> str | None:
    if isinstance(value, list) and isinstance(theirs, list):
        if len(value) != len(theirs):
            return f"{path}: {len(theirs)} elements in Java"
        found = [
            value_problem(field, ours, version, their, f"{path}[{i}]")
            for i, (ours, their) in enumerate(zip(value, theirs, strict=True))
        ]
        return next((problem for problem in found if problem is not None), None)
    if isinstance(value, Struct) and isinstance(theirs, dict):
        return json_problem(value, version, theirs, path)
    if isinstance(value, bytes):
        text = base64.urlsafe_b64encode(value) if field.kind == "uuid" else base64.b64encode(value)
        value = text.decode().rstrip("=" if field.kind == "uuid" else "")
    return None if value == theirs else f"{path}: {value!r}, {theirs!r} in Java"


def filled(cls: type[Struct], version: int) -> Struct:
    """The default object with one default element in every list of structs, none of them null."""
    message = cls()
    for field in cls.FIELDS:
        if field.struct is not None and field.versions.has(version):
            one = filled(field.struct, version)
            setattr(message, field.name, [one] if field.is_array else one)
    return message


def test_defaults_byte_for_byte() -> None:
    wrong = []
    for (cls, version), answer in zip(ALL_VERSIONS, answers()["filled"], strict=True):
        message = filled(cls, version)
        if holds_null_records(message):
            assert "NullPointerException" in answer["error"]
            continue
        data = encode(message, version).hex()
        if answer.get("hex") != data:
            wrong.append((cls.__name__, version, data, answer))
    assert not wrong


def holds_null_records(message: Struct) -> bool:
    """Whether Java's default is null where the version has no null: records that must be there."""
    return any(
        field.name == "records" and field.nullable.low > field.nullable.high
        for cls in structs(type(message))
        for field in cls.FIELDS
    )


def structs(cls: type[Struct]) -> list[type[Struct]]:
    """The struct and those in it."""
    inner = [each for field in cls.FIELDS if field.struct for each in structs(field.struct)]
    return [cls, *inner]


def test_what_may_be_dropped() -> None:
    wrong = []
    for (cls, version), answer in zip(ALL_VERSIONS, answers()["absent"], strict=True):
        if holds_null_records(cls()):
            continue
        root = filled(cls, version)
        found: dict[str, bool] = {}
        answer.pop(NEVER_ON_THE_WIRE.get(cls.__name__, ""), None)
        try_absent(root, root, version, "", found)
        if found != answer:
            wrong.append((cls.__name__, version, sorted(found.items() ^ answer.items())))
    assert not wrong


def try_absent(
    root: Message, message: Struct, version: int, path: str, found: dict[str, bool]
) -> None:
    """Sets each field that the version lacks, and notes whether the root can still be written."""
    for field in message.FIELDS:
        value = getattr(message, field.name)
        where = f"{path}{field.name}"
        if not field.versions.has(version):
            setattr(message, field.name, other_value(field))
            try:
                encode(root, version)
                found[where] = True
            except MessageEncodeError as error:
                assert "this version lacks it" in str(error)
                found[where] = False
            setattr(message, field.name, value)
        elif field.struct is not None:
            inner = value[0] if field.is_array else value
            try_absent(root, inner, version, f"{where}.", found)


def other_value(field: Field) -> Any:
    """A value that is not the field's default."""
    if field.is_array:
        return [field.struct() if field.struct else None]
    if field.struct is not None:
        one = field.struct()
        if field.default is not None:
            setattr(one, one.FIELDS[0].name, other_value(one.FIELDS[0]))
        return one
    others = {"string": "x", "bytes": b"*", "uuid": bytes(15) + b"*", "bool": not field.default}
    return others.get(field.kind, 42)


def test_apis() -> None:
    [theirs] = answers()["apis"]
    ours = {
        key.name: {
            "key": int(key),
            "low": key.versions.low,
            "high": key.versions.high,
            "advertised_low": key.advertised.low,
            "advertised_high": key.advertised.high,
            "request_headers": [key.request_header_version(v) for v in versions(key)],
            "response_headers": [key.response_header_version(v) for v in versions(key)],
        }
        for key in ApiKey
    }
    listeners = {name: set(api.pop("listeners")) for name, api in theirs.items()}
    assert ours == {name: api for name, api in theirs.items() if "BROKER" in listeners[name]}
    assert {key.name for key in ApiKey if key.listener is Listener.BOTH} == {
        name for name, found in listeners.items() if found == {"BROKER", "CONTROLLER"}
    }


def versions(key: ApiKey) -> range:
    """All versions that are read."""
    return range(key.versions.low, key.versions.high + 1)


def test_error_codes() -> None:
    [theirs] = answers()["errors"]
    assert theirs == {
        code.name: {"code": int(code), "retriable": code.retriable} for code in ErrorCode
    }
