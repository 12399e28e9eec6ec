"""Client quotas: what an alter request changes. Pure.

Codes as a running Kafka 4.3 answers them (KIP-546). Unlike there an address has to be one (names of
hosts are not looked up), and a quota is finite.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from ipaddress import ip_address
from math import inf

from tidelog.controller.decision import Decision, Refusal
from tidelog.controller.requests import (
    AlteredQuota,
    AlterQuotas,
    AlterQuotasAnswer,
    QuotaChange,
)
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.quotas import CLIENT_ID, CLIENT_KEYS, ENTITY_TYPES, IP, IP_KEYS, USER
from tidelog.metadata.records import ChangeRecord, QuotaEntity, QuotaRecord
from tidelog.protocol.error_codes import ErrorCode

#: How far a number may be from a whole one and still be taken for it (Kafka's).
_WHOLE_WITHIN = 1e-6
_WHOLE_MAX = 2**63 - 1


def alter_quotas(image: MetadataImage, request: AlterQuotas) -> Decision:
    """Decides one request; each entity succeeds or fails as a whole.

    An entity that occurs twice is refused, although what it is first given is set, as in Kafka.
    """
    records: list[ChangeRecord] = []
    results: dict[QuotaEntity, AlteredQuota] = {}
    for item in request.entries:
        try:
            if item.entity in results:
                raise Refusal(ErrorCode.INVALID_REQUEST, "the entity occurs twice in the request")
            records.extend(_records(item, image.quotas.get(item.entity, {})))
        except Refusal as refusal:
            code, message = refusal.error_code, refusal.message
            results[item.entity] = AlteredQuota(item.entity, code, message)
            continue
        results[item.entity] = AlteredQuota(item.entity, ErrorCode.NONE)
    answer = AlterQuotasAnswer(tuple(results.values()))
    return Decision([] if request.validate_only else records, answer)


def _records(item: QuotaChange, present: Mapping[str, float]) -> list[QuotaRecord]:
    twice = next((k for k, n in Counter(key for key, _ in item.values).items() if n > 1), None)
    if twice is not None:
        raise Refusal(ErrorCode.INVALID_REQUEST, f"{twice} is named more than once")
    keys = _keys(dict(item.entity))
    records = []
    for key, value in item.values:
        if value is not None:
            _check(keys, key, value)
        if present.get(key) != value:
            records.append(QuotaRecord(item.entity, key, value))
    return records


def _keys(names: Mapping[str, str | None]) -> Mapping[str, bool]:
    """The keys that an entity may have, by which of them are whole numbers."""
    for kind, name in names.items():
        if kind not in ENTITY_TYPES:
            raise Refusal(ErrorCode.INVALID_REQUEST, f"there is no entity type {kind!r}")
        if name == "":
            raise Refusal(ErrorCode.INVALID_REQUEST, f"the name of a {kind} is empty")
    if names.keys() == {IP}:
        _check_address(names[IP])
        return IP_KEYS
    if names and names.keys() <= {USER, CLIENT_ID}:
        return CLIENT_KEYS
    raise Refusal(ErrorCode.INVALID_REQUEST, "an entity is a user, a client id, both, or an ip")


def _check_address(name: str | None) -> None:
    if name is None:
        return
    try:
        ip_address(name)
    except ValueError:
        raise Refusal(ErrorCode.INVALID_REQUEST, f"{name!r} is no ip address") from None


def _check(keys: Mapping[str, bool], key: str, value: float) -> None:
    whole = keys.get(key)
    if whole is None:
        raise Refusal(ErrorCode.INVALID_REQUEST, f"the entity has no quota {key!r}")
    if not 0 < value < inf:
        raise Refusal(ErrorCode.INVALID_REQUEST, f"{key} is {value}: no number above 0")
    if whole and (value > _WHOLE_MAX or abs(int(value + _WHOLE_WITHIN) - value) > _WHOLE_WITHIN):
        raise Refusal(ErrorCode.INVALID_REQUEST, f"{key} is {value}, which is no whole number")
