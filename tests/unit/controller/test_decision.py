"""What the machine is given: the system's randomness fits; refusals carry their code."""

from __future__ import annotations

import random

from tidelog.controller.decision import Random, Refusal


def test_the_systems_randomness_fits() -> None:
    rng: Random = random.SystemRandom()
    assert 0 <= rng.getrandbits(128) < 2**128


def test_a_refusal_carries_its_code() -> None:
    refusal = Refusal(3, "there is no topic x")
    assert (refusal.error_code, refusal.message, str(refusal)) == (
        3,
        refusal.message,
        refusal.message,
    )
