"""Seeds of simulators: corpus first, then new ones until the share of time is used."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.house.seeds import LOCAL_PART, SEEDS_AT_LEAST, Plan, plan, seeds

TABLE = {"share_s": {"groups": 60}}


class Clock:
    """Advances by a step whenever it is read."""

    def __init__(self, step_s: float) -> None:
        self.step_s = step_s
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


def test_ci_gets_the_share_and_others_a_part_of_it() -> None:
    assert plan("groups", TABLE, {"CI": "true"}) == Plan(60.0)
    assert plan("groups", TABLE, {}) == Plan(60 * LOCAL_PART)


def test_a_simulator_without_a_share_is_an_error() -> None:
    with pytest.raises(KeyError, match="budgets"):
        plan("unknown", TABLE, {})


def test_one_seed_is_replayed_alone() -> None:
    what = plan("groups", TABLE, {"TIDELOG_SEED": "77", "CI": "true"})
    assert list(seeds(what, [5], Clock(1))) == [77]


def test_a_number_of_new_seeds_comes_after_the_corpus() -> None:
    what = plan("groups", TABLE, {"TIDELOG_SEEDS": "3"})
    assert list(seeds(what, [2, 900], Clock(1000))) == [2, 900, 1, 3, 4]


def test_stops_when_the_share_is_used() -> None:
    run = list(seeds(Plan(60.0), [], Clock(1)))
    assert SEEDS_AT_LEAST < len(run) < 200
    assert run == list(range(1, len(run) + 1))


def test_a_slow_machine_still_runs_some() -> None:
    assert len(list(seeds(Plan(60.0), [], Clock(1000)))) == SEEDS_AT_LEAST


def test_goes_on_while_there_is_time() -> None:
    assert len(list(islice(seeds(Plan(60.0), [], Clock(0)), 500))) == 500
