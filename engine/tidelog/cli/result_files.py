"""Results of `tidelog bench` and `tidelog profile` in files: JSON, and pages.

Runs in the user's shell.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tidelog.cli.cluster import CommandError


class Saved(Protocol):
    """A report of either."""

    def to_json(self) -> dict[str, Any]: ...


R = TypeVar("R", bound=Saved)


def check_writable(file: Path | None) -> None:
    """Before the time is spent. Raises CommandError."""
    if file is None:
        return
    existed = file.exists()
    try:
        with file.open("a"):
            pass
        if not existed:
            file.unlink()
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from error


def write_file(file: Path, text: str) -> None:
    """Raises CommandError."""
    try:
        file.write_text(text)
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from error


def write_json(file: Path, value: Any) -> None:
    """Raises CommandError."""
    write_file(file, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(file: Path) -> Any:
    """Raises CommandError."""
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{file}: it is no JSON") from error


def write_report(
    report: R, page: Callable[[R], str], output: Path | None, html: Path | None
) -> None:
    """As JSON and as a page, where they are wanted. Raises CommandError."""
    if output is not None:
        write_json(output, report.to_json())
    if html is not None:
        write_file(html, page(report))


def read_report(file: Path, from_json: Callable[[Any], R]) -> R:
    """from_json: raises ValueError for what is no such report. Raises CommandError."""
    try:
        return from_json(read_json(file))
    except ValueError as error:
        raise CommandError(f"{file}: {error}") from error
