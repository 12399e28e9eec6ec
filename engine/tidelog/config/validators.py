"""Validators of config values: each says what is wrong with a value, or nothing.

Pure, owned by no process. A validator sees the parsed value (see `definition.ConfigValue`), and
its `text()` is the valid range as shown to users, in Kafka's notation.
"""

from __future__ import annotations

import re
from typing import Protocol

_Value = bool | int | float | str | tuple[str, ...] | None


class Validator(Protocol):
    """Decides whether a parsed value is allowed."""

    def problem(self, value: _Value) -> str | None:
        """What is wrong with `value`, None when it is allowed."""

    def text(self) -> str:
        """The allowed values in a few characters, '' when all are."""


class _Plain:
    """Equality and repr by slots. Not a dataclass: making one costs more than all tables here."""

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__
        )

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, name) for name in self.__slots__)))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({fields})"


class Anything(_Plain):
    """Takes every value of the type."""

    __slots__ = ()

    def problem(self, value: _Value) -> str | None:
        return None

    def text(self) -> str:
        return ""


class Range(_Plain):
    """Numbers from `low` to `high`, both included; None is no bound. NaN passes, as in Kafka."""

    __slots__ = ("high", "low")

    def __init__(self, low: float | None, high: float | None) -> None:
        self.low, self.high = low, high

    def problem(self, value: _Value) -> str | None:
        if value is None:
            return "a value is needed"
        assert isinstance(value, int | float)
        if self.low is not None and value < self.low:
            return f"must be at least {self.low}"
        if self.high is not None and value > self.high:
            return f"must be no more than {self.high}"
        return None

    def text(self) -> str:
        if self.high is None:
            return f"[{self.low},...]"
        return f"[{self.low},...,{self.high}]"


class RangeOr(_Plain):
    """A range, or one number beside it that stands for "the codec's own choice"."""

    __slots__ = ("high", "low", "other")

    def __init__(self, low: int, high: int, other: int) -> None:
        self.low, self.high, self.other = low, high, other

    def problem(self, value: _Value) -> str | None:
        assert isinstance(value, int)
        if value == self.other or self.low <= value <= self.high:
            return None
        return f"must be between {self.low} and {self.high}, or {self.other}"

    def text(self) -> str:
        return f"[{self.low},...,{self.high}] or {self.other}"


class OneOf(_Plain):
    """One of some words."""

    __slots__ = ("ignore_case", "words")

    def __init__(self, words: tuple[str, ...], ignore_case: bool = False) -> None:
        self.words, self.ignore_case = words, ignore_case

    def problem(self, value: _Value) -> str | None:
        found = value in self.words
        if self.ignore_case and isinstance(value, str):
            found = value.upper() in self.words
        return None if found else f"must be one of {', '.join(self.words)}"

    def text(self) -> str:
        prefix = "(case insensitive) " if self.ignore_case else ""
        return f"{prefix}[{', '.join(self.words)}]"


class ListOf(_Plain):
    """A list; `words` () allows any member. An empty member (as in "a,,b") is never allowed.

    Members that stand twice are allowed, as in Kafka, where they only earn a warning.
    """

    __slots__ = ("empty", "null", "words")

    def __init__(self, words: tuple[str, ...] = (), empty: bool = True, null: bool = False) -> None:
        self.words, self.empty, self.null = words, empty, null

    def problem(self, value: _Value) -> str | None:
        if value is None:
            return None if self.null else "a value is needed"
        assert isinstance(value, tuple)
        if not value and not self.empty:
            return "the list must not be empty"
        if "" in value:
            return "a member of the list is empty"
        for member in value:
            if self.words and member not in self.words:
                return f"{member} is not one of {', '.join(self.words)}"
        return None

    def text(self) -> str:
        return f"[{', '.join(self.words)}]" if self.words else ""


class NonEmpty(_Plain):
    """Any text but the empty one."""

    __slots__ = ()

    def problem(self, value: _Value) -> str | None:
        return "must not be empty" if value == "" else None

    def text(self) -> str:
        return "non-empty string"


_REPLICA = re.compile(r"[0-9]+:[0-9]+\Z")


class ThrottledReplicas(_Plain):
    """`*`, or a list of partition:broker pairs."""

    __slots__ = ()

    def problem(self, value: _Value) -> str | None:
        assert isinstance(value, tuple)
        if value == ("*",) or all(_REPLICA.match(member) for member in value):
            return None
        return "must be * or a list of partition:broker pairs"

    def text(self) -> str:
        return "[partitionId]:[brokerId],[partitionId]:[brokerId],..."


_ISO_DURATION = re.compile(
    r"P(?=[0-9T])([0-9]+D)?(T(?=[0-9])([0-9]+H)?([0-9]+M)?([0-9]+([.,][0-9]{0,9})?S)?)?\Z",
    re.IGNORECASE,
)


class ShareOffsetReset(_Plain):
    """`latest`, `earliest`, or `by_duration:` with an ISO 8601 duration that is not negative."""

    __slots__ = ()

    def problem(self, value: _Value) -> str | None:
        assert isinstance(value, str)
        word, colon, duration = value.partition(":")
        if not colon and word in ("latest", "earliest"):
            return None
        if word == "by_duration" and _ISO_DURATION.match(duration):
            return None
        return "must be latest, earliest or by_duration:PnDTnHnMn.nS"

    def text(self) -> str:
        return "[latest, earliest, by_duration:PnDTnHnMn.nS]"


def is_number(text: str) -> bool:
    """Whether it is a number of at most ten digits: int() raises for thousands of them."""
    return len(text) <= 10 and text.isascii() and text.isdigit()


def _endpoint_problem(text: str) -> str | None:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not is_number(port) or int(port) > 65535:
        return f"{text} is not host:port"
    return None


class Endpoints(_Plain):
    """A list of host:port, each with an `id@` before it when `with_id`."""

    __slots__ = ("with_id",)

    def __init__(self, with_id: bool) -> None:
        self.with_id = with_id

    def problem(self, value: _Value) -> str | None:
        assert isinstance(value, tuple)
        for member in value:
            place = member
            if self.with_id:
                node, at, place = member.partition("@")
                if not at or not node.isascii() or not node.isdigit():
                    return f"{member} is not id@host:port"
            problem = _endpoint_problem(place)
            if problem is not None:
                return problem
        return None

    def text(self) -> str:
        return "non-empty list"


ANY = Anything()
ANY_LIST = ListOf()
NULL_OR_LIST = ListOf(null=True)
NON_EMPTY_LIST = ListOf(empty=False)
NULL_OR_NON_EMPTY_LIST = ListOf(empty=False, null=True)
NON_EMPTY = NonEmpty()
GZIP_LEVEL = RangeOr(1, 9, -1)


def at_least(low: int) -> Range:
    """Numbers from `low` up."""
    return Range(low, None)


def between(low: float, high: float) -> Range:
    """Numbers from `low` to `high`, both included."""
    return Range(low, high)


def one_of(*words: str) -> OneOf:
    return OneOf(words)


def list_of(*words: str, empty: bool = True) -> ListOf:
    return ListOf(words, empty)
