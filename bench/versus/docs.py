"""The part of a page that a program writes: what stands between two marks.

Pure but for `write`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

BEGIN: Final = "<!-- versus: written by `python -m bench.versus --write-docs`; do not edit -->"
END: Final = "<!-- versus: end -->"


def replaced(page: str, block: str) -> str:
    """The page with another block. Raises ValueError unless each mark is there once, in order."""
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"the page needs one line {BEGIN!r} and, behind it, one {END!r}")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{block.strip()}\n\n{END}{after}"


def write(path: Path, block: str) -> None:
    """Raises ValueError as `replaced` does, and then changes nothing."""
    path.write_text(replaced(path.read_text(), block))
