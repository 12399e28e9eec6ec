"""Where Tidelog may answer differently from the reference, and why.

By scenario, labels (a final * stands for the rest of a label) with the reason. An entry that no
longer differs is reported, so that this list stays true.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from tests.compat.parity.session import differences

#: Places of one answer that a report shows.
SHOWN = 4

_STRICTER = "the reference takes it by accident; refusing it is safer"
_ANSWERED = "the reference fails here (unknown server error, or no answer); this is a real answer"
_SHAPE = "every entry of the request is answered; the reference merges them into one"
_OTHER_BATCH = "the reference says that a batch is written, which is not: ADR 0035"
_START = "the log's start is told although the batch was refused before the log was asked"

ALLOWED: dict[str, dict[str, str]] = {
    "api_versions": {
        "v3": "features of the reference's own metadata log, and those not built yet, are not told",
        "v4": "features of the reference's own metadata log, and those not built yet, are not told",
    },
    "bad_frames": {"negative array": _STRICTER},
    "metadata_creates": {"first": "the answer waits until the new topic is served"},
    "create_topics": {
        "internal name": "a topic that is not made has no id",
        "validate only v7": "a topic that is not made has no id",
        "collides in one request": _STRICTER,
    },
    "produce_bad_batches": {
        "null records": _ANSWERED,
        "record framing": _ANSWERED,
        "offsets do not match": _STRICTER,
        "gzip of rubbish": "compressed batches are stored as they came, without opening them",
        "zstd of rubbish": "compressed batches are stored as they came, without opening them",
        "snappy of rubbish": "compressed batches are stored as they came, without opening them",
        "lz4 of rubbish": "compressed batches are stored as they came, without opening them",
    },
    "produce_limits": {"second of two too large": _START},
    "produce_idempotent": {"two idempotent batches": _START},
    "produce_many_partitions": {"a partition twice": _SHAPE},
    "sequences_of_ended_transactions": {
        "again after aborted": _OTHER_BATCH,
        "again after committed": _OTHER_BATCH,
    },
    "fetch_sizes": {
        "negative sizes": _ANSWERED,
        "isolation 2": _ANSWERED,
        "one partition twice": "the first of the two positions is used, not the second",
    },
    "find_coordinator": {"first": "the answer waits until the offsets topic is served"},
}


def reason(scenario: str, label: str) -> str | None:
    """Why an answer may differ, None if it may not."""
    for pattern, why in ALLOWED.get(scenario, {}).items():
        if label == pattern or (pattern.endswith("*") and label.startswith(pattern[:-1])):
            return why
    return None


def places(ours: Any, theirs: Any, path: str = "answer") -> Iterator[str]:
    """Where two observations differ, one text for each place."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in {**theirs, **ours}:
            if key in ours and key in theirs:
                yield from places(ours[key], theirs[key], f"{path}.{key}")
            else:
                yield f"{path}.{key} is only {'ours' if key in ours else 'theirs'}"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            yield from places(*pair, f"{path}[{index}]")
    elif ours != theirs:
        yield f"{path} is {json.dumps(ours)}, not {json.dumps(theirs)}"


def unexplained(scenario: str, ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """One text for every difference without a reason, and for every reason without a difference."""
    different = differences(ours, theirs)
    problems = [
        f"{scenario} / {label}: {'; '.join(islice(places(mine, other), SHOWN))}"
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
