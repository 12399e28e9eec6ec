"""Each validator takes what it should, refuses the rest, and says what it takes."""

from __future__ import annotations

import pytest

from tidelog.config import validators
from tidelog.config.validators import Validator, between, list_of, one_of


@pytest.mark.parametrize(
    ("validator", "good", "bad"),
    [
        (validators.at_least(1), [1, 10**12], [0, -5, None]),
        (between(0, 0.5), [0.0, 0.5], [0.51, -0.1]),
        (validators.GZIP_LEVEL, [-1, 1, 9], [0, 10, -2]),
        (one_of("a", "b"), ["a"], ["A", "", None]),
        (validators.OneOf(("UP", "DOWN"), True), ["up", "DOWN"], ["left"]),
        (list_of("a", "b"), [(), ("a",), ("a", "a")], [("c",), ("a", ""), None]),
        (list_of("a", empty=False), [("a",)], [()]),
        (validators.NULL_OR_NON_EMPTY_LIST, [None, ("x",)], [()]),
        (validators.NON_EMPTY, ["a", None], [""]),
        (validators.ThrottledReplicas(), [(), ("*",), ("0:1", "2:3")], [("a:b",), ("*", "1:1")]),
        (
            validators.ShareOffsetReset(),
            ["latest", "earliest", "by_duration:PT1H", "by_duration:P1DT2H3M4.5S"],
            [
                "none",
                "by_duration:",
                "by_duration:P",
                "by_duration:-PT1H",
                "latest:",
                "by_duration",
            ],
        ),
        (
            validators.Endpoints(with_id=True),
            [(), ("1@host:9093", "2@[::1]:1")],
            [("host:1",), ("1@host",), ("1@:5",), ("x@h:5",), ("1@h:99999",)],
        ),
        (validators.Endpoints(with_id=False), [("h:1",)], [("h",), ("h:x",), (f"h:{'1' * 5000}",)]),
    ],
)
def test_validators(validator: Validator, good: list[object], bad: list[object]) -> None:
    for value in good:
        assert validator.problem(value) is None, value  # type: ignore[arg-type]
    for value in bad:
        assert validator.problem(value), value  # type: ignore[arg-type]


def test_not_a_number_passes_a_range_as_in_kafka() -> None:
    assert between(0, 1).problem(float("nan")) is None


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("0", True),
        ("9" * 10, True),
        ("9" * 11, False),
        ("", False),
        ("\u0661", False),
        ("-1", False),
    ],
)
def test_what_is_a_number(text: str, is_one: bool) -> None:
    assert validators.is_number(text) is is_one


def test_texts_show_the_range() -> None:
    assert validators.at_least(-1).text() == "[-1,...]"
    assert between(1, 17).text() == "[1,...,17]"
    assert one_of("a", "b").text() == "[a, b]"
    assert validators.ANY.text() == ""
