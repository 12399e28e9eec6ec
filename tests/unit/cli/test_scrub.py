"""`tidelog scrub` as it is typed."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from tests.unit.native.log_harness import filled_segment
from tidelog.cli.app import run
from tidelog.storage.digests import write_digest
from tidelog.storage.files import SYSTEM_FILES

Output = pytest.CaptureFixture[str]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """One node with one log of two segments."""
    log = tmp_path / "node-1" / "orders-0"
    log.mkdir(parents=True)
    (tmp_path / "node-1" / "meta.properties").touch()
    for base in (0, 12):
        segment, _ = filled_segment(log, 12, base_offset=base)
        if base == 0:
            write_digest(SYSTEM_FILES, segment)
    return tmp_path


def break_it(data_dir: Path, base: int = 0) -> Path:
    path = data_dir / "node-1" / "orders-0" / f"{base:020d}.log"
    data = bytearray(path.read_bytes())
    data[70] ^= 0xFF
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("which", [".", "node-1", "node-1/orders-0"])
def test_a_good_directory(data_dir: Path, which: str, capsys: Output) -> None:
    assert run(["scrub", str(data_dir / which)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("2 segments,")
    assert "24 batches: 0 damaged; 1 without a digest" in out


def test_damage_is_named(data_dir: Path, capsys: Output) -> None:
    path = break_it(data_dir)
    assert run(["scrub", str(data_dir)]) == 1
    first, last = capsys.readouterr().out.splitlines()
    assert first == f"{path}: wrong checksum position=0 offset=0"
    assert "1 damaged" in last


def test_as_json(data_dir: Path, capsys: Output) -> None:
    path = break_it(data_dir, 12)
    assert run(["scrub", "--json", str(data_dir)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["segments"], found["damaged_segments"]) == (2, 1)
    assert found["damage"] == [
        {"path": str(path), "problem": "wrong checksum", "position": 0, "offset": 12}
    ]


@pytest.mark.parametrize("lock", [".lock", "node-1/.lock"])
def test_what_a_broker_writes_is_passed_over(data_dir: Path, lock: str, capsys: Output) -> None:
    break_it(data_dir, 12)
    with (data_dir / lock).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        which = data_dir / "node-1" if lock.startswith("node") else data_dir
        assert run(["scrub", str(which)]) == 0
    assert "1 passed over" in capsys.readouterr().out


def test_nothing_there(tmp_path: Path, capsys: Output) -> None:
    assert run(["scrub", str(tmp_path / "nowhere")]) == 1
    err = capsys.readouterr().err
    assert "No such file" in err
    assert err.count("\n") == 1


def test_a_folder_without_logs_is_not_said_to_be_good(tmp_path: Path, capsys: Output) -> None:
    assert run(["scrub", str(tmp_path)]) == 1
    assert "there is no log in this folder" in capsys.readouterr().err
