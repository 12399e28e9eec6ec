"""Tells where two runs of a scenario differ, and which stated differences are none."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from tests.compat.tools_parity.play import Shown
from tests.compat.tools_parity.steps import Run


def problems(ours: Sequence[Shown], theirs: Sequence[Shown]) -> list[str]:
    """One text for every invocation that shows something else on Tidelog without a reason, and for
    every reason without a difference.
    """
    found = []
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.run == other.run
        found += _of_run(mine.run, mine.lines, other.lines)
    return found


def _of_run(run: Run, ours: list[str], theirs: list[str]) -> list[str]:
    found = []
    for pattern, reason in run.differs.items():
        mine, other = (
            [match.group() for line in lines for match in re.finditer(pattern, line)]
            for lines in (ours, theirs)
        )
        if mine == other:
            found.append(
                f"$ {run.line}\n{pattern!r} ({reason}): a difference is stated that is not there"
            )
    left = [_without(lines, run.differs) for lines in (theirs, ours)]
    if left[0] != left[1]:
        difference = difflib.unified_diff(*left, "reference", "tidelog", lineterm="", n=2)
        found.append("\n".join([f"$ {run.line}", *difference]))
    return found


def _without(lines: list[str], patterns: Iterable[str]) -> list[str]:
    """Without what may differ; a line of which nothing is left goes."""
    left = []
    for line in lines:
        for pattern in patterns:
            line = re.sub(pattern, "", line)
        if line.strip():
            left.append(line.strip())
    return left
