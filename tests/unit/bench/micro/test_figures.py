"""Figures of micro benchmarks: normalised, compared, written and read."""

from typing import Any

import pytest

from bench.micro.figures import (
    Figure,
    FiguresError,
    Timing,
    compare,
    figures,
    from_text,
    short_name,
    table,
    timings,
    to_text,
)


def one_pass(speed: float, **seconds: float) -> dict[str, Timing]:
    """A machine of this speed: everything takes so much longer, calibrations as well."""
    found = {"calibration.python": Timing("calibration", 1e-6 / speed)}
    return found | {name: Timing("python", s / speed) for name, s in seconds.items()}


def verdicts(old: dict[str, Figure], new: dict[str, Figure], **options: bool) -> dict[str, str]:
    return {row.name: row.verdict for row in compare(old, new, **options)}


def report(**benchmarks: tuple[str | None, float]) -> dict[str, Any]:
    return {
        "benchmarks": [
            {"fullname": f"bench/micro/test_m.py::test_{n}", "group": g, "stats": {"min": s}}
            for n, (g, s) in benchmarks.items()
        ]
    }


def test_names() -> None:
    assert short_name("bench/micro/test_crc32c.py::test_crc32c[255]") == "crc32c.crc32c[255]"


def test_timings() -> None:
    assert timings(report(a=("disk", 2.0))) == {"m.a": Timing("disk", 2.0)}
    with pytest.raises(FiguresError, match=r"m\.a has no group"):
        timings(report(a=(None, 2.0)))


def test_a_slower_machine_has_the_same_figures() -> None:
    fast = figures([one_pass(1.0, a=3e-6), one_pass(1.0, a=5e-6), one_pass(1.0, a=4e-6)])
    slow = figures([one_pass(0.3, a=3e-6), one_pass(0.3, a=5e-6), one_pass(0.3, a=4e-6)])
    assert list(fast) == ["a"]
    assert (fast["a"].ratio, fast["a"].low, fast["a"].high) == pytest.approx((4, 3, 5))
    assert verdicts(fast, slow) == {"a": "within the noise"}
    assert compare(fast, slow)[0].change == pytest.approx(1)


def test_a_group_needs_its_calibration() -> None:
    with pytest.raises(FiguresError, match="no calibration for its group disk"):
        figures([one_pass(1.0) | {"a": Timing("disk", 1.0)}])


def test_what_moved() -> None:
    old = {n: Figure("python", 10, 9, 11) for n in ("same", "slow", "fast", "near", "gone")}
    new = {
        "same": Figure("python", 11.5, 10.5, 13),  # the ranges overlap
        "slow": Figure("python", 13, 12, 14),
        "fast": Figure("python", 5, 4, 6),
        "near": Figure("python", 10.9, 10.8, 10.95),
        "fresh": Figure("python", 1, 1, 1),
    }
    old["near"] = Figure("python", 10, 9.9, 10.1)  # apart, but by less than the margin
    assert verdicts(old, new) == {
        "same": "within the noise",
        "slow": "moved: slower",
        "fast": "moved: faster",
        "near": "within the noise",
        "fresh": "new",
        "gone": "not run",
    }
    assert "gone" not in verdicts(old, new, whole=False)
    text = table(compare(old, new))
    assert text.splitlines()[-1] == "6 benchmarks, 2 moved"
    assert "10 (9-11)" in text and "1.30" in text


def test_figures_of_different_calibrations_are_not_compared() -> None:
    old, new = {"a": Figure("python", 1, 1, 1)}, {"a": Figure("disk", 9, 9, 9)}
    assert verdicts(old, new) == {"a": "another calibration"}


def test_the_file() -> None:
    found = {"b": Figure("disk", 1.23456, 1, 2), "a": Figure("python", 1, 1, 1)}
    again = from_text(to_text(found))
    assert again["b"] == Figure("disk", 1.235, 1, 2)
    assert list(again) == ["a", "b"]
    for text in ("", "[]", '{"a": 1}', '{"a": {"group": "x"}}'):
        with pytest.raises(FiguresError):
            from_text(text)
