"""What a config is: type, default, validator, update mode, doc; how its text is parsed and shown.

Pure vocabulary, owned by no process: no I/O, no clock. The tables of configs stand in
`topic_configs`, `tables` and `group_configs`; this module must not import them, and must
stay cheap to import, since every start of a worker pays for it.

Values travel as text (in server.properties, in requests, in the metastore) and are parsed with
the rules of Kafka's ConfigDef: blanks around a value do not count, numbers are decimal, lists are
separated by commas.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Literal

from tidelog.config.validators import ANY, Validator
from tidelog.errors import TidelogError

#: A parsed value. LIST gives a tuple, DOUBLE a float, STRING, CLASS and PASSWORD a str.
ConfigValue = bool | int | float | str | tuple[str, ...] | None

INT_MAX = 2**31 - 1
LONG_MAX = 2**63 - 1
DOUBLE_MAX = 1.7976931348623157e308


class ConfigType(IntEnum):
    """Type codes of the DescribeConfigs answer (KIP-569)."""

    UNKNOWN = 0
    BOOLEAN = 1
    STRING = 2
    INT = 3
    SHORT = 4
    LONG = 5
    DOUBLE = 6
    LIST = 7
    CLASS = 8
    PASSWORD = 9


class ConfigSource(IntEnum):
    """Where a value comes from; codes of the DescribeConfigs answer (KIP-226)."""

    UNKNOWN = 0
    DYNAMIC_TOPIC = 1
    DYNAMIC_BROKER = 2
    DYNAMIC_DEFAULT_BROKER = 3
    STATIC_BROKER = 4
    DEFAULT = 5
    DYNAMIC_BROKER_LOGGER = 6
    CLIENT_METRICS = 7
    GROUP = 8


class ResourceType(IntEnum):
    """Resources that have configs; codes of DescribeConfigs and the alter requests."""

    TOPIC = 2
    BROKER = 4
    BROKER_LOGGER = 8
    CLIENT_METRICS = 16
    GROUP = 32


class Importance(Enum):
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class UpdateMode(Enum):
    """How a broker config may change while the broker runs (KIP-226)."""

    READ_ONLY = "read-only"
    PER_BROKER = "per-broker"
    CLUSTER_WIDE = "cluster-wide"


@dataclass(frozen=True, slots=True)
class BrokerSynonym:
    """A broker config that gives a topic config its value; `factor` turns its unit into ms."""

    name: str
    factor: int = 1


@dataclass(frozen=True, slots=True)
class ConfigDef:
    """One config. `default` is text as DescribeConfigs shows it, None when there is no default.

    `effect` says whether Tidelog acts on the value today. `default_reason` tells why a default
    differs from Kafka's. `internal` ones are not listed unless they are set or asked for.
    """

    name: str
    type: ConfigType
    default: str | None
    validator: Validator
    importance: Importance
    update_mode: UpdateMode
    doc: str
    effect: Literal["full", "none yet"] = "none yet"
    synonyms: tuple[BrokerSynonym, ...] = ()
    internal: bool = False
    default_reason: str = ""

    @property
    def sensitive(self) -> bool:
        return self.type is ConfigType.PASSWORD

    @property
    def read_only(self) -> bool:
        return self.update_mode is UpdateMode.READ_ONLY


class ConfigValueError(TidelogError, ValueError):
    """A value that a config does not take. `name` is the config, `problem` says what is wrong."""

    def __init__(self, name: str, value: object, problem: str) -> None:
        super().__init__(f"invalid value {value} for {name}: {problem}")
        self.name = name
        self.value = value
        self.problem = problem


class UnknownConfigError(TidelogError, ValueError):
    """A config name that does not exist for the resource."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"there is no {kind} config named {name}")
        self.name = name


#: Largest magnitudes of the whole-number types, in bits without the sign.
_INTEGER_BITS = {ConfigType.INT: 31, ConfigType.SHORT: 15, ConfigType.LONG: 63}
_INTEGER = re.compile(r"[+-]?[0-9]+\Z")
_DOUBLE = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\Z")
_COMMA = re.compile(r"\s*,\s*")
_DOUBLE_NAMES = frozenset({"NaN", "Infinity", "+Infinity", "-Infinity"})


def parse_value(definition: ConfigDef, text: str | None) -> ConfigValue:
    """The typed and checked value of a config's text. Raises ConfigValueError."""
    if text is None:
        return None
    value = _parse(definition, text.strip())
    problem = definition.validator.problem(value)
    if problem is not None:
        raise ConfigValueError(definition.name, format_value(value), problem)
    return value


def _parse(definition: ConfigDef, text: str) -> ConfigValue:
    kind = definition.type
    if kind is ConfigType.BOOLEAN:
        lowered = text.lower()
        if lowered not in ("true", "false"):
            raise ConfigValueError(definition.name, text, "expected true or false")
        return lowered == "true"
    if kind in _INTEGER_BITS:
        limit = 1 << _INTEGER_BITS[kind]
        # The length is looked at first: int() of a huge text costs time, then raises.
        if len(text) <= 24 and _INTEGER.match(text):
            number = int(text)
            if -limit <= number < limit:
                return number
        raise ConfigValueError(definition.name, text, f"not a number of type {kind.name}")
    if kind is ConfigType.DOUBLE:
        if text in _DOUBLE_NAMES or _DOUBLE.match(text):
            return float(text.replace("Infinity", "inf"))
        raise ConfigValueError(definition.name, text, "not a number of type DOUBLE")
    if kind is ConfigType.LIST:
        return split_list(text)
    return text


def split_list(text: str) -> tuple[str, ...]:
    """The members of a LIST: split at commas with the blanks around them, empty text gives ()."""
    text = text.strip()
    return tuple(_COMMA.split(text)) if text else ()


def format_value(value: ConfigValue) -> str | None:
    """The text of a typed value, as DescribeConfigs shows it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, float):
        return _format_double(value)
    return str(value)


def _format_double(value: float) -> str:
    """Java's Double.toString: plain between 1e-3 and 1e7, else digits with an E exponent."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        # repr switches to an exponent only outside 1e-4..1e16, so this is plain.
        return repr(value)
    mantissa, _, exponent = f"{value:e}".partition("e")
    for digits in range(1, 18):
        mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
        if float(f"{mantissa}e{exponent}") == value:
            break
    return f"{mantissa}E{int(exponent)}"


Default = bool | int | float | str | None
Row = tuple[str, ConfigType, Default, Validator, Importance, UpdateMode, str]


def make(row: Row, **more: object) -> ConfigDef:
    """A ConfigDef from a row of a table; the tables state defaults as typed values."""
    name, kind, default, validator, importance, mode, doc = row
    return ConfigDef(
        name,
        kind,
        format_value(default),
        validator,
        importance,
        mode,
        doc,
        **more,  # type: ignore[arg-type]
    )


__all__ = [
    "ANY",
    "DOUBLE_MAX",
    "INT_MAX",
    "LONG_MAX",
    "BrokerSynonym",
    "ConfigDef",
    "ConfigSource",
    "ConfigType",
    "ConfigValue",
    "ConfigValueError",
    "Importance",
    "ResourceType",
    "Row",
    "UnknownConfigError",
    "UpdateMode",
    "format_value",
    "make",
    "parse_value",
    "split_list",
]
