"""The figures of micro benchmarks as multiples of what the machine does at the same time.

An absolute time carries over neither to another machine nor to another hour. Each benchmark belongs
to a group, `python`, `native` or `disk`, whose calibration (test_calibration.py) runs in the same
pass; a figure is the ratio of both, over several passes. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

CALIBRATION: Final = "calibration"
#: Medians that lie no further apart than so much of the committed one have not moved.
MARGIN: Final = 0.1


class FiguresError(ValueError):
    """Results that cannot be read; the message is one line."""


@dataclass(frozen=True)
class Timing:
    """The shortest round of a benchmark in one pass."""

    group: str
    seconds: float


@dataclass(frozen=True)
class Figure:
    """Multiples of the calibration of its group: the median of the passes, and their range."""

    group: str
    ratio: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        digits = {n: float(f"{getattr(self, n):.4g}") for n in ("ratio", "low", "high")}
        return {"group": self.group, **digits}


@dataclass(frozen=True)
class Row:
    """`change`: new to old, None without one of them."""

    name: str
    old: Figure | None
    new: Figure | None
    change: float | None
    verdict: str


def timings(report: Mapping[str, Any]) -> dict[str, Timing]:
    """By module and name, from what pytest-benchmark writes. Raises FiguresError."""
    found = {}
    for one in report["benchmarks"]:
        name = short_name(one["fullname"])
        if not one["group"]:
            raise FiguresError(f"{name} has no group: @pytest.mark.benchmark(group=...)")
        found[name] = Timing(one["group"], one["stats"]["min"])
    return found


def short_name(fullname: str) -> str:
    """bench/micro/test_a.py::test_b[1] is a.b[1]."""
    path, _, test = fullname.partition("::")
    module = path.rpartition("/")[2].removesuffix(".py")
    return f"{module.removeprefix('test_')}.{test.removeprefix('test_')}"


def figures(passes: Sequence[Mapping[str, Timing]]) -> dict[str, Figure]:
    """Of the benchmarks that are in every pass; calibrations are no figures. Raises FiguresError
    when a calibration is missing."""
    names = [n for n in passes[0] if all(n in one for one in passes)]
    found = {}
    for name in names:
        group = passes[0][name].group
        if group == CALIBRATION:
            continue
        ratios = [one[name].seconds / base_of(one, name) for one in passes]
        found[name] = Figure(group, median(ratios), min(ratios), max(ratios))
    return found


def base_of(one: Mapping[str, Timing], name: str) -> float:
    calibration = f"{CALIBRATION}.{one[name].group}"
    if calibration not in one:
        raise FiguresError(f"{name}: there is no calibration for its group {one[name].group}")
    return one[calibration].seconds


def compare(
    old: Mapping[str, Figure], new: Mapping[str, Figure], *, whole: bool = True
) -> list[Row]:
    """Without `whole` only some were run, and those that were not are not missed."""
    names = [*new, *(name for name in old if whole and name not in new)]
    return [row(name, old.get(name), new.get(name)) for name in names]


def row(name: str, old: Figure | None, new: Figure | None) -> Row:
    if old is None or new is None:
        return Row(name, old, new, None, "not run" if new is None else "new")
    if old.group != new.group:
        return Row(name, old, new, None, "another calibration")
    change = new.ratio / old.ratio
    overlap = old.low <= new.high and new.low <= old.high
    if overlap or abs(change - 1) <= MARGIN:
        return Row(name, old, new, change, "within the noise")
    return Row(name, old, new, change, "moved: slower" if change > 1 else "moved: faster")


def table(rows: Sequence[Row]) -> str:
    """old, new: multiples of the calibration, with the range of the passes."""
    cells = [["", "calibration", "old", "new", "new/old", ""]]
    for one in rows:
        figure = one.new or one.old
        assert figure is not None
        change = "" if one.change is None else f"{one.change:.2f}"
        cells.append([one.name, figure.group, shown(one.old), shown(one.new), change, one.verdict])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in cells]
    moved = [one for one in rows if one.verdict.startswith("moved")]
    lines.append(f"{len(rows)} benchmarks, {len(moved)} moved")
    return "\n".join(lines)


def shown(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    return f"{figure.ratio:.3g} ({figure.low:.3g}-{figure.high:.3g})"


def to_text(found: Mapping[str, Figure]) -> str:
    """The committed file."""
    lines = [f"  {json.dumps(n)}: {json.dumps(f.to_json())}" for n, f in sorted(found.items())]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def from_text(text: str) -> dict[str, Figure]:
    """Raises FiguresError."""
    try:
        return {name: Figure(**one) for name, one in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise FiguresError(f"not a file of figures: {error}") from error
