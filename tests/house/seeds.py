"""Seeds for simulators: the corpus first, then new ones for as long as the share of time lasts.

The shares stand in tests/budgets.toml; all simulators together have a minute in CI. The clock
is an argument, so that the arithmetic can be tested.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping

# Outside of CI a simulator takes this part of its share.
LOCAL_PART = 0.1
# However slow the machine, this many new seeds are run.
SEEDS_AT_LEAST = 20


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which seeds to run: exactly `only`, exactly `count` new ones, or new ones for `share_s`."""

    share_s: float
    only: int | None = None
    count: int | None = None


def plan(name: str, table: Mapping[str, Mapping[str, float]], environ: Mapping[str, str]) -> Plan:
    """The plan for a simulator: TIDELOG_SEED, TIDELOG_SEEDS, or its share of the budget.

    table: the [seeds] part of budgets.toml.
    """
    if name not in table["share_s"]:
        raise KeyError(f"simulator {name} has no share in tests/budgets.toml")
    share_s = float(table["share_s"][name])
    if environ.get("CI") != "true":
        share_s *= LOCAL_PART
    only, count = environ.get("TIDELOG_SEED"), environ.get("TIDELOG_SEEDS")
    return Plan(share_s, int(only) if only else None, int(count) if count else None)


def seeds(what: Plan, corpus: Iterable[int], monotonic_s: Callable[[], float]) -> Iterator[int]:
    """The seeds to run, in order. Stops when the plan is fulfilled; the corpus is always run."""
    if what.only is not None:
        yield what.only
        return
    started = monotonic_s()
    known = list(corpus)
    yield from known
    fresh = (seed for seed in itertools.count(1) if seed not in known)
    for done, seed in enumerate(fresh):
        if what.count is not None:
            if done >= what.count:
                return
        elif done >= SEEDS_AT_LEAST and monotonic_s() - started >= what.share_s:
            return
        yield seed
