"""The runner of the suites: budgets follow the speed of the machine, within bounds."""

from __future__ import annotations

import pytest

from tests.house.suites import loop_s, pace

MACHINE = {"loop_s": 0.1, "slower_at_most": 1.8}


@pytest.mark.parametrize(
    ("found_s", "expected"), [(0.05, 1.0), (0.1, 1.0), (0.15, 1.5), (0.4, 1.8)]
)
def test_budgets_are_longer_on_a_slower_machine(found_s: float, expected: float) -> None:
    assert pace(found_s, MACHINE) == pytest.approx(expected)


def test_the_loop_takes_time() -> None:
    assert loop_s() > 0
