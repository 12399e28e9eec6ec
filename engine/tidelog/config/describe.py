"""What DescribeConfigs (and the CreateTopics answer) says about configs, entry by entry.

Pure, owned by no process: given text layers, gives entries in the shape of the answer. Which fields
a version of the API has is the handler's business. Behaviour follows a running Kafka 4.3.1: an
unknown key asked for is left out, internal configs show only when set, and passwords never.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from tidelog.config.broker_configs import (
    BROKER_CONFIGS,
    DYNAMIC_ONLY_NAMES,
    find,
    update_mode,
)
from tidelog.config.definition import (
    ConfigDef,
    ConfigSource,
    ConfigType,
    UpdateMode,
    format_value,
    parse_value,
)
from tidelog.config.group_configs import CLIENT_METRICS_CONFIGS, GROUP_CONFIGS
from tidelog.config.layers import BrokerLayers, LayerEntry
from tidelog.config.topic_configs import TOPIC_CONFIGS, effective_value


class Synonym(NamedTuple):
    """One value that the config could have, as listed in an entry, strongest first."""

    name: str
    value: str | None
    source: int


class ConfigEntry(NamedTuple):
    """One config of a DescribeConfigs result; `source` and `type` are wire codes."""

    name: str
    value: str | None
    read_only: bool
    source: int
    sensitive: bool
    synonyms: tuple[Synonym, ...]
    type: int
    doc: str

    @property
    def is_default(self) -> bool:
        return self.source == ConfigSource.DEFAULT


def describe_topic(
    overrides: Mapping[str, str], layers: BrokerLayers, keys: Collection[str] | None = None
) -> list[ConfigEntry]:
    """Entries of a topic. `keys` None or empty asks for all."""
    entries = []
    for name in _chosen(TOPIC_CONFIGS, keys):
        definition = TOPIC_CONFIGS[name]
        if definition.internal and name not in overrides:
            continue
        names = tuple(synonym.name for synonym in definition.synonyms)
        synonyms = _synonyms(definition, layers.entries(names), only_if_any_set=len(names) > 1)
        own = overrides.get(name)
        if own is not None:
            synonyms.insert(0, Synonym(name, own.strip(), ConfigSource.DYNAMIC_TOPIC))
        value = format_value(effective_value(definition, own, layers))
        entries.append(_entry(definition, value, synonyms, read_only=False))
    return entries


def describe_group(
    overrides: Mapping[str, str], layers: BrokerLayers, keys: Collection[str] | None = None
) -> list[ConfigEntry]:
    """Entries of a group, whether it exists or not."""
    entries = []
    for name in _chosen(GROUP_CONFIGS, keys):
        definition = GROUP_CONFIGS[name]
        names = tuple(synonym.name for synonym in definition.synonyms)
        synonyms = _synonyms(definition, layers.entries(names))
        if not names:
            synonyms = [Synonym(name, definition.default, ConfigSource.DEFAULT)]
        own = overrides.get(name)
        if own is not None:
            synonyms.insert(0, Synonym(name, own.strip(), ConfigSource.GROUP))
        value = format_value(effective_value(definition, own, layers))
        entries.append(_entry(definition, value, synonyms, read_only=False))
    return entries


def describe_client_metrics(
    overrides: Mapping[str, str], keys: Collection[str] | None = None
) -> list[ConfigEntry]:
    """Entries of a client metrics subscription, whether it exists or not."""
    entries = []
    for name in _chosen(CLIENT_METRICS_CONFIGS, keys):
        definition = CLIENT_METRICS_CONFIGS[name]
        own = overrides.get(name)
        synonyms = []
        if own is not None:
            synonyms = [Synonym(name, own.strip(), ConfigSource.CLIENT_METRICS)]
        value = own.strip() if own is not None else definition.default
        entries.append(_entry(definition, value, synonyms, read_only=False))
    return entries


def describe_broker(layers: BrokerLayers, keys: Collection[str] | None = None) -> list[ConfigEntry]:
    """Entries of one broker: every config of the table, and whatever else its layers hold."""
    extra = {
        name: None
        for layer in (layers.static, layers.dynamic_default, layers.dynamic)
        for name in layer
        if name not in BROKER_CONFIGS
    }
    entries = []
    for name in _chosen({**BROKER_CONFIGS, **extra}, keys):
        definition = BROKER_CONFIGS.get(name)
        if definition is None:
            entries.append(_unlisted(name, layers))
            continue
        value = layers.value(name)
        hidden = definition.internal or name in DYNAMIC_ONLY_NAMES
        if hidden and value == definition.default:
            continue
        # Without a value of its own Kafka lists no synonyms, though another unit may have one.
        held = list(layers.synonyms(name)) if value is not None else []
        if name in DYNAMIC_ONLY_NAMES:
            # Nor their defaults, which its table of configs does not have.
            held = [entry for entry in held if entry.source is not ConfigSource.DEFAULT]
        synonyms = _synonyms(definition, held)
        source = ConfigSource.DEFAULT
        for entry in layers.entries((name,)):
            source = entry.source
            break
        shown = None if definition.sensitive else _normal(definition, value)
        entries.append(
            _entry(definition, shown, synonyms, read_only=definition.read_only, source=source)
        )
    return entries


def describe_cluster_default(
    dynamic_default: Mapping[str, str], keys: Collection[str] | None = None
) -> list[ConfigEntry]:
    """Entries of the broker resource with the empty name: only what is set for all brokers."""
    entries = []
    for name in _chosen(dict(sorted(dynamic_default.items())), keys):
        layers = BrokerLayers(dynamic_default=dynamic_default)
        definition = BROKER_CONFIGS.get(name)
        if definition is None:
            entries.append(_unlisted(name, layers))
            continue
        value = None if definition.sensitive else _normal(definition, dynamic_default[name])
        synonyms = [Synonym(name, value, ConfigSource.DYNAMIC_DEFAULT_BROKER)]
        entries.append(_entry(definition, value, synonyms, read_only=False))
    return entries


def _chosen(table: Mapping[str, object], keys: Collection[str] | None) -> Iterable[str]:
    return table if not keys else [name for name in table if name in keys]


def _normal(definition: ConfigDef, text: str | None) -> str | None:
    """The text as Kafka shows it: parsed and written again (" 5 " is "5")."""
    return format_value(parse_value(definition, text))


def _synonyms(
    definition: ConfigDef, held: Iterable[LayerEntry], *, only_if_any_set: bool = False
) -> list[Synonym]:
    """Synonyms out of layer entries.

    Kafka lists none for a config with several synonyms of which only a weaker one has a default
    (flush.ms, segment.ms): `only_if_any_set` leaves defaults out when nothing else is there and
    the strongest name has no default.
    """
    entries = list(held)
    first = definition.synonyms[0].name if definition.synonyms else definition.name
    if only_if_any_set and all(e.source is ConfigSource.DEFAULT for e in entries):
        entries = [e for e in entries if any(x.name == first for x in entries)]
    hide = definition.sensitive
    return [Synonym(e.name, None if hide else e.value.strip(), e.source) for e in entries]


def _entry(
    definition: ConfigDef,
    value: str | None,
    synonyms: list[Synonym],
    *,
    read_only: bool,
    source: int | None = None,
) -> ConfigEntry:
    if source is None:
        source = synonyms[0].source if synonyms else ConfigSource.DEFAULT
    return ConfigEntry(
        definition.name,
        value,
        read_only,
        int(source),
        definition.sensitive,
        tuple(synonyms),
        int(definition.type),
        definition.doc,
    )


def _unlisted(name: str, layers: BrokerLayers) -> ConfigEntry:
    """A config that is in no table: its value may be a secret, so it is never shown.

    One with a listener's prefix has the type of the config that it sets for that listener.
    """
    definition = find(name)
    held = list(layers.entries((name,)))
    hide = definition is None or definition.sensitive
    synonyms = tuple(Synonym(e.name, None if hide else e.value, int(e.source)) for e in held)
    static = all(e.source is ConfigSource.STATIC_BROKER for e in held)
    return ConfigEntry(
        name,
        None if hide or not held else held[0].value,
        static and (definition is None or update_mode(name) is UpdateMode.READ_ONLY),
        int(held[0].source) if held else int(ConfigSource.UNKNOWN),
        hide,
        synonyms,
        int(definition.type) if definition is not None else int(ConfigType.UNKNOWN),
        definition.doc if definition is not None else "",
    )
