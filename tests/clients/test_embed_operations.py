"""docs/operations.md explains every log line that the engine writes, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOGGING = {"info", "warning", "error", "exception"}


def written(source: str) -> Iterator[str]:
    """The events of a module's log calls: the words before the first field."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name() | ast.Attribute(), attr=attr),
                args=[ast.Constant(value=str(text)), *_],
            ) if attr in LOGGING:
                yield re.split(r" [a-z_.]+=%", text)[0]


def test_every_log_line_is_explained() -> None:
    events: set[str] = set()
    for path in (ROOT / "engine" / "tidelog").rglob("*.py"):
        events |= set(written(path.read_text()))
    page = (ROOT / "docs" / "operations.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \| (?:info|warning|error) \|", page, re.MULTILINE)
    assert rows == sorted(set(rows))
    assert len(events) > 30
    assert events - set(rows) == set(), "log lines without a row in docs/operations.md"
    assert set(rows) - events == set(), "rows in docs/operations.md for lines that nobody writes"


def test_log_calls_are_found() -> None:
    source = (
        'log.error("it broke node=%d error=%s", 1, e)\n'
        'self._notes.warning("a b", c)\n'
        'log.debug("x")\n'
    )
    assert list(written(source)) == ["it broke", "a b"]
