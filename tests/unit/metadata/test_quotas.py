"""Which entities fit a filter, and which quota holds for whom."""

from __future__ import annotations

import pytest

from tidelog.metadata.quotas import (
    Bucket,
    Component,
    Match,
    client_quota,
    entity_of,
    ip_rates,
    keys_in_use,
    matching,
)
from tidelog.metadata.records import QuotaEntity

KEY = "producer_byte_rate"

#: Strongest first, with the bucket that each leads to for user u and client c.
ORDER: list[tuple[dict[str, str | None], Bucket]] = [
    ({"user": "u", "client-id": "c"}, Bucket("u", "c")),
    ({"user": "u", "client-id": None}, Bucket("u", "c")),
    ({"user": "u"}, Bucket("u", None)),
    ({"user": None, "client-id": "c"}, Bucket("u", "c")),
    ({"user": None, "client-id": None}, Bucket("u", "c")),
    ({"user": None}, Bucket("u", None)),
    ({"client-id": "c"}, Bucket(None, "c")),
    ({"client-id": None}, Bucket(None, "c")),
]


def entity(names: dict[str, str | None]) -> QuotaEntity:
    return entity_of(names.items())


@pytest.mark.parametrize("strongest", range(len(ORDER)))
def test_the_most_specific_quota_wins(strongest: int) -> None:
    quotas = {
        entity(names): {KEY: float(place)}
        for place, (names, _) in enumerate(ORDER)
        if place >= strongest
    }
    assert client_quota(quotas, KEY, "u", "c") == (ORDER[strongest][1], float(strongest))


def test_quotas_of_others_and_of_other_keys_do_not_count() -> None:
    quotas = {entity({"user": "v"}): {KEY: 1.0}, entity({"user": "u"}): {"request_percentage": 1.0}}
    assert client_quota(quotas, KEY, "u", "c") is None
    assert keys_in_use(quotas) == {KEY, "request_percentage"}


def test_an_entity_has_one_form() -> None:
    assert entity_of([("user", "u"), ("client-id", None)]) == (("client-id", None), ("user", "u"))
    assert entity_of([("user", "u"), ("user", "v")]) == (("user", "v"),)


def test_filters() -> None:
    quotas = {entity(names): {KEY: 1.0} for names, _ in ORDER}

    def found(*components: Component, strict: bool = False) -> list[QuotaEntity]:
        return [each for each, _ in matching(quotas, components, strict=strict)]

    user, anybody = Component("user", Match.EXACT, "u"), Component("user", Match.ANY)
    default = Component("user", Match.DEFAULT)
    assert len(found()) == 8
    assert len(found(user)) == 3
    assert found(user, strict=True) == [entity({"user": "u"})]
    assert found(default, strict=True) == [entity({"user": None})]
    assert len(found(anybody)) == 6
    assert len(found(anybody, Component("client-id", Match.ANY), strict=True)) == 4
    assert found(Component("ip", Match.ANY)) == []


def test_rates_of_addresses_have_their_usual_form() -> None:
    rate = {"connection_creation_rate": 3.0}
    quotas = {
        entity({"ip": None}): rate,
        entity({"ip": "0:0::1"}): rate,
        entity({"user": "u"}): {KEY: 1.0},
    }
    assert ip_rates(quotas) == {None: 3.0, "::1": 3.0}
