"""Tells where two runs of a scenario differ, and which stated differences are none."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from tests.compat.tools_parity.play import Shown
from tests.compat.tools_parity.steps import Run


def problems(
    ours: Sequence[Shown], theirs: Sequence[Shown], *, stated_are_there: bool = True
) -> list[str]:
    """One text for every invocation that shows something else on Tidelog without a reason, and,
    unless `stated_are_there` is False, for every reason without a difference.
    """
    found = []
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.run == other.run
        if stated_are_there:
            found += _stale(mine.run, mine.lines, other.lines)
        found += _different(mine.run, mine.lines, other.lines)
        text = "\n".join(other.lines)
        if mine.run.shows and not re.search(mine.run.shows, text, re.MULTILINE):
            found.append(f"$ {mine.run.line}\n{mine.run.shows!r} is not shown, but\n{text}")
    return found


def _stale(run: Run, ours: list[str], theirs: list[str]) -> list[str]:
    """What is stated as a difference without being one."""
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
    return found


def _different(run: Run, ours: list[str], theirs: list[str]) -> list[str]:
    expected, seen = (_without(lines, run.differs) for lines in (theirs, ours))
    if expected == seen:
        return []
    difference = difflib.unified_diff(expected, seen, "reference", "tidelog", lineterm="", n=2)
    return ["\n".join([f"$ {run.line}", *difference])]


def _without(lines: list[str], patterns: Iterable[str]) -> list[str]:
    """Without what may differ; a line of which nothing is left goes."""
    left = []
    for line in lines:
        for pattern in patterns:
            line = re.sub(pattern, "", line)
        if line.strip():
            left.append(line.strip())
    return left
