"""The examples of docs/embedding.md do what the page says.

Each Python block is a program of its own, or a test module when its first line names one; a `text`
block right behind it is what the program prints.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "embedding.md"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n^```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
EXAMPLES = BLOCK.findall(PAGE.read_text())

#: An environment that was installed before the entry point was declared names the plugin itself.
PLUGIN = (
    []
    if any(point.value == "tidelog.pytest_plugin" for point in entry_points(group="pytest11"))
    else ["-p", "tidelog.pytest_plugin"]
)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=50
    )


def test_every_block_is_found() -> None:
    assert PAGE.read_text().count("```python") == len(EXAMPLES) == 4
    assert sum(1 for _, printed in EXAMPLES if printed) == 3


@pytest.mark.parametrize(("program", "printed"), [e for e in EXAMPLES if e[1]])
def test_programs(program: str, printed: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(program)
    done = run(tmp_path, "program.py")
    assert (done.returncode, done.stdout) == (0, printed), done.stderr


@pytest.mark.parametrize("program", [program for program, printed in EXAMPLES if not printed])
def test_test_modules(program: str, tmp_path: Path) -> None:
    named = re.match(r"# (test_\w+\.py)\n", program)
    assert named is not None, program
    (tmp_path / named[1]).write_text(program)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    done = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", *PLUGIN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b2 passed", done.stdout), done.stdout
