"""What all seeded simulators do: run every seed, and name the one that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def run_all(seeds: Iterable[int], run: Callable[[int], object]) -> None:
    runs = 0
    for seed in seeds:
        try:
            run(seed)
        except BaseException as error:
            raise AssertionError(f"seed {seed}") from error
        runs += 1
    assert runs > 0
