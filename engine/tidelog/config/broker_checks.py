"""Checks of broker configs: each value alone, those that depend on each other, and what may change.

Pure, owned by no process. Static configs are checked when the process starts, dynamic ones before
they are stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tidelog.config.broker_config import BrokerConfig, parse_ip_overrides
from tidelog.config.broker_configs import (
    BROKER_CONFIGS,
    OWN_PREFIX,
    find,
    update_mode,
)
from tidelog.config.definition import (
    ConfigValueError,
    UnknownConfigError,
    UpdateMode,
    parse_value,
)
from tidelog.config.layers import BrokerLayers
from tidelog.config.listeners import parse_listeners, parse_protocol_map


def value_problem(name: str, text: str) -> str | None:
    """What is wrong with one static config by itself, None if nothing (or it is unknown)."""
    try:
        _check_value(name, text)
    except (ConfigValueError, UnknownConfigError) as error:
        return str(error)
    return None


def _check_value(name: str, text: str) -> None:
    """Raises ConfigValueError, UnknownConfigError."""
    definition = find(name)
    if definition is not None:
        value = parse_value(definition, text)
        if name in _NOT_ZERO and value == 0:
            raise ConfigValueError(name, 0, "must be positive, or -1 for no limit")
        if name == _PER_IP_OVERRIDES:
            parse_ip_overrides(text)
        if name in _FROM_ONE and isinstance(value, int) and value < 1:
            raise ConfigValueError(name, value, "must be at least 1")
    elif name.startswith(OWN_PREFIX):
        raise UnknownConfigError("Tidelog", name)


_PER_IP = "max.connections.per.ip"
_PER_IP_OVERRIDES = "max.connections.per.ip.overrides"

#: Checked by Kafka outside its table of ranges.
_NOT_ZERO = frozenset({"log.retention.ms", "log.retention.minutes", "log.retention.hours"})
_FROM_ONE = frozenset({"log.roll.ms"})


def is_known(name: str) -> bool:
    """Whether a broker config of this name (also with a listener's prefix) exists."""
    return find(name) is not None


def check_dynamic(
    configs: Mapping[str, str], *, per_broker: bool, layers: BrokerLayers | None = None
) -> None:
    """Checks configs that a request sets for one broker, or for all (`per_broker` False). layers:
    what holds besides.

    Raises ConfigValueError. Unknown names pass, as in Kafka: a plug-in may read them.
    """
    for name, text in configs.items():
        mode = update_mode(name)
        if mode is UpdateMode.READ_ONLY:
            raise ConfigValueError(name, text, "it cannot change while the broker runs")
        if mode is UpdateMode.PER_BROKER and not per_broker:
            raise ConfigValueError(name, text, "it is set for one broker, not for all")
        try:
            _check_value(name, text)
        except UnknownConfigError as error:
            raise ConfigValueError(name, text, str(error)) from error
    if configs.get(_PER_IP, "").strip() == "0":
        held = None if layers is None else layers.value(_PER_IP_OVERRIDES)
        if not configs.get(_PER_IP_OVERRIDES, held):
            raise ConfigValueError(_PER_IP, 0, f"nobody could connect without {_PER_IP_OVERRIDES}")


def static_problems(layers: BrokerLayers) -> Iterator[str]:
    """What is wrong with static configs taken together; each value was checked before."""
    config = BrokerConfig.resolve(layers)
    if config.group_min_session_timeout_ms > config.group_max_session_timeout_ms:
        yield "group.min.session.timeout.ms is more than group.max.session.timeout.ms"
    for name, values in (
        ("listeners", config.listeners),
        ("advertised.listeners", config.advertised_listeners or ()),
    ):
        try:
            protocols = parse_protocol_map(config.listener_security_protocol_map)
            for endpoint in parse_listeners(name, values, protocols, repeated=True):
                if name == "advertised.listeners" and endpoint.host in ("", "0.0.0.0", "::"):
                    yield f"advertised.listeners: {endpoint.host or 'no host'} is no address"
        except ConfigValueError as error:
            yield str(error)
    for kind in ("consumer", "share", "streams"):
        for name in ("assignment.interval.ms", "heartbeat.interval.ms", "session.timeout.ms"):
            yield from _bounds_problem(
                layers,
                f"group.{kind}.min.{name}",
                f"group.{kind}.{name}",
                f"group.{kind}.max.{name}",
            )


def _bounds_problem(layers: BrokerLayers, low: str, name: str, high: str) -> Iterator[str]:
    least, value, most = (
        parse_value(BROKER_CONFIGS[n], layers.value(n)) for n in (low, name, high)
    )
    assert isinstance(least, int)
    assert isinstance(value, int)
    assert isinstance(most, int)
    if not least <= value <= most:
        yield f"{name} ({value}) does not lie between {low} ({least}) and {high} ({most})"
