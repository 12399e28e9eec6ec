"""`tidelog dump-log` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.native.log_harness import filled_segment
from tidelog.cli.app import run

Output = pytest.CaptureFixture[str]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    segment, _ = filled_segment(tmp_path, 12)
    segment.seal()
    return Path(segment.log_path)


def test_a_folder_is_all_its_files(log: Path, capsys: Output) -> None:
    assert run(["dump-log", str(log.parent)]) == 0
    out = capsys.readouterr().out
    assert [f"{log.with_suffix(s)}:" in out for s in (".log", ".index", ".timeindex")] == [True] * 3
    assert out.count("batch baseOffset=") == 12
    assert "record" not in out


def test_records_as_json(log: Path, capsys: Output) -> None:
    assert run(["dump-log", str(log), "--records", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["kind"] for one in found] == ["batch", "record"] * 12
    assert found[0]["file"] == str(log)


def test_verify(log: Path, capsys: Output) -> None:
    assert run(["dump-log", "--verify", str(log.parent)]) == 0
    assert capsys.readouterr().out == "0 defects\n"
    data = bytearray(log.read_bytes())
    data[-1] ^= 0xFF
    log.write_bytes(data)
    assert run(["dump-log", "--verify", str(log)]) == 1
    first, last = capsys.readouterr().out.splitlines()
    assert "wrong checksum" in first
    assert last == "1 defects"
    assert run(["dump-log", str(log)]) == 1


def test_what_is_no_file_of_a_log(log: Path, capsys: Output) -> None:
    for name, hint in (("nothing.log", "No such file"), ("other.txt", "not a file of a log")):
        path = log.parent / name
        if "other" in name:
            path.write_text("?")
        assert run(["dump-log", str(path)]) == 1
        err = capsys.readouterr().err
        assert hint in err
        assert err.count("\n") == 1
    assert run(["dump-log", str(log), "--decoder", "shares"]) == 2
