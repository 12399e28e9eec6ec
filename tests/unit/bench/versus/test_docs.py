"""A block between marks is replaced, and nothing else."""

from pathlib import Path

import pytest

from bench.versus.cli import DOCUMENT
from bench.versus.docs import BEGIN, END, replaced, write


def test_the_block_is_replaced(tmp_path: Path) -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = replaced(page, "new\n")
    assert once == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert replaced(once, "new") == once
    path = tmp_path / "page.md"
    path.write_text(page)
    write(path, "new")
    assert path.read_text() == once


@pytest.mark.parametrize("page", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_a_page_without_its_marks_is_left_alone(tmp_path: Path, page: str) -> None:
    path = tmp_path / "page.md"
    path.write_text(page)
    with pytest.raises(ValueError, match="versus"):
        write(path, "new")
    assert path.read_text() == page


def test_the_documentation_has_the_marks() -> None:
    replaced(DOCUMENT.read_text(), "x")
