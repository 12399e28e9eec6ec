"""The command from end to end, on the floor alone; brokers are in tests/compat/test_versus.py."""

import json
from pathlib import Path

import pytest

from bench.versus import cli, peers
from bench.versus.docs import BEGIN, END
from bench.versus.judge import OK, Threshold
from bench.versus.shapes import SHAPES
from tests.compat.programs import ProgramMissing

QUICK = (
    "--rounds 1 --seconds 0.05 --warmup 0.02 --max-run-bytes 2000000 --warm-bytes 0 --peers floor"
)


def run(*words: str) -> int:
    return cli.main([*QUICK.split(), *words])


def test_a_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found.json"
    shapes = "produce-16k,connections-50,replicated-16k"
    assert run("--shapes", shapes, "--json", str(out), "--data-parent", str(tmp_path)) == 0
    data = json.loads(out.read_text())["shapes"]
    assert len(data["produce-16k"]["runs"]["floor"]) == 1
    assert data["connections-50"]["found"]["floor"]["metrics"]["requests_per_s"]["median"] > 0
    assert data["replicated-16k"]["found"]["floor"]["refusal"] == "it does not replicate"
    text = capsys.readouterr().out
    assert "floor: up in" in text
    assert "thresholds: 5 not judged" in text
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]


@pytest.mark.parametrize(("factor", "status"), [(0.5, 0), (2.0, 1)])
def test_the_status_tells_of_a_missed_threshold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float, status: int
) -> None:
    monkeypatch.setattr(
        cli, "judge", lambda *_: [cli_verdict(Threshold("mb_per_s", "floor", at_least=factor))]
    )
    assert run("--shapes", "produce-16k", "--data-parent", str(tmp_path)) == status


def cli_verdict(threshold: Threshold) -> object:
    from bench.versus.judge import MISSED, Verdict

    holds = threshold.holds(1.0, 1.0)
    return Verdict(threshold, "floor", 1.0, OK if holds else MISSED)


def test_the_page_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"a\n{BEGIN}\n{END}\nz\n")
    monkeypatch.setattr(cli, "DOCUMENT", page)
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    assert run("--shapes", "produce-16k", "--write-docs", "--data-parent", str(tmp_path)) == 0
    text = page.read_text()
    assert text.startswith(f"a\n{BEGIN}\n\nWritten on ")
    assert "| produce 16 KiB, 8 in flight |" in text
    assert "--shapes produce-16k --write-docs" in text


def test_what_cannot_be_had_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> None:
        if name == "kfake":
            raise ProgramMissing("kfake: go is not installed")

    monkeypatch.setattr(peers, "install", missing)
    words = ["--peers", "kfake,floor", "--shapes", "produce-16k", "--data-parent", str(tmp_path)]
    assert run(*words) == 0
    assert "skipped: kfake: go is not installed" in capsys.readouterr().out


def test_changes_reach_the_load() -> None:
    words = "--shapes produce-16k,fetch-1m,latency --change connections=5 --change discard=true"
    args = cli.parse_arguments(words.split())
    produce, fetch, latency = (shape.load for shape in args.shapes)
    assert (produce.connections, produce.discard) == (5, False)
    assert (fetch.connections, fetch.discard) == (5, True)
    assert latency is None


@pytest.mark.parametrize(
    "words", ["--shapes nothing", "--change nothing=1", "--change name=x", "--rounds 0"]
)
def test_wrong_arguments(words: str) -> None:
    with pytest.raises(SystemExit):
        cli.parse_arguments(words.split())


def test_a_wrong_peer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--peers", "pulsar", "--data-parent", str(tmp_path)) == 2
    assert "no such peer: pulsar" in capsys.readouterr().err


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--list") == 0
    text = capsys.readouterr().out
    assert all(f"{name}: " in text for name in SHAPES)
    assert "requests_per_s >= 8" in text
