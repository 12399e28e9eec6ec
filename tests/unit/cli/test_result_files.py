"""Results in files: what can be written is known before, and errors are one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidelog.cli.cluster import CommandError
from tidelog.cli.result_files import check_writable, read_json, write_file, write_json


def test_there_and_back(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"µ": [1]})
    assert read_json(file) == {"µ": [1]}
    check_writable(file)
    assert read_json(file) == {"µ": [1]}


def test_the_check_leaves_nothing(tmp_path: Path) -> None:
    check_writable(None)
    check_writable(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_done_is_one_line(tmp_path: Path) -> None:
    missing = tmp_path / "none" / "a.json"
    for call in (check_writable, read_json, lambda file: write_file(file, "x")):
        with pytest.raises(CommandError, match=f"^{missing}: No such file or directory$"):
            call(missing)
    broken = tmp_path / "broken"
    for text in ("{", "[" * 100_000, "\udcff"):
        broken.write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(CommandError, match="it is no JSON"):
            read_json(broken)
