"""The layers that a broker config's value may come from, as text, and which of them wins.

Pure, owned by no process. The layers themselves are kept by whoever owns them: the static one by
the process (server.properties and `--set`), the dynamic ones by the metadata image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tidelog.config.broker_configs import BROKER_CONFIGS, SYNONYMS
from tidelog.config.definition import ConfigSource


class LayerEntry(NamedTuple):
    """One value that a layer holds for a config."""

    name: str
    value: str
    source: ConfigSource


@dataclass(frozen=True, slots=True)
class BrokerLayers:
    """Text values of broker configs by layer; names absent from all have their default.

    `dynamic` belongs to this broker, `dynamic_default` to all of them, `static` is what the
    process was started with.
    """

    static: Mapping[str, str] = field(default_factory=dict)
    dynamic_default: Mapping[str, str] = field(default_factory=dict)
    dynamic: Mapping[str, str] = field(default_factory=dict)

    def entries(self, names: tuple[str, ...]) -> Iterator[LayerEntry]:
        """What the layers hold for any of `names` (synonyms, strongest first), strongest first.

        A stronger layer goes before a weaker one whatever the name, so a static
        log.retention.hours loses to a dynamic log.retention.ms, and to a static one.
        """
        for layer, source in (
            (self.dynamic, ConfigSource.DYNAMIC_BROKER),
            (self.dynamic_default, ConfigSource.DYNAMIC_DEFAULT_BROKER),
            (self.static, ConfigSource.STATIC_BROKER),
        ):
            for name in names:
                value = layer.get(name)
                if value is not None:
                    yield LayerEntry(name, value, source)
        for name in names:
            default = BROKER_CONFIGS[name].default if name in BROKER_CONFIGS else None
            if default is not None:
                yield LayerEntry(name, default, ConfigSource.DEFAULT)

    def value(self, name: str) -> str | None:
        """The text that holds for one config by its own name, None if it has none."""
        for entry in self.entries((name,)):
            return entry.value
        return None

    def synonyms(self, name: str) -> Iterator[LayerEntry]:
        """All that may give the broker config its value, strongest first."""
        return self.entries(SYNONYMS.get(name, (name,)))
