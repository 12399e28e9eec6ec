"""Tests of how records are printed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tidelog.cli.formats import json_format, keyed_format, template_format, value_format


class Shown:
    """A record as the client library gives it."""

    def __init__(self, key: bytes | None, value: bytes | None, headers: Any = None) -> None:
        self._key, self._value, self._headers = key, value, headers

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 42

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return (1, 1_700_000_000_000) if self._key else (0, 5)

    def headers(self) -> Any:
        return self._headers


FULL = Shown(b"k", b"v\xff", [("a", b"1"), ("b", None)])
EMPTY = Shown(None, None)


def test_values_and_keys() -> None:
    assert (value_format(FULL), value_format(EMPTY)) == (b"v\xff\n", b"\n")
    assert (keyed_format(b"::")(FULL), keyed_format(b"\t")(EMPTY)) == (b"k::v\xff\n", b"\t\n")


def test_json_is_one_line_whatever_the_bytes() -> None:
    line = json_format(FULL)
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "topic": "t",
        "partition": 3,
        "offset": 42,
        "timestamp": 1_700_000_000_000,
        "key": "k",
        "value_base64": "dv8=",
        "headers": [{"name": "a", "value": "1"}, {"name": "b", "value": None}],
    }
    found = json.loads(json_format(EMPTY))
    assert found["key"] is found["value"] is None
    assert found["timestamp"] == -1
    assert json.loads(json_format(Shown(b"k", "ü\n".encode())))["value"] == "ü\n"


@pytest.mark.parametrize(
    ("template", "full", "empty"),
    [
        ("%t[%p]@%o", b"t[3]@42", b"t[3]@42"),
        ("%k=%v\\n", b"k=v\xff\n", b"=\n"),
        ("%K %S %T", b"1 2 1700000000000", b"-1 -1 -1"),
        ("%h", b"a=1,b=", b""),
        ("100%% \\t\\\\\\x", b"100% \t\\\\x", b"100% \t\\\\x"),
    ],
)
def test_templates(template: str, full: bytes, empty: bytes) -> None:
    show = template_format(template)
    assert (show(FULL), show(EMPTY)) == (full, empty)


@pytest.mark.parametrize("template", ["%z", "%", "a\\"])
def test_wrong_templates(template: str) -> None:
    with pytest.raises(ValueError):
        template_format(template)
