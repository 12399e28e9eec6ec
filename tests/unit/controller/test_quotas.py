"""Client quotas: what is set, ended and refused."""

from __future__ import annotations

import pytest

from tests.unit.controller.worlds import World
from tidelog.controller.requests import AlterQuotas, AlterQuotasAnswer, QuotaChange
from tidelog.metadata.quotas import entity_of
from tidelog.metadata.records import QuotaEntity, QuotaRecord

Values = dict[str, float | None]


def change(entity: dict[str, str | None], values: Values) -> QuotaChange:
    return QuotaChange(entity_of(entity.items()), tuple(values.items()))


def alter(world: World, *changes: QuotaChange, validate_only: bool = False) -> list[int]:
    answer = world.ask(AlterQuotas(changes, validate_only))
    assert isinstance(answer, AlterQuotasAnswer)
    assert all((r.error_code == 0) == (r.error_message is None) for r in answer.entries)
    return [result.error_code for result in answer.entries]


BOTH: QuotaEntity = (("client-id", "c"), ("user", None))


def test_quotas_are_set_changed_and_ended() -> None:
    world = World()
    names: dict[str, str | None] = {"user": None, "client-id": "c"}
    first = change(names, {"producer_byte_rate": 5.0, "request_percentage": 12.5})
    assert alter(world, first) == [0]
    assert world.image.quotas == {BOTH: {"producer_byte_rate": 5.0, "request_percentage": 12.5}}
    assert alter(world, first) == [0]
    assert world.records == []
    again = change(names, {"producer_byte_rate": None, "request_percentage": 1.0, "none": None})
    assert alter(world, again) == [0]
    assert world.records == [
        QuotaRecord(BOTH, "producer_byte_rate", None),
        QuotaRecord(BOTH, "request_percentage", 1.0),
    ]
    assert alter(world, change(names, {"request_percentage": None})) == [0]
    assert world.image.quotas == {}


def test_validate_only_changes_nothing() -> None:
    world = World()
    good, bad = change({"user": "u"}, {"consumer_byte_rate": 1.0}), change({}, {})
    assert alter(world, good, bad, validate_only=True) == [0, 42]
    assert world.image.quotas == {}


@pytest.mark.parametrize(
    ("entity", "values"),
    [
        ({}, {"consumer_byte_rate": 1.0}),
        ({"group": "g"}, {"consumer_byte_rate": 1.0}),
        ({"user": ""}, {"consumer_byte_rate": 1.0}),
        ({"user": "u", "ip": "10.0.0.1"}, {"consumer_byte_rate": 1.0}),
        ({"ip": "localhost"}, {"connection_creation_rate": 1.0}),
        ({"ip": "10.0.0.1"}, {"consumer_byte_rate": 1.0}),
        ({"user": "u"}, {"connection_creation_rate": 1.0}),
        ({"user": "u"}, {"consumer_byte_rate": 1.5}),
        ({"user": "u"}, {"consumer_byte_rate": 0.0}),
        ({"user": "u"}, {"request_percentage": -1.0}),
        ({"user": "u"}, {"request_percentage": float("nan")}),
        ({"user": "u"}, {"consumer_byte_rate": float("inf")}),
        ({"user": "u"}, {"controller_mutation_rate": float("inf")}),
        ({"user": "u"}, {"consumer_byte_rate": 1e300}),
        ({"user": "u"}, {"consumer_byte_rate": 1.0, "nope": 1.0}),
    ],
)
def test_refusals(entity: dict[str, str | None], values: Values) -> None:
    world = World()
    assert alter(world, change(entity, values)) == [42]
    assert world.records == []


def test_numbers_that_are_nearly_whole_and_addresses_of_both_kinds() -> None:
    world = World()
    nearly = change({"client-id": None}, {"consumer_byte_rate": 3.0000001})
    addresses = [
        change({"ip": name}, {"connection_creation_rate": 2.0})
        for name in (None, "10.0.0.1", "::1")
    ]
    assert alter(world, nearly, *addresses) == [0] * 4


def test_what_occurs_twice() -> None:
    world = World()
    one = change({"user": "u"}, {"consumer_byte_rate": 1.0})
    other = change({"user": "u"}, {"producer_byte_rate": 1.0})
    assert alter(world, one, other) == [42]
    assert world.image.quotas == {(("user", "u"),): {"consumer_byte_rate": 1.0}}
    key = QuotaChange((("user", "v"),), (("consumer_byte_rate", 1.0), ("consumer_byte_rate", 2.0)))
    assert alter(world, key) == [42]
    assert world.records == []
