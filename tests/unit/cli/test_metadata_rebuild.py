"""`tidelog metadata rebuild` as a user sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.process.test_rebuild import A, make_log, own, path, placement
from tidelog.cli.app import run
from tidelog.storage.partition_metadata import format_topic_id

__all__ = ["path"]

Output = pytest.CaptureFixture[str]


def test_for_people(path: Path, capsys: Output) -> None:
    make_log(path / "node-1" / "t-3", A)
    (path / "metadata.db").write_bytes(b"garbage" * 1000)
    assert run(["metadata", "rebuild", "--data-dir", str(path)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert lines[0].endswith("nodes 1, 2  logs 4")
    assert "not a database" in lines[1]
    rows = [line.split() for line in lines]
    assert ["t", format_topic_id(A), "4", "1", "1,2", "lost:", "all", "is", "kept"] in rows
    assert "t-2: found nowhere: it begins empty on node 1" in lines
    assert lines[-2].startswith(f"{path}/metadata.db: 2 topics, 5 partitions restored, the old")
    assert "configs of topics" in lines[-1] and "retention.ms=-1" in lines[-1]
    assert set(placement(path)) == {"t", "u"}


def test_for_programs(path: Path, capsys: Output) -> None:
    assert run(["metadata", "rebuild", "--data-dir", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["nodes"] == [{"id": 1, "folder": "node-1"}, {"id": 2, "folder": "node-2"}]
    assert (found["logs"], found["set_aside"], found["notes"]) == (3, None, [])
    assert [topic["name"] for topic in found["topics"]] == ["t", "u"]
    assert found["topics"][0]["id"] == format_topic_id(A)
    assert [one["node"] for one in found["topics"][0]["partitions"]] == [1, 2]
    assert found["topics"][0]["configs"]["retention.ms"] == "-1"


def test_errors_are_one_line(path: Path, capsys: Output) -> None:
    own(path / "node-2", 7, "x" * 22)
    assert run(["metadata", "rebuild", "--data-dir", str(path)]) == 1
    assert run(["metadata", "rebuild", "--data-dir", str(path / "none")]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 2
    assert all(line.startswith("tidelog: ") for line in captured.err.splitlines())


def test_a_good_store_needs_force(path: Path, capsys: Output) -> None:
    options = ["metadata", "rebuild", "--data-dir", str(path)]
    assert run(options) == 0
    assert run(options) == 1
    assert "--force" in capsys.readouterr().err
    capsys.readouterr()
    assert run([*options, "--force"]) == 0
    assert "Lost" not in capsys.readouterr().out


def test_without_a_directory_it_is_the_brokers_default(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    path.rename(path.with_name("tidelog-data"))
    monkeypatch.chdir(path.parent)
    assert run(["metadata", "rebuild"]) == 0
    assert f"{path.parent}/tidelog-data/metadata.db: 2 topics" in capsys.readouterr().out
