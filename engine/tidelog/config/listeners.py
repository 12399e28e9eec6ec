"""Listener addresses: the text of `listeners`, `advertised.listeners` and the protocol map.

Pure, owned by no process: it parses, it never opens a socket or resolves a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tidelog.config.definition import ConfigValueError, split_list

SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_LISTENER = re.compile(r"([^:/\s]+)://(\[[0-9a-fA-F:.%a-zA-Z0-9]*\]|[^\[\]:\s]*):(-?[0-9]{1,6})\Z")


class Endpoint(NamedTuple):
    """One listener. `host` '' is every address; `port` 0 lets the system choose."""

    name: str
    protocol: str
    host: str
    port: int


def parse_protocol_map(text: str) -> dict[str, str]:
    """`listener.security.protocol.map` by listener name. Raises ConfigValueError."""
    key = "listener.security.protocol.map"
    protocols: dict[str, str] = {}
    for pair in split_list(text):
        name, colon, protocol = (part.strip() for part in pair.partition(":"))
        if not colon or not name or protocol.upper() not in SECURITY_PROTOCOLS:
            raise ConfigValueError(key, text, f"{pair} is not LISTENER:PROTOCOL")
        if name.upper() in protocols:
            raise ConfigValueError(key, text, f"{name} stands twice")
        protocols[name.upper()] = protocol.upper()
    return protocols


def parse_listeners(
    key: str, values: Iterable[str], protocols: Mapping[str, str], *, repeated: bool = False
) -> tuple[Endpoint, ...]:
    """The endpoints of a list of NAME://host:port. Raises ConfigValueError naming `key`.

    `protocols` is the protocol map; a name that is itself a security protocol needs no entry.
    `repeated`: a name may stand more than once, with the addresses of several nodes of a host.
    """
    endpoints: list[Endpoint] = []
    for value in values:
        match = _LISTENER.match(value)
        if match is None:
            raise ConfigValueError(key, value, "it is not NAME://host:port")
        name, host, port = match.group(1).upper(), match.group(2).strip("[]"), int(match.group(3))
        if not 0 <= port <= 65535:
            raise ConfigValueError(key, value, "the port lies outside 0..65535")
        protocol = protocols.get(name, name)
        if protocol not in SECURITY_PROTOCOLS:
            raise ConfigValueError(key, value, f"no security protocol is named for {name}")
        if not repeated and any(e.name == name for e in endpoints):
            raise ConfigValueError(key, value, f"the listener {name} stands twice")
        endpoints.append(Endpoint(name, protocol, host, port))
    return tuple(endpoints)
