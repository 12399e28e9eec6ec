"""The command: runs real benchmarks, writes figures, compares with them, tells of a failure."""

from pathlib import Path

import pytest

from bench.micro import __main__ as command
from bench.micro.figures import Figure, from_text, to_text

QUICK = "--passes 1 --seconds 0.001 --only heartbeat_decode"


def test_figures_are_written_and_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "figures.json"
    kept = Figure("python", 1, 1, 1)
    path.write_text(
        to_text({"other.one": kept, "codec.heartbeat_decode": Figure("python", 1e6, 1e6, 1e6)})
    )
    assert command.main([*QUICK.split(), "--figures", str(path), "--update"]) == 0
    assert "moved: faster" in capsys.readouterr().out
    found = from_text(path.read_text())
    assert set(found) == {"other.one", "codec.heartbeat_decode"}
    assert found["other.one"] == kept
    assert found["codec.heartbeat_decode"].ratio < 1e3


def test_a_benchmark_that_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test_broken.py").write_text("def test_broken(benchmark):\n    assert False\n")
    monkeypatch.setattr(command, "HERE", tmp_path)
    assert command.main(["--passes", "1", "--figures", str(tmp_path / "none.json")]) == 1
    assert "test_broken" in capsys.readouterr().err


def test_a_file_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "figures.json"
    path.write_text("what")
    assert command.main(["--figures", str(path)]) == 1
    assert "not a file of figures" in capsys.readouterr().err
