"""Client quotas as the metadata has them: entities, their keys, filters, and which quota is whose.

Pure, owned by no process. An entity is a tuple of (type, name) pairs (`records.QuotaEntity`).
KIP-13, KIP-55, KIP-546; the order in which quotas win is Kafka's (its documentation, "Quotas").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from ipaddress import ip_address
from typing import Final, NamedTuple

from tidelog.metadata.records import QuotaEntity

#: Quotas by entity and key, as the image holds them.
Quotas = Mapping[QuotaEntity, Mapping[str, float]]

USER: Final = "user"
CLIENT_ID: Final = "client-id"
IP: Final = "ip"
ENTITY_TYPES: Final = frozenset({USER, CLIENT_ID, IP})

PRODUCER_BYTE_RATE: Final = "producer_byte_rate"
CONSUMER_BYTE_RATE: Final = "consumer_byte_rate"
REQUEST_PERCENTAGE: Final = "request_percentage"
CONTROLLER_MUTATION_RATE: Final = "controller_mutation_rate"
CONNECTION_CREATION_RATE: Final = "connection_creation_rate"

_NOTHING: Final[Mapping[str, float]] = {}

#: Whether a quota is a whole number, by key; for users and clients, and for addresses.
CLIENT_KEYS: Final[Mapping[str, bool]] = {
    PRODUCER_BYTE_RATE: True,
    CONSUMER_BYTE_RATE: True,
    REQUEST_PERCENTAGE: False,
    CONTROLLER_MUTATION_RATE: False,
}
IP_KEYS: Final[Mapping[str, bool]] = {CONNECTION_CREATION_RATE: True}


class Match(IntEnum):
    """How a filter's component chooses names: Kafka's codes."""

    EXACT = 0
    DEFAULT = 1
    ANY = 2


class Component(NamedTuple):
    """One part of a filter: an entity has to have that type, with a name as `match` says."""

    entity_type: str
    match: Match
    name: str | None = None


class Bucket(NamedTuple):
    """What is measured together for one quota. user or client_id None: whoever it is."""

    user: str | None
    client_id: str | None


def entity_of(parts: Iterable[tuple[str, str | None]]) -> QuotaEntity:
    """The entity in its one form. A type that occurs twice has the last name, as in Kafka."""
    return tuple(sorted(dict(parts).items()))


def matching(
    quotas: Quotas, components: Iterable[Component], *, strict: bool
) -> Iterator[tuple[QuotaEntity, Mapping[str, float]]]:
    """The entities that fit every component; with strict, those of no further type."""
    wanted = tuple(components)
    for entity, values in quotas.items():
        names = dict(entity)
        if strict and len(names) != len(wanted):
            continue
        if all(_fits(names, component) for component in wanted):
            yield entity, values


def _fits(names: Mapping[str, str | None], component: Component) -> bool:
    if component.entity_type not in names:
        return False
    return component.match is Match.ANY or names[component.entity_type] == component.name


def client_quota(
    quotas: Quotas, key: str, user: str, client_id: str
) -> tuple[Bucket, float] | None:
    """The quota `key` that holds for a user's client, and what is measured for it; None: none.

    The most specific entity wins. Each client under a default has a bucket of its own.
    """
    both, of_user, of_client = Bucket(user, client_id), Bucket(user, None), Bucket(None, client_id)
    for entity, bucket in (
        (((CLIENT_ID, client_id), (USER, user)), both),
        (((CLIENT_ID, None), (USER, user)), both),
        (((USER, user),), of_user),
        (((CLIENT_ID, client_id), (USER, None)), both),
        (((CLIENT_ID, None), (USER, None)), both),
        (((USER, None),), of_user),
        (((CLIENT_ID, client_id),), of_client),
        (((CLIENT_ID, None),), of_client),
    ):
        value = quotas.get(entity, _NOTHING).get(key)
        if value is not None:
            return bucket, value
    return None


def ip_rates(quotas: Quotas) -> dict[str | None, float]:
    """Connections a second that may come from an address (in its usual form); None: any other."""
    rates: dict[str | None, float] = {}
    for entity, values in quotas.items():
        (kind, name), rate = entity[0], values.get(CONNECTION_CREATION_RATE)
        if kind == IP and rate is not None:
            rates[None if name is None else str(ip_address(name))] = rate
    return rates


def keys_in_use(quotas: Quotas) -> frozenset[str]:
    """The keys of which any entity has a quota."""
    return frozenset(key for values in quotas.values() for key in values)
