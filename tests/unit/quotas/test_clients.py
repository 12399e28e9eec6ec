"""Quotas of users and clients: whose, how long to wait, and how many are measured."""

from __future__ import annotations

import pytest

from tidelog.limits import QUOTA_CLIENTS_MAX, THROTTLE_MS_MAX
from tidelog.metadata.quotas import Quotas
from tidelog.quotas.clients import ClientMutations, ClientRates

KEY = "producer_byte_rate"
PER_CLIENT: Quotas = {(("client-id", None),): {KEY: 100.0}}


def rates(quotas: Quotas, **words: int) -> ClientRates:
    made = ClientRates(KEY, 11, 1000, **words)
    made.follow(quotas)
    return made


def test_each_client_under_a_default_has_its_own_rate() -> None:
    quotas = rates(PER_CLIENT)
    assert quotas.charge("u", "a", 2000, 0) == 10_000
    assert quotas.charge("u", "b", 1000, 0) == 0
    assert quotas.charge("v", "a", 0, 0) == 10_000


def test_all_clients_of_a_user_share_its_rate() -> None:
    quotas = rates({(("user", "u"),): {KEY: 100.0}})
    assert quotas.charge("u", "a", 1000, 0) == 0
    assert quotas.charge("u", "b", 1000, 0) == 10_000
    assert quotas.charge("v", "b", 10_000, 0) == 0


def test_what_was_measured_stays_when_the_quota_changes() -> None:
    quotas = rates(PER_CLIENT)
    assert quotas.charge("u", "a", 1000, 0) == 0
    quotas.follow({(("client-id", None),): {KEY: 50.0}})
    assert quotas.charge("u", "a", 0, 0) == 10_000
    quotas.follow({})
    assert not quotas.in_use
    assert quotas.charge("u", "a", 1e9, 0) == 0
    quotas.follow(PER_CLIENT)
    assert quotas.in_use
    assert quotas.charge("u", "a", 1000, 0) == 0


def test_what_is_taken_back_was_not_used() -> None:
    quotas = rates(PER_CLIENT)
    assert quotas.charge("u", "a", 2000, 0) > 0
    quotas.take_back("u", "a", 2000, 0)
    assert quotas.charge("u", "a", 1000, 0) == 0


def test_the_most_that_can_be_used_at_once() -> None:
    quotas = rates(PER_CLIENT)
    assert quotas.window_max("u", "a") == 1000
    assert quotas.charge("u", "a", 1000, 0) == 0
    assert rates({}).window_max("u", "a") is None


def test_the_throttle_has_a_limit() -> None:
    assert rates(PER_CLIENT, throttle_max_ms=7).charge("u", "a", 1e9, 0) == 7
    assert rates({(("user", "u"),): {KEY: 1e-9}}).charge("u", "a", 1e9, 0) == THROTTLE_MS_MAX


def test_a_full_table_is_emptied() -> None:
    quotas = rates(PER_CLIENT)
    assert quotas.charge("u", "a", 2000, 0) > 0
    for number in range(QUOTA_CLIENTS_MAX - 1):
        quotas.charge("u", str(number), 1, 0)
    assert quotas.charge("u", "a", 0, 0) > 0
    quotas.charge("u", "one more", 1, 0)
    assert quotas.charge("u", "a", 1000, 0) == 0


@pytest.mark.parametrize("strict", [True, False])
def test_changes_beyond_the_burst(strict: bool) -> None:
    changes = ClientMutations("controller_mutation_rate", 11, 1000)
    assert changes.begin("u", "c", 0, strict=strict) is None
    changes.follow({(("user", None),): {"controller_mutation_rate": 2.0}})
    first = changes.begin("u", "c", 0, strict=strict)
    assert first is not None
    # A burst of 22; the last one may go beyond it.
    assert first.take(20)
    assert first.throttle_ms == 0
    assert first.take(10)
    assert first.throttle_ms == (0 if strict else 4000)
    assert first.take(1) is not strict
    assert first.throttle_ms == (4000 if strict else 4500)
    later = changes.begin("u", "d", 60_000, strict=strict)
    assert later is not None
    assert later.take(22)
    assert later.throttle_ms == 0


def test_changes_of_others_are_free() -> None:
    changes = ClientMutations("controller_mutation_rate", 11, 1000)
    changes.follow({(("user", "u"),): {"controller_mutation_rate": 2.0}})
    assert changes.begin("v", "c", 0, strict=True) is None
