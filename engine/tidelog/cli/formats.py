"""How `tidelog consume` prints a record: as its value, with its key, as JSON, or by a template.

Pure: a record in, bytes out.

| in a template | stands for |
|---|---|
| %t %p %o | topic, partition, offset |
| %k %v | key, value (nothing when they are null) |
| %K %S | their sizes in bytes, -1 when they are null |
| %T | timestamp, ms since 1970; -1 without one |
| %h | headers, as key=value,key=value |
| %% | a percent sign |
| \\n \\t \\r \\0 \\\\ | the characters that they are elsewhere |
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any, Final, Protocol

Header = tuple[str, bytes | None]
Format = Callable[["Shown"], bytes]

_TOKENS: Final = re.compile(r"%(.)|\\(.)|([^%\\]+)|(.)", re.DOTALL)
_ESCAPES: Final = {"n": b"\n", "t": b"\t", "r": b"\r", "0": b"\0", "\\": b"\\"}


class Shown(Protocol):
    """What is needed of a record; confluent-kafka's Message has it."""

    def topic(self) -> str | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def key(self) -> Any: ...
    def value(self) -> Any: ...
    def timestamp(self) -> tuple[int, int]: ...
    def headers(self) -> Any: ...


def value_format(record: Shown) -> bytes:
    return (record.value() or b"") + b"\n"


def keyed_format(separator: bytes) -> Format:
    """Key, separator, value; a null is nothing."""

    def show(record: Shown) -> bytes:
        return (record.key() or b"") + separator + (record.value() or b"") + b"\n"

    return show


def json_format(record: Shown) -> bytes:
    """One line of JSON. What is no UTF-8 stands as base64 under `key_base64`, `value_base64`."""
    found: dict[str, Any] = {
        "topic": record.topic(),
        "partition": record.partition(),
        "offset": record.offset(),
        "timestamp": _timestamp(record),
    }
    _put(found, "key", record.key())
    _put(found, "value", record.value())
    if headers := record.headers():
        found["headers"] = []
        for name, value in headers:
            one = {"name": name}
            _put(one, "value", value)
            found["headers"].append(one)
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def template_format(template: str) -> Format:
    """Raises ValueError for a template that asks for what there is not."""
    parts: list[bytes | Format] = []
    for field, escape, text, other in _TOKENS.findall(template):
        if field:
            if field not in _FIELDS:
                raise ValueError(f"%{field} is not known")
            parts.append(_FIELDS[field])
        elif escape:
            parts.append(_ESCAPES.get(escape, f"\\{escape}".encode()))
        elif other:
            raise ValueError(f"{other} at the end stands for nothing")
        else:
            parts.append(text.encode())

    def show(record: Shown) -> bytes:
        return b"".join(part if isinstance(part, bytes) else part(record) for part in parts)

    return show


def _timestamp(record: Shown) -> int:
    kind, timestamp = record.timestamp()
    return timestamp if kind else -1


def _put(into: dict[str, Any], name: str, value: Any) -> None:
    if value is None:
        into[name] = None
        return
    try:
        into[name] = bytes(value).decode()
    except UnicodeDecodeError:
        into[f"{name}_base64"] = base64.b64encode(value).decode()


def _size(value: Any) -> bytes:
    return b"-1" if value is None else b"%d" % len(value)


def _headers(record: Shown) -> bytes:
    headers = record.headers() or ()
    return b",".join(name.encode() + b"=" + (value or b"") for name, value in headers)


_FIELDS: Final[dict[str, Format]] = {
    "t": lambda record: (record.topic() or "").encode(),
    "p": lambda record: b"%d" % (record.partition() or 0),
    "o": lambda record: b"%d" % (record.offset() or 0),
    "k": lambda record: record.key() or b"",
    "v": lambda record: record.value() or b"",
    "K": lambda record: _size(record.key()),
    "S": lambda record: _size(record.value()),
    "T": lambda record: b"%d" % _timestamp(record),
    "h": _headers,
    "%": lambda record: b"%",
}
