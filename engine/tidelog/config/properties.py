"""Reads Apache Kafka's own server.properties, and `--set key=value` on top of it.

Pure, owned by no process: text in, values out; reading the file is the caller's work. The syntax
is that of Java's properties: comments with # or !, a backslash at the end of a line continues it;
\\t \\n \\r \\f \\uXXXX are escapes; `=`, `:` or blanks part the key from its value; of two lines
with the same key the later one wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tidelog.config.broker_checks import is_known, static_problems, value_problem
from tidelog.config.layers import BrokerLayers
from tidelog.errors import TidelogError

_BLANK = " \t\f"
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_HEX = frozenset("0123456789abcdefABCDEF")


class ConfigFileError(TidelogError, ValueError):
    """Lines or settings that cannot be used; `problems` has one text for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Property(NamedTuple):
    """One entry of a properties file; `line` counts from 1 and is where the entry begins."""

    key: str
    value: str
    line: int


@dataclass(frozen=True, slots=True)
class StaticConfig:
    """What a process is started with: values by name, and warnings worth a line each."""

    values: dict[str, str]
    warnings: tuple[str, ...]

    @property
    def layers(self) -> BrokerLayers:
        return BrokerLayers(static=self.values)


def parse_properties(text: str, file_name: str = "server.properties") -> Iterator[Property]:
    """The entries of a properties file in their order. Raises ConfigFileError for a bad escape."""
    for line, logical in _logical_lines(text):
        key_end, value_start = _split(logical)
        try:
            key = _unescape(logical[:key_end])
            value = _unescape(logical[value_start:])
        except ValueError as error:
            raise ConfigFileError([f"{file_name}:{line}: {error}"]) from error
        yield Property(key, value, line)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their continuations joined; comments and blank lines left out."""
    natural = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    parts: list[str] = []
    start = 0
    for number, line in enumerate(natural, 1):
        stripped = line.lstrip(_BLANK)
        if not parts:
            if not stripped or stripped[0] in "#!":
                continue
            start = number
        # An odd number of backslashes at the end: the last one continues the line.
        slashes = len(stripped) - len(stripped.rstrip("\\"))
        if slashes % 2:
            parts.append(stripped[:-1])
            continue
        parts.append(stripped)
        yield start, "".join(parts)
        parts = []
    if parts:
        yield start, "".join(parts)


def _split(line: str) -> tuple[int, int]:
    """Where the key ends and the value begins."""
    position = 0
    while position < len(line) and line[position] not in "=:" + _BLANK:
        position += 2 if line[position] == "\\" else 1
    key_end = min(position, len(line))
    position = key_end
    while position < len(line) and line[position] in _BLANK:
        position += 1
    if position < len(line) and line[position] in "=:":
        position += 1
        while position < len(line) and line[position] in _BLANK:
            position += 1
    return key_end, position


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    out: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character != "\\" or position == len(text):
            out.append(character if character != "\\" else "")
            continue
        character = text[position]
        position += 1
        if character == "u":
            digits = text[position : position + 4]
            if len(digits) < 4 or not _HEX.issuperset(digits):
                raise ValueError("\\u is not followed by four hexadecimal digits")
            out.append(chr(int(digits, 16)))
            position += 4
        else:
            out.append(_ESCAPES.get(character, character))
    # Java writes characters beyond the basic plane as two escapes.
    return "".join(out).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def parse_setting(text: str) -> tuple[str, str]:
    """Key and value of a `--set key=value`. Raises ConfigFileError."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigFileError([f"--set {text}: it is not key=value"])
    return key.strip(), value.strip()


def load_static(
    text: str = "",
    *,
    file_name: str = "server.properties",
    settings: Iterable[str] = (),
    base: dict[str, str] | None = None,
) -> StaticConfig:
    """The static layer from a file's text, then `settings` (texts of `--set`) over it.

    `base` holds what the command line says by other options; both win over it. Unknown names are
    kept and earn a warning. Raises ConfigFileError with every problem, naming file and line.
    """
    values = dict(base or {})
    warnings: list[str] = []
    problems: list[str] = []
    seen: dict[str, int] = {}
    places: dict[str, str] = {}
    for key, value, line in parse_properties(text, file_name):
        if key in seen:
            warnings.append(f"{file_name}:{line}: {key} was already set in line {seen[key]}")
        seen[key] = line
        values[key] = value
        places[key] = f"{file_name}:{line}"
    for setting in settings:
        key, value = parse_setting(setting)
        if places.get(key) == "--set":
            warnings.append(f"--set: {key} was already set by --set")
        values[key] = value
        places[key] = "--set"
    for key, place in places.items():
        problem = value_problem(key, values[key])
        if problem is not None:
            problems.append(f"{place}: {problem}")
        elif not is_known(key):
            warnings.append(f"{place}: {key} is not a config of this broker")
    if not problems:
        problems += [f"{file_name}: {p}" for p in static_problems(BrokerLayers(static=values))]
    if problems:
        raise ConfigFileError(problems)
    return StaticConfig(values, tuple(warnings))
