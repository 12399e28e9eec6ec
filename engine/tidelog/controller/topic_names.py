"""Which names a topic may have. Pure.

Rules of Kafka (`Topic.validate`, `Topic.hasCollision`): not empty, not "." or "..", at most 249
characters of [a-zA-Z0-9._-]; and since metrics write "." as "_", two topics may not differ in
those alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import product
from typing import Final

from tidelog.limits import TOPIC_NAME_CHARS_MAX

_LEGAL: Final = re.compile(r"[a-zA-Z0-9._-]+")

#: Up to this many "." and "_" all spellings are looked up one by one; beyond, the existing names
#: are walked.
_SPELLED_OUT_MAX: Final = 8


def name_problem(name: str) -> str | None:
    """What is wrong with the name in Kafka's words (its tools print them), or None."""
    if not name:
        return "Topic name is invalid: the empty string is not allowed"
    if name in (".", ".."):
        return f"Topic name is invalid: '{name}' is not allowed"
    if len(name) > TOPIC_NAME_CHARS_MAX:
        return (
            f"Topic name is invalid: the length of '{name}' is longer than the max allowed "
            f"length {TOPIC_NAME_CHARS_MAX}"
        )
    if not _LEGAL.fullmatch(name):
        return (
            f"Topic name is invalid: '{name}' contains one or more characters other than "
            "ASCII alphanumerics, '.', '_' and '-'"
        )
    return None


def colliding_name(name: str, existing: Collection[str]) -> str | None:
    """An existing topic whose name differs from this one only in "." and "_", or None."""
    marks = [position for position, char in enumerate(name) if char in "._"]
    if not marks:
        return None
    if len(marks) > _SPELLED_OUT_MAX:
        plain = name.replace(".", "_")
        return next((n for n in existing if n != name and n.replace(".", "_") == plain), None)
    spelling = list(name)
    for marks_now in product("._", repeat=len(marks)):
        for position, char in zip(marks, marks_now, strict=True):
            spelling[position] = char
        candidate = "".join(spelling)
        if candidate != name and candidate in existing:
            return candidate
    return None
