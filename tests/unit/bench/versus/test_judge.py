"""The arithmetic of a comparison: spreads, thresholds, and what binds when."""

import math
from typing import Any

import pytest

from bench.versus.judge import (
    BEST_ON_DISK,
    MISSED,
    NOT_JUDGED,
    OK,
    Found,
    Threshold,
    Verdict,
    judge,
    ratio,
    spread,
)

AT_LEAST = Threshold("rate", BEST_ON_DISK, at_least=3.0, floor_bound=True)


def found(durability: str = "page-cache", **rates: float) -> dict[str, Found]:
    return {
        name: Found(name, durability, {"rate": spread([rate])})
        for name, rate in ((n.replace("_", "-"), r) for n, r in rates.items())
    }


def only(threshold: Threshold, what: dict[str, Found]) -> Verdict:
    (verdict,) = judge([threshold], what, "tidelog")
    return verdict


def test_spreads_and_ratios() -> None:
    assert vars(spread([3, 1, 2])) == {"median": 2, "low": 1, "high": 3}
    assert ratio(6, 3) == 2
    assert math.isnan(ratio(6, 0))


def test_bounds() -> None:
    at_least = Threshold("m", "kafka", at_least=2)
    assert (at_least.holds(2, 1), at_least.holds(1.99, 1)) == (True, False)
    at_most = Threshold("m", "kafka", at_most=1 / 4)
    assert (at_most.holds(1, 4), at_most.holds(1.01, 4)) == (True, False)
    below = Threshold("m", "kafka", below=1)
    assert (below.holds(3.99, 4), below.holds(4, 4)) == (True, False)
    for threshold in (at_least, at_most, below):
        assert not threshold.holds(math.nan, 1)
        assert not threshold.holds(1, math.nan)
    texts = [t.text("k") for t in (at_least, at_most, below, AT_LEAST)]
    assert texts == [">= 2 x k", "<= 0.25 x k", "< 1 x k", ">= 3 x k, up to 0.85 of the floor"]


@pytest.mark.parametrize("bounds", [{}, {"at_least": 1, "below": 1}])
def test_a_threshold_has_one_bound(bounds: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="one bound"):
        Threshold("m", "kafka", **bounds)


@pytest.mark.parametrize(
    ("tidelog", "status"), [(900, OK), (849, MISSED), (850, OK)]
)  # 3 x 400 is more than 0.85 of the floor, so that is what is wanted
def test_the_floor_binds_a_ratio_to_a_peer(tidelog: float, status: str) -> None:
    verdict = only(AT_LEAST, found(tidelog=tidelog, kafka=400, other=100, floor=1000))
    assert (verdict.status, verdict.opponent) == (status, "kafka")
    assert verdict.ratio == tidelog / 400
    assert "the floor binds" in verdict.note


def test_a_peer_binds_below_the_floor() -> None:
    what = found(tidelog=299, kafka=100, floor=1000)
    assert only(AT_LEAST, what).status == MISSED
    assert only(AT_LEAST, what).note == ""
    assert only(AT_LEAST, found(tidelog=300, kafka=100, floor=1000)).status == OK


def test_the_best_of_a_metric_that_is_better_lower() -> None:
    threshold = Threshold("rate", BEST_ON_DISK, below=1)
    assert only(threshold, found(tidelog=5, kafka=9, other=4)).opponent == "other"


def test_what_is_in_memory_or_synced_binds_nobody() -> None:
    others = found("memory", kfake=1e9) | found("fsync", synced=1e9)
    verdict = only(AT_LEAST, found(tidelog=10, kafka=1) | others)
    assert (verdict.status, verdict.opponent) == (OK, "kafka")
    verdict = only(AT_LEAST, found(tidelog=10) | others)
    assert verdict.status == NOT_JUDGED
    assert math.isnan(verdict.ratio)


def test_who_refuses_has_missed() -> None:
    what = found(kafka=1) | {"tidelog": Found("tidelog", "page-cache", refusal="it broke")}
    verdict = only(AT_LEAST, what)
    assert (verdict.status, verdict.note) == (MISSED, "it broke")
    assert only(AT_LEAST, found(kafka=1)).status == NOT_JUDGED
    assert only(Threshold("rate", "kafka", at_least=1), found(tidelog=1)).status == NOT_JUDGED
