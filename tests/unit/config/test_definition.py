"""Texts of configs: what parses to which value, what is refused, how values are shown."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.config.definition import (
    ConfigDef,
    ConfigType,
    ConfigValueError,
    Importance,
    UpdateMode,
    format_value,
    make,
    parse_value,
    split_list,
)
from tidelog.config.validators import ANY, at_least


def definition(kind: ConfigType) -> ConfigDef:
    return ConfigDef("a.name", kind, None, ANY, Importance.LOW, UpdateMode.READ_ONLY, "Doc.")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (ConfigType.LONG, " 5 ", 5),
        (ConfigType.LONG, "+5", 5),
        (ConfigType.LONG, "-9223372036854775808", -(2**63)),
        (ConfigType.INT, "2147483647", 2**31 - 1),
        (ConfigType.SHORT, "-32768", -32768),
        (ConfigType.BOOLEAN, "TRUE", True),
        (ConfigType.BOOLEAN, " false", False),
        (ConfigType.DOUBLE, "1e-3", 0.001),
        (ConfigType.DOUBLE, ".5", 0.5),
        (ConfigType.DOUBLE, "Infinity", math.inf),
        (ConfigType.STRING, " a b ", "a b"),
        (ConfigType.LIST, "compact , delete", ("compact", "delete")),
        (ConfigType.LIST, "  ", ()),
        (ConfigType.LIST, "a,,b", ("a", "", "b")),
        (ConfigType.PASSWORD, "secret", "secret"),
    ],
)
def test_values_parse(kind: ConfigType, text: str, value: object) -> None:
    assert parse_value(definition(kind), text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (ConfigType.LONG, ""),
        (ConfigType.LONG, "abc"),
        (ConfigType.LONG, "1_000"),
        (ConfigType.LONG, "0x10"),
        (ConfigType.LONG, "1.0"),
        (ConfigType.LONG, "٣"),
        (ConfigType.LONG, "9223372036854775808"),
        (ConfigType.LONG, "9" * 5000),
        (ConfigType.INT, "2147483648"),
        (ConfigType.SHORT, "32768"),
        (ConfigType.BOOLEAN, "yes"),
        (ConfigType.BOOLEAN, ""),
        (ConfigType.DOUBLE, "x"),
        (ConfigType.DOUBLE, "inf"),
    ],
)
def test_other_texts_are_refused(kind: ConfigType, text: str) -> None:
    with pytest.raises(ConfigValueError) as error:
        parse_value(definition(kind), text)
    assert error.value.name == "a.name"


def test_no_text_is_no_value() -> None:
    assert parse_value(definition(ConfigType.LONG), None) is None


def test_the_validator_is_asked() -> None:
    low = ConfigDef(
        "n", ConfigType.INT, None, at_least(3), Importance.LOW, UpdateMode.READ_ONLY, ""
    )
    assert parse_value(low, "3") == 3
    with pytest.raises(ConfigValueError, match="invalid value 2 for n: must be at least 3"):
        parse_value(low, "2")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (True, "true"),
        (False, "false"),
        (5, "5"),
        ("text", "text"),
        (("a", "b"), "a,b"),
        ((), ""),
        (0.5, "0.5"),
        (1.0, "1.0"),
        (0.0001, "1.0E-4"),
        (12345678.0, "1.2345678E7"),
        (1.7976931348623157e308, "1.7976931348623157E308"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
    ],
)
def test_values_are_shown_as_java_shows_them(
    value: bool | int | float | str | tuple[str, ...] | None, text: str | None
) -> None:
    assert format_value(value) == text


@given(st.floats(allow_nan=False))
def test_doubles_survive_their_text(value: float) -> None:
    text = format_value(value)
    assert text is not None
    assert parse_value(definition(ConfigType.DOUBLE), text) == value


@given(st.lists(st.text("abc-*", min_size=1)))
def test_lists_survive_their_text(members: list[str]) -> None:
    assert split_list(format_value(tuple(members)) or "") == tuple(members)


def test_rows_become_definitions() -> None:
    row = ("x.y", ConfigType.BOOLEAN, True, ANY, Importance.HIGH, UpdateMode.PER_BROKER, "Doc.")
    made = make(row, effect="full")
    assert (made.default, made.effect, made.read_only, made.sensitive) == (
        "true",
        "full",
        False,
        False,
    )
