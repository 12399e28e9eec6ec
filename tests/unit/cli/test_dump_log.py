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


def test_a_data_directory_is_all_its_logs(log: Path, tmp_path: Path, capsys: Output) -> None:
    folder = tmp_path / "data" / "node-1" / "orders-0"
    folder.mkdir(parents=True)
    for path in log.parent.glob("0*"):
        path.rename(folder / path.name)
    (folder / "leader-epoch-checkpoint").write_text("0\n1\n3 0\n")
    assert run(["dump-log", str(tmp_path / "data")]) == 0
    out = capsys.readouterr().out
    assert out.count("batch baseOffset=") == 12
    assert "epoch epoch=3 startOffset=0" in out
    damaged = folder / log.name
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 0xFF
    damaged.write_bytes(data)
    assert run(["dump-log", "--verify", str(tmp_path / "data")]) == 1
    assert "1 defects" in capsys.readouterr().out


@pytest.mark.parametrize("options", [[], ["--verify"]])
def test_a_folder_without_logs_is_not_said_to_be_good(
    tmp_path: Path, options: list[str], capsys: Output
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(["dump-log", *options, str(empty)]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert "there is no log in this folder" in captured.err
