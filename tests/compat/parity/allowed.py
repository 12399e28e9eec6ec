"""Where Tidelog may answer differently from the reference, and why.

By scenario, labels (a final * stands for the rest of a label) with the reason. An entry that no
longer differs is reported, so that this list stays true.
"""

from __future__ import annotations

import json
from typing import Any

from tests.compat.parity.session import differences

ALLOWED: dict[str, dict[str, str]] = {}


def reason(scenario: str, label: str) -> str | None:
    """Why an answer may differ, None if it may not."""
    for pattern, why in ALLOWED.get(scenario, {}).items():
        if label == pattern or (pattern.endswith("*") and label.startswith(pattern[:-1])):
            return why
    return None


def unexplained(scenario: str, ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """One text for every difference without a reason, and for every reason without a difference."""
    different = differences(ours, theirs)
    problems = [
        f"{scenario} / {label}:\n  ours   {json.dumps(mine)}\n  theirs {json.dumps(other)}"
        for label, (mine, other) in different.items()
        if reason(scenario, label) is None
    ]
    for pattern in ALLOWED.get(scenario, {}):
        start = pattern.removesuffix("*")
        if not any(
            label.startswith(start) if pattern.endswith("*") else label == start
            for label in different
        ):
            problems.append(f"{scenario} / {pattern}: a difference is allowed that is not there")
    return problems
