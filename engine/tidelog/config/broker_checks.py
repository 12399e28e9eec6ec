"""Checks of broker configs: each value alone, those that depend on each other, and what may change.

Pure, owned by no process. Static configs are checked when the process starts, dynamic ones before
they are stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tidelog.config.broker_config import (
    LEADER_SELECTOR,
    RACK_AWARE_SELECTOR,
    BrokerConfig,
    parse_ip_overrides,
)
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
        if name == _SELECTOR and value not in (None, "", *_SELECTORS):
            raise ConfigValueError(name, text, f"there are only {' and '.join(_SELECTORS)}")
        least = _AT_LEAST.get(name)
        if least is not None and isinstance(value, int) and value < least:
            raise ConfigValueError(name, value, f"must be at least {least}")
    elif name.startswith(OWN_PREFIX):
        raise UnknownConfigError("Tidelog", name)


_SELECTOR = "replica.selector.class"
_SELECTORS = (LEADER_SELECTOR, RACK_AWARE_SELECTOR)
_PER_IP = "max.connections.per.ip"
_PER_IP_OVERRIDES = "max.connections.per.ip.overrides"

#: Checked by Kafka outside its table of ranges.
_NOT_ZERO = frozenset({"log.retention.ms", "log.retention.minutes", "log.retention.hours"})
_AT_LEAST = {"log.roll.ms": 1, "log.roll.jitter.ms": 0}
#: 0 of these is for a start only: while the broker runs it would shut everybody out, also who wants
#: to take it back.
_FROM_ONE_AT_RUNTIME = frozenset({"max.connections", "max.connection.creation.rate"})
#: Change to no less than half and no more than twice what they are, in one step.
_THREADS = frozenset(
    {
        "background.threads",
        "log.cleaner.threads",
        "num.io.threads",
        "num.network.threads",
        "num.recovery.threads.per.data.dir",
        "num.replica.fetchers",
    }
)
_CLEANER_THREADS = "log.cleaner.threads"
_CLEANER_MEMORY = "log.cleaner.dedupe.buffer.size"
#: A thread's table of keys is larger than this.
_CLEANER_MEMORY_MIN = 1 << 20


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
    held = layers or BrokerLayers()
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
        _check_change(name, text, held)
    nobody = _PER_IP in configs and _number(_PER_IP, configs[_PER_IP]) == 0
    if nobody and not configs.get(_PER_IP_OVERRIDES, held.value(_PER_IP_OVERRIDES)):
        raise ConfigValueError(_PER_IP, 0, f"nobody could connect without {_PER_IP_OVERRIDES}")
    then = replace(held, dynamic={**held.dynamic, **configs})
    for kind in _GROUP_KINDS:
        name = f"group.{kind}.assignment.interval.ms"
        if name in configs:
            for problem in _group_bounds_problem(then, kind, "assignment.interval.ms"):
                raise ConfigValueError(name, configs[name], problem)
    if _CLEANER_THREADS in configs or _CLEANER_MEMORY in configs:
        for problem in _cleaner_problem(then):
            raise ConfigValueError(_CLEANER_MEMORY, then.value(_CLEANER_MEMORY), problem)


def _check_change(name: str, text: str, held: BrokerLayers) -> None:
    """Whether the config may become this while the broker runs. Raises ConfigValueError."""
    if name in _FROM_ONE_AT_RUNTIME and _number(name, text) < 1:
        raise ConfigValueError(name, text, "must be at least 1 while the broker runs")
    if name not in _THREADS:
        return
    was, becomes = _number(name, held.value(name)), _number(name, text)
    if becomes == was:
        return
    if becomes < 1:
        raise ConfigValueError(name, text, "must be at least 1")
    if not was // 2 <= becomes <= was * 2:
        raise ConfigValueError(name, text, f"less than half or more than twice the {was} of now")


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
    for kind in _GROUP_KINDS:
        for name in ("assignment.interval.ms", "heartbeat.interval.ms", "session.timeout.ms"):
            yield from _group_bounds_problem(layers, kind, name)
    yield from _cleaner_problem(layers)


_GROUP_KINDS = ("consumer", "share", "streams")


def _number(name: str, text: str | None) -> int:
    value = parse_value(BROKER_CONFIGS[name], text)
    assert isinstance(value, int)
    return value


def _cleaner_problem(layers: BrokerLayers) -> Iterator[str]:
    threads, size = (_number(n, layers.value(n)) for n in (_CLEANER_THREADS, _CLEANER_MEMORY))
    if size // max(threads, 1) <= _CLEANER_MEMORY_MIN:
        yield f"{_CLEANER_MEMORY} ({size}) must be more than 1 MiB for each cleaner thread"


def _group_bounds_problem(layers: BrokerLayers, kind: str, name: str) -> Iterator[str]:
    low, high = f"group.{kind}.min.{name}", f"group.{kind}.max.{name}"
    name = f"group.{kind}.{name}"
    least, value, most = (_number(n, layers.value(n)) for n in (low, name, high))
    if not least <= value <= most:
        yield f"{name} ({value}) does not lie between {low} ({least}) and {high} ({most})"
