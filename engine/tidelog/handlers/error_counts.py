"""The error codes in an answer, for the counters: each one that is not 0, as Kafka counts them.

Pure. Which fields can hold one is found out once per type of answer; most answers have one field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from tidelog.protocol.schema import Response, Struct

_Walk = Callable[[Any], Iterator[int]]


def error_codes(answer: Response) -> Iterator[int]:
    """Every code of the answer that is not 0, also those of its topics, partitions and groups."""
    walk = _walk_of(type(answer))
    return iter(()) if walk is None else walk(answer)


@cache
def _walk_of(kind: type[Struct]) -> _Walk | None:
    """How an answer or a part of it is walked; None when no code is in it."""
    codes = tuple(
        field.name
        for field in kind.FIELDS
        if field.name.endswith("error_code") and field.kind == "int16"
    )
    parts: list[tuple[str, bool, _Walk]] = []
    for field in kind.FIELDS:
        walk = None if field.struct is None else _walk_of(field.struct)
        if walk is not None:
            parts.append((field.name, field.is_array, walk))
    if not codes and not parts:
        return None

    def found(part: Any) -> Iterator[int]:
        for name in codes:
            if code := getattr(part, name):
                yield int(code)
        for name, is_array, walk in parts:
            value = getattr(part, name)
            if value is None:
                continue
            for one in value if is_array else (value,):
                yield from walk(one)

    return found
